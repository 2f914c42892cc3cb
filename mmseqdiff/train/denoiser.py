"""Training a denoiser from a latent store, into a run's folder (:mod:`mmseqdiff.train.run`)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from rich.console import Console
from torch import Tensor, nn

from mmseqdiff import random
from mmseqdiff.assembly import Assembly
from mmseqdiff.data.order import batch_indices
from mmseqdiff.data.store import LatentStore
from mmseqdiff.errors import CheckpointError, PluginError
from mmseqdiff.host import Host
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import Task
from mmseqdiff.recipe import Recipe
from mmseqdiff.train import checkpoint
from mmseqdiff.train.latents import encoded_with
from mmseqdiff.train.loop import Trainer
from mmseqdiff.train.objective import DenoisingObjective, conditional_loss, step_keys
from mmseqdiff.train.optimisation import Optimisation
from mmseqdiff.train.parallel import World, join_world
from mmseqdiff.train.run import describe, load_codecs, prepare_run, saved_statistics, with_statistics
from mmseqdiff.train.table import Table

__all__ = ["Sample", "train_denoiser", "usual_tasks"]

HELD_OUT = 64
"""At most so many clips are validated on; of a store without a validation store the last ones, one in twenty."""

LEVELS = (0.25, 0.5, 0.75)
"""Where the validation loss is measured, as parts of T."""

Sample = Callable[[int, Assembly, Path], None]
"""``(step, model with averaged weights, folder)``: writes generated media into the folder."""


def train_denoiser(
    recipe: Recipe,
    host: Host,
    data: Path,
    out: Path,
    *,
    validation: Path | None = None,
    start_from: Path | None = None,
    sample: Sample | None = None,
    device: str = "cpu",
    console: Console | None = None,
) -> bool:
    """Trains the recipe's denoiser in the folder ``out``, or goes on where it stopped.

    Args:
        recipe: what to train, and how.
        host: builds it.
        data: a latent store, with the codecs that filled it in ``codecs/<modality>``.
        out: the run's folder.
        validation: another store, to measure on; where None, the end of ``data`` is held out.
        start_from: a run whose averaged weights, and statistics of the latents, a new run starts from.
        sample: generates media every ``training.sample_every`` steps; called in the leading process alone.
        device: where to train. Under ``torchrun``, ``cuda`` is each process's own.
        console: for progress.

    Returns:
        Whether training is complete; False after Ctrl-C.

    Raises:
        RecipeError: if ``out`` was started with another recipe, or the parts do not fit together.
        StoreError: if a store is empty, damaged, or does not fit the recipe or its codecs.
        CheckpointError: if a codec or checkpoint is damaged, or ``start_from`` has another layout, codec or prediction.
        RunError: if a number is not finite or a file cannot be written.
        UserError: if the device cannot be used here.
    """
    console, training = console or Console(), recipe.training
    world, place = join_world(device)
    torch.manual_seed(training.seed)
    assembly = Assembly.from_recipe(recipe, host, data / "codecs")
    codecs = load_codecs(assembly, data / "codecs")
    store = LatentStore.open(data, assembly.layout, codecs, encoded_with(recipe))
    start = None if start_from is None else _start(start_from)
    # Weights mean nothing under other statistics than those that they were trained with.
    assembly = with_statistics(assembly, store.statistics() if start is None else saved_statistics(start[1]))
    model = describe(assembly, codecs)
    if start is not None:
        _start_from(assembly.backbone, *start, model)
    for module in (assembly.backbone, *(modality.codec for modality in assembly.modalities.values())):
        module.to(place)
    if validation is None:
        clips = training_rows([clip.file for clip in store.clips()])
        if clips == len(store):
            console.print(
                "no clip is held out to validate on: there are too few files", soft_wrap=True, highlight=False
            )
        measured = _read(store, range(clips, len(store)), assembly, place)
    else:
        clips, other = len(store), LatentStore.open(validation, assembly.layout, codecs, encoded_with(recipe))
        measured = _read(other, range(min(HELD_OUT, len(other))), assembly, place)
    if world.rank == 0:
        prepare_run(out, recipe, data / "codecs")
    world.wait()
    objective = DenoisingObjective(
        assembly.denoiser, assembly.policy, training.self_condition_rate, training.loss_weights, training.reduction
    )

    def indices(step: int) -> Tensor:
        return batch_indices(training.seed, step, batch_size=training.batch_size, length=clips)

    def part_of_batch(step: int, positions: range) -> tuple[Tensor, Table]:
        z0 = _read(store, indices(step)[positions.start : positions.stop], assembly, place)
        return objective(z0, step_keys(training.seed, step, positions, place))

    def averaged(average: nn.Module) -> Assembly:
        return attrs.evolve(assembly, backbone=average, denoiser=attrs.evolve(assembly.denoiser, backbone=average))

    def validate(step: int, average: nn.Module) -> dict[str, float]:
        scalars = _validate(averaged(average), measured, training.batch_size // training.accumulate, world)
        if world.rank:
            return scalars
        text = ", ".join(f"{name.removeprefix('validation/')} {value:.4f}" for name, value in scalars.items())
        console.print(f"step {step}, validation: {text}", soft_wrap=True, highlight=False)
        return scalars

    def generate(step: int, average: nn.Module) -> dict[str, float]:
        if world.rank == 0:
            sample(step, averaged(average), out / "samples" / f"{step:08d}")
        return {}

    actions = []
    if len(next(iter(measured.values()))):
        actions.append((training.validate_every, validate))
    if sample is not None and training.sample_every:
        actions.append((training.sample_every, generate))
    return Trainer(
        module=assembly.backbone,
        objective=part_of_batch,
        optimisation=Optimisation.of(training),
        folder=out,
        description={**model, "data": {"clips": len(store), "held out": len(store) - clips}},
        describe_batch=lambda step: f"the store's clips {indices(step).tolist()}",
        actions=actions,
        console=console,
        world=world,
        listener=host.listener,
    ).run()


def _start(run: Path) -> tuple[Path, dict[str, Any]]:
    """The newest checkpoint of another run, and its manifest."""
    path = checkpoint.newest(run / "checkpoints")
    if path is None:
        raise CheckpointError(f"{run} holds no checkpoint to start from")
    return path, checkpoint.read_manifest(path)


def _start_from(backbone: nn.Module, path: Path, manifest: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """Takes the averaged weights of another run, if they mean the same."""
    expected = {key: model[key] for key in ("layout", "prediction", "schedule", "codecs")}
    checkpoint.check_description(manifest, expected, str(path))
    checkpoint.load_into(backbone, checkpoint.load_group(path, "ema"), str(path))


def training_rows(files: Sequence[str]) -> int:
    """How many of a store's rows to train on; those after them are held out.

    About one in twenty is held out, at most HELD_OUT, of whole files: clips of one film look alike, and may overlap. Where
    the files are so long that this would be more than one in five, none is.

    Args:
        files: of every row.
    """
    rows, firsts = len(files), {}
    for row, file in enumerate(files):
        firsts.setdefault(file, row)
    cut = rows - min(HELD_OUT, rows // 20)
    while cut < rows and (earliest := min(firsts[file] for file in files[cut:])) < cut:
        cut = earliest
    return cut if rows - cut <= rows / 5 else rows


def _read(
    store: LatentStore, indices: Sequence[int] | Tensor, assembly: Assembly, device: torch.device
) -> dict[str, Tensor]:
    """Normalised latents of some clips."""
    raw = store.batch(indices)
    return {name: value.statistics.normalise(raw[name].to(device)) for name, value in assembly.modalities.items()}


def usual_tasks(host: Host, layout: Layout) -> dict[str, Task]:
    """Name → every task that needs no parameter, fits the layout, and leaves something to generate.

    Of tasks that give the same cells only the first is kept.
    """
    tasks: dict[str, Task] = {}
    seen: list[Tensor] = []
    for name in host.names("task"):
        try:
            task = host.build("task", name)
            given = task.given(layout)
        except (PluginError, ValueError, KeyError):  # it needs a parameter, another modality or a longer clip
            continue
        if (layout.valid & ~given).any() and not any(torch.equal(given, other) for other in seen):
            tasks[name] = task
            seen.append(given)
    return tasks


def _validate(assembly: Assembly, clips: Mapping[str, Tensor], batch_size: int, world: World) -> dict[str, float]:
    """The loss on generated cells by task and modality, a mean over clips and :data:`LEVELS`; each process has some clips."""
    layout, denoiser = assembly.layout, assembly.denoiser
    first = next(iter(clips.values()))
    mine = slice(world.rank, None, world.size)
    keys = random.fold(random.example_keys(0, range(len(first)), str(first.device)), "validation")[mine]
    clips = {name: z[mine] for name, z in clips.items()}
    scalars = {}
    for name, task in usual_tasks(assembly.host, layout).items():
        given = task.given(layout)
        losses = [
            conditional_loss(denoiser, {modality: z[part] for modality, z in clips.items()}, given, level, keys[part])
            for level in (share * denoiser.schedule.num_levels for share in LEVELS)
            for part in (slice(start, start + batch_size) for start in range(0, len(keys), batch_size))
        ]
        total = torch.cat(losses).sum(0) if losses else first.new_zeros(layout.M)
        world.sum([total])
        means = total / (len(first) * len(LEVELS))
        for modality, mean, row in zip(layout.modalities, means.tolist(), layout.valid & ~given):
            if row.any():
                scalars[f"validation/{name}/{modality}"] = mean
    return scalars
