"""A minute of training that starts from a model's weights, on a few clips, with the loss on them before and after.

So few clips are soon learnt by heart: this shows that training works, not that the model gets better at others.
"""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import attrs
import torch
from rich.console import Console
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.assembly import Assembly
from mmseqdiff.data.files import replacing
from mmseqdiff.data.store import LatentStore
from mmseqdiff.errors import MediaError
from mmseqdiff.pipeline import Pipeline
from mmseqdiff.recipe import Recipe
from mmseqdiff.train.denoiser import train_denoiser
from mmseqdiff.train.latents import encode_to_store
from mmseqdiff.train.objective import DenoisingObjective

__all__ = ["ShortTraining", "draw_losses", "train_on"]

DRAWS = 4
"""How many timestep matrices and noises per clip the loss is measured at."""
LOOKS = 5
"""How often the loss is measured while training."""
STEP_COST = 2.5
"""Seconds of a training step over those of measuring a loss: as much again for the way back, and the update."""


@attrs.frozen
class ShortTraining:
    """What came of it.

    Attributes:
        losses: steps done → loss of the averaged weights on the clips, always at the same levels and noise.
        clips: how many; each step takes all of them.
        seconds: it took.
    """

    losses: dict[int, float]
    clips: int
    seconds: float

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        return max(self.losses)


def train_on(
    pipeline: Pipeline,
    run: Path,
    clips: Path,
    out: Path,
    *,
    seconds: float = 60,
    console: Console | None = None,
) -> ShortTraining | None:
    """Trains on for about so many seconds.

    Args:
        pipeline: the model.
        run: its folder, with the codecs.
        clips: a folder of media files to train on.
        out: gets a temporary folder, which is removed in the end.
        seconds: how long, with everything around it; a few steps are always made.
        console: for progress.

    Returns:
        The losses; None after Ctrl-C.
    """
    assembly, begin, device = pipeline.assembly, time.monotonic(), str(pipeline.device)
    with tempfile.TemporaryDirectory(dir=out, prefix=".training-") as temporary:
        store = Path(temporary) / "store"
        codecs = {name: run / "codecs" / name for name in assembly.modalities}
        encode_to_store(assembly.recipe, assembly.host, clips, codecs, store, device=device)
        opened = LatentStore.open(store)
        raw = opened.batch(range(len(opened)))
        z0 = {name: value.statistics.normalise(raw[name].to(device)) for name, value in assembly.modalities.items()}

        losses = {0: _measure(assembly, z0)}
        start = time.monotonic()
        _measure(assembly, z0)  # once more for the clock: the first time is slower
        measuring = time.monotonic() - start
        left = seconds - (time.monotonic() - begin) - LOOKS * measuring
        steps = LOOKS * max(round(left / (STEP_COST * measuring / DRAWS) / LOOKS), 1)

        def look(step: int, trained: Assembly, _: Path) -> None:
            losses[step] = _measure(trained, z0)

        recipe = _short(assembly.recipe, steps, len(opened))
        done = train_denoiser(
            recipe,
            assembly.host,
            store,
            Path(temporary) / "run",
            validation=store,
            start_from=run,
            sample=look,
            device=device,
            console=console,
        )
    return ShortTraining(losses, len(opened), time.monotonic() - begin) if done else None


def _short(recipe: Recipe, steps: int, clips: int) -> Recipe:
    """The recipe with training for so few steps."""
    training = attrs.evolve(
        recipe.training,
        steps=steps,
        batch_size=clips,
        accumulate=1,
        learning_rate=recipe.training.learning_rate / 2,
        warmup_steps=steps // 10,
        ema_decay=0.8,
        precision="float32",
        checkpoint_every=steps,
        validate_every=steps + 1,  # the losses are looked at, instead
        sample_every=steps // LOOKS,
    )
    return attrs.evolve(recipe, training=training)


@torch.no_grad()
def _measure(assembly: Assembly, z0: Mapping[str, Tensor]) -> float:
    """The training loss, at levels and noise that are always the same."""
    training = assembly.recipe.training
    objective = DenoisingObjective(
        assembly.denoiser, assembly.policy, training.self_condition_rate, training.loss_weights, training.reduction
    )
    first = next(iter(z0.values()))
    keys = random.fold(random.example_keys(0, range(len(first)), str(first.device)), "demo")
    return sum(objective(z0, random.fold(keys, draw))[0].item() for draw in range(DRAWS)) / DRAWS


def draw_losses(training: ShortTraining, path: Path) -> None:
    """Writes a PNG of the loss over the steps.

    Raises:
        MediaError: if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    steps = sorted(training.losses)
    axes.plot(steps, [training.losses[step] for step in steps], marker="o", color="#6d4aff", linewidth=2)
    axes.set_xlabel("optimiser steps")
    axes.set_ylabel("loss on the clips")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    with replacing(path, MediaError) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
