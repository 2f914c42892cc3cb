"""Training one modality's codec, a :class:`mmseqdiff.protocols.TrainableCodec`, from a folder of media files.

The folder gets what :mod:`mmseqdiff.train.codec_folder` describes, and beside it what resuming needs: ``checkpoints/``,
``image/`` and ``signals/``.
"""

import inspect
import os
from functools import partial
from pathlib import Path

import attrs
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from mmseqdiff.device import usable_device
from mmseqdiff.errors import PluginError, RecipeError, UserError
from mmseqdiff.host import Host
from mmseqdiff.modality import Modality
from mmseqdiff.protocols import TrainableCodec
from mmseqdiff.recipe import CodecTraining, Recipe
from mmseqdiff.train.checkpoint import codec_hash
from mmseqdiff.train.codec_folder import load_codec, save_codec
from mmseqdiff.train.codec_stage import Stage, describe_quality
from mmseqdiff.train.signals import Signals
from mmseqdiff.values import closest

__all__ = ["train_codec"]

HELD_OUT = 64
"""At most so many files are kept out of training, to measure on; at most one in twenty."""


def train_codec(
    recipe: Recipe,
    host: Host,
    modality: str,
    data: Path,
    out: Path,
    *,
    start_from: Path | None = None,
    device: str = "cpu",
    console: Console | None = None,
) -> bool:
    """Trains the codec of ``modality`` into the folder ``out``, or goes on where it stopped.

    Args:
        recipe: names the modality's plugin and, under ``codec_training``, how to train.
        host: builds it.
        modality: one of the recipe's.
        data: a folder of media files.
        out: gets ``codec.safetensors``, ``manifest.json`` and what resuming needs.
        start_from: the folder of a trained codec whose weights a new training starts from; as long as the latents stay the
            same to the last bit, stores and runs that were made with that codec take the new one.
        device: where to train.
        console: for progress.

    Returns:
        Whether training is complete; False after Ctrl-C.

    Raises:
        RecipeError: if the recipe has no such modality, its codec cannot be trained, takes no clips of that length, or
            has nothing left to train.
        MediaError: if there is nothing to train on.
        CheckpointError: if ``out`` holds another training, or ``start_from`` no codec of these shapes.
        RunError: if a number is not finite or a file cannot be written.
        UserError: if the device cannot be used here, or several processes were started.
    """
    console = console or Console()
    if modality not in recipe.modalities:
        raise RecipeError(
            f"recipe {recipe.name!r} has no modality {modality!r}; {closest(modality, list(recipe.modalities))}"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("codecs train in one process: start train-codec without torchrun, one modality on each device")
    training = recipe.codec_training.get(modality, CodecTraining())
    place = usable_device(device)
    torch.manual_seed(training.seed)
    built: Modality = recipe.modalities[modality].build(host, "modality")
    codec, length = built.codec.to(place), built.format.shape(training.seconds or recipe.seconds)[0]
    _check(codec, training, recipe, start_from)
    try:
        codec.track(modality, built.format.shape(training.seconds or recipe.seconds), built.format.rate)
    except ValueError as error:
        raise RecipeError(
            f"recipe {recipe.name!r}: the {modality} codec takes no such clips (codec_training.seconds, or parameters of the modality): {error}"
        ) from error
    known_by = None if start_from is None else load_codec(codec, start_from)
    frozen = [codec.get_submodule(name).requires_grad_(False) for name in training.frozen]

    signals = Signals.load(
        data,
        built.format,
        out / "signals",
        shortest=length,
        progress=lambda files: track(files, "decoding", console=console),
    )
    for reason in signals.left_out.values():
        console.print(f"left out: {reason}", soft_wrap=True, highlight=False)
    training_files, held_out = signals.split(min(HELD_OUT, len(signals.files) // 20))

    described = attrs.evolve(recipe, codec_training={modality: training}).to_dict()
    description = {
        "modality": modality,
        "component": described["modalities"][modality],
        "codec_training": described["codec_training"][modality],
        "data": {"files": len(signals.files), "length": sum(signals.lengths)},
        "start_from": None if start_from is None else codec_hash(codec),
    }
    latents = _latents(codec, training_files, length) if frozen else []
    perceptual = _perceptual(training, host, console)
    if perceptual is not None and "perceptual" not in inspect.signature(codec.training_loss).parameters:
        raise RecipeError(
            f"recipe {recipe.name!r}: the training_loss of {type(codec).__name__} takes no perceptual network"
        )
    if training.perceptual is not None:  # training that began with it is not resumed without, or the other way round
        description["perceptual"] = "not installed" if perceptual is None else codec_hash(perceptual)
    stage = partial(
        Stage,
        training=training,
        signals=training_files,
        held_out=held_out,
        format=built.format,
        perceptual=None if perceptual is None else perceptual.to(place),
        console=console,
    )
    if training.image_steps:
        images = stage(codec=codec.image_codec().to(place), length=1, images=True)
        trainer = images.trainer(out / "image", description, host.listener)
        if not trainer.run():
            return False
        codec.inflate_from(trainer.average.module)
    clips = stage(codec=codec, length=length, frozen=frozen)
    trainer = clips.trainer(out, description, host.listener)
    if not trainer.run():
        return False
    trained = trainer.average.module
    quality = clips.quality(trained)
    if frozen and all(map(torch.equal, _latents(trained, training_files, length), latents)):
        description["latents"] = known_by
    save_codec(trained, out, {**description, "steps": training.steps, "quality": quality})
    console.print(
        f"{modality} codec of {training.steps} steps in {out}: {describe_quality(quality)}",
        soft_wrap=True,
        highlight=False,
    )
    return True


@torch.no_grad()
def _latents(codec: nn.Module, signals: Signals, length: int) -> list[Tensor]:
    """Of the first clips of some files: enough to tell whether a codec's latents have changed at all."""
    codec, device = codec.eval(), next(codec.parameters()).device
    return [codec.encode(signals.clips([(file, 0)], length).to(device)) for file in range(min(16, len(signals.files)))]


def _check(codec: nn.Module, training: CodecTraining, recipe: Recipe, start_from: Path | None) -> None:
    if not isinstance(codec, TrainableCodec):
        raise RecipeError(
            f"recipe {recipe.name!r}: {type(codec).__name__} has no training_loss, so it cannot be trained"
        )
    if training.image_steps and not hasattr(codec, "image_codec"):
        raise RecipeError(
            f"recipe {recipe.name!r}: {type(codec).__name__} has no image_codec, so image_steps must be 0"
        )
    if training.adversarial_from is not None and not hasattr(codec, "adversary"):
        raise RecipeError(
            f"recipe {recipe.name!r}: {type(codec).__name__} has no adversary, so adversarial_from must be left out"
        )
    if training.image_steps >= training.steps:
        raise RecipeError(
            f"recipe {recipe.name!r}: image_steps {training.image_steps} must be fewer than steps {training.steps}"
        )
    if training.image_steps and (start_from is not None or training.frozen):
        raise RecipeError(
            f"recipe {recipe.name!r}: a codec that starts from another, or has frozen parts, is not inflated: image_steps must be 0"
        )
    if training.frozen and start_from is None:
        raise RecipeError(
            f"recipe {recipe.name!r}: with {', '.join(training.frozen)} frozen, training has to start from a trained codec: "
            "name its folder by --start-from"
        )
    for field, size in (("batch_size", training.batch_size), ("image_batch_size", training.image_batch_size)):
        if (field == "batch_size" or training.image_steps) and size % training.accumulate:
            raise RecipeError(
                f"recipe {recipe.name!r}: {field} {size} cannot be split into {training.accumulate} equal micro-batches (accumulate)"
            )
    parts = dict(codec.named_modules())
    for name in training.frozen:
        if name not in parts:
            known = [part for part, _ in codec.named_children()]
            raise RecipeError(
                f"recipe {recipe.name!r}: the codec has no part {name!r} to freeze; {closest(name, known)}"
            )
    held = {id(value) for name in training.frozen for value in parts[name].parameters()}
    if held and all(id(value) in held for value in codec.parameters()):
        raise RecipeError(
            f"recipe {recipe.name!r}: with {', '.join(training.frozen)} frozen the codec has nothing to train"
        )


def _perceptual(training: CodecTraining, host: Host, console: Console) -> nn.Module | None:
    """The recipe's perceptual network; None, and a line that says so, where what it needs is not installed.

    Raises:
        PluginError: if there is none of that name.
    """
    if training.perceptual is None:
        return None
    host.registration("perceptual", training.perceptual.name)
    try:
        return training.perceptual.build(host, "perceptual").eval().requires_grad_(False)
    except PluginError as error:
        console.print(f"trained without the perceptual term: {error}", soft_wrap=True, highlight=False)
        return None
