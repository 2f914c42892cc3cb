"""Training one modality's codec from a folder of media files.

A codec that can be trained has ``training_loss(signal, keys) -> dict[str, Tensor]``: named terms whose sum is
minimised. More methods are optional:

    image_codec() -> nn.Module and inflate_from(module)     a cheaper codec of single frames, itself with a
        ``training_loss``, trained first; then this codec takes its weights (arXiv:2310.05737 §3.2)
    reconstruction_quality(signal, reconstruction) -> dict[str, Tensor]     named numbers per clip, such as decibels;
        without it the mean squared error is reported
    adversary(shape) -> nn.Module     an untrained network that learns to tell signals of this shape, ``(time, …)``, from
        reconstructions; ``training_loss`` then takes it as ``adversary=`` from some step on, and has terms for both. Those
        of the adversary itself are named ``adversary/…`` and reach its weights alone, all others the codec's alone.

``training_loss`` of a codec of pictures may also take ``perceptual=``, a :class:`mmseqdiff.protocols.Perceptual`.

A *pretrained* codec comes with weights of another library's: it has a parameter ``model``, where they lie, and
``save_configuration(folder)``, which writes ``config.json`` there, so that with its weights beside it the codec can be built
again from that folder.

The folder of a trained codec holds ``codec.safetensors`` and ``manifest.json``, which names its component, hash, steps
and quality; beside them lie what resuming needs: ``checkpoints/``, ``image/`` and ``signals/``.
"""

import inspect
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from mmseqdiff import random
from mmseqdiff.errors import CheckpointError, PluginError, RecipeError, RunError
from mmseqdiff.host import Host
from mmseqdiff.modality import Modality
from mmseqdiff.protocols import Codec, MediaFormat
from mmseqdiff.recipe import CodecTraining, Recipe
from mmseqdiff.train import checkpoint
from mmseqdiff.train.checkpoint import codec_hash
from mmseqdiff.train.loop import Listen, Trainer
from mmseqdiff.train.optimisation import Optimisation
from mmseqdiff.train.show import Show, side_by_side
from mmseqdiff.train.signals import Signals
from mmseqdiff.train.table import Table
from mmseqdiff.values import closest

__all__ = ["FILES", "keep_codec", "load_codec", "save_codec", "train_codec"]

FILES = ("codec.safetensors", "manifest.json", "config.json")
"""What of a codec's folder is needed to use it, the last for pretrained ones only; the rest is for resuming."""

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
        start_from: the folder of a trained codec whose weights a new training starts from.
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
    """
    console = console or Console()
    if modality not in recipe.modalities:
        raise RecipeError(
            f"recipe {recipe.name!r} has no modality {modality!r}; {closest(modality, list(recipe.modalities))}"
        )
    training = recipe.codec_training.get(modality, CodecTraining())
    torch.manual_seed(training.seed)
    built: Modality = recipe.modalities[modality].build(host, "modality")
    codec, length = built.codec.to(device), built.format.shape(training.seconds or recipe.seconds)[0]
    _check(codec, training, length, recipe, start_from)
    start = None if start_from is None else load_codec(codec, start_from)
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
    }
    if start is not None:
        description["start_from"] = start
    shared: dict[str, Any] = {
        "signals": training_files,
        "held_out": held_out,
        "training": training,
        "format": built.format,
        "console": console,
        "listener": host.listener,
    }
    perceptual = _perceptual(training, host, console)
    if perceptual is not None:
        if "perceptual" not in inspect.signature(codec.training_loss).parameters:
            raise RecipeError(
                f"recipe {recipe.name!r}: the training_loss of {type(codec).__name__} takes no perceptual network"
            )
        shared["perceptual"] = perceptual.to(device)
    if (
        training.perceptual is not None
    ):  # a run that was started with it is not resumed without, nor the other way round
        description["perceptual"] = "not installed" if perceptual is None else codec_hash(perceptual)
    if training.image_steps:
        stage = _stage(codec.image_codec().to(device), out / "image", description, length=1, images=True, **shared)
        if not stage.run():
            return False
        codec.inflate_from(stage.average.module)
    stage = _stage(codec, out, description, length=length, images=False, frozen=frozen, **shared)
    if not stage.run():
        return False
    quality = _quality(stage.average.module, held_out, length) if held_out.files else {}
    save_codec(stage.average.module, out, {**description, "steps": training.steps, "quality": quality})
    console.print(
        f"{modality} codec of {training.steps} steps in {out}: {_text(quality)}", soft_wrap=True, highlight=False
    )
    return True


def _check(codec: nn.Module, training: CodecTraining, length: int, recipe: Recipe, start_from: Path | None) -> None:
    if not hasattr(codec, "training_loss"):
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
    parts = dict(codec.named_modules())
    for name in training.frozen:
        if name not in parts:
            known = [part for part, _ in codec.named_children()]
            raise RecipeError(
                f"recipe {recipe.name!r}: the codec has no part {name!r} to freeze; {closest(name, known)}"
            )
    held = {id(value) for name in training.frozen for value in parts[name].parameters()}
    if all(id(value) in held for value in codec.parameters()):
        raise RecipeError(
            f"recipe {recipe.name!r}: with {', '.join(training.frozen)} frozen the codec has nothing to train"
        )
    try:
        codec.segments(length)
    except ValueError as error:
        raise RecipeError(f"recipe {recipe.name!r}: codec_training.seconds: {error}") from error


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


def _adversary(
    module: nn.Module, signals: Signals, length: int, training: CodecTraining, device: torch.device
) -> nn.Module:
    """An untrained adversary; how it starts follows from the seed, whatever was drawn before.

    Raises:
        RecipeError: if it cannot take clips of this shape.
    """
    torch.manual_seed(int(random.fold(torch.tensor(training.seed), "adversary")))
    try:
        return module.adversary((length, *signals.data.shape[1:])).to(device)
    except ValueError as error:
        raise RecipeError(f"codec_training: {error}") from error


def _stage(
    module: nn.Module,
    folder: Path,
    description: Mapping[str, Any],
    *,
    signals: Signals,
    held_out: Signals,
    training: CodecTraining,
    length: int,
    images: bool,
    format: MediaFormat,
    console: Console,
    listener: Listen,
    perceptual: nn.Module | None = None,
    frozen: Sequence[nn.Module] = (),
) -> Trainer:
    """The training of one stage: on single frames, or on clips."""
    device, seed = next(module.parameters()).device, training.seed
    batch_size = training.image_batch_size if images else training.batch_size
    fixed = {} if perceptual is None else {"perceptual": perceptual}
    adversary, begin = None, 0
    if training.adversarial_from is not None and not images:
        adversary, begin = _adversary(module, signals, length, training, device), training.adversarial_from
        begin -= training.image_steps

    def keys(step: int, positions: range) -> Tensor:
        return random.fold(random.example_keys(seed, positions), "image" if images else "clip", step)

    def objective(step: int, positions: range) -> tuple[Tensor, Table]:
        for part in frozen:
            part.eval()  # what a network keeps in buffers while it trains stays, too
        drawn = keys(step, positions)
        clips = signals.clips(signals.places(drawn, length), length).to(device)
        opposed = {} if adversary is None or step < begin else {"adversary": adversary}
        terms = module.training_loss(clips, drawn.to(device), **fixed, **opposed)
        return sum(terms.values()), Table.of_means({f"loss/{name}": term for name, term in terms.items()}, len(clips))

    def describe_batch(step: int) -> str:
        places = signals.places(keys(step, range(batch_size)), length)
        return ", ".join(f"{signals.files[file]} from {offset} on" for file, offset in places)

    def measure(step: int, average: nn.Module) -> dict[str, float | Show]:
        quality = _quality(average, held_out, length)
        console.print(f"step {step}, held-out files: {_text(quality)}", soft_wrap=True, highlight=False)
        signal = held_out.clips([(0, 0)], length).to(device)
        shown = side_by_side(format, signal[0], _reconstruct(average, signal)[0])
        return {f"quality/{name}": value for name, value in quality.items()} | (
            {} if shown is None else {"reconstruction": shown}
        )

    measurable = bool(held_out.files) and hasattr(module, "encode")  # a codec of images need not be a whole codec
    return Trainer(
        module=module,
        objective=objective,
        optimisation=Optimisation.of(
            training,
            steps=training.image_steps if images else training.steps - training.image_steps,
            batch_size=batch_size,
            learning_rate=(images and training.image_learning_rate) or training.learning_rate,
        ),
        folder=folder,
        description=description,
        describe_batch=describe_batch,
        actions=((training.checkpoint_every, measure),) if measurable else (),
        console=console,
        listener=listener,
        adversary=adversary,
        adversary_rate=(training.adversary_learning_rate or training.learning_rate) / training.learning_rate,
    )


@torch.no_grad()
def _reconstruct(codec: Codec, signal: Float[Tensor, "batch time ..."]) -> Float[Tensor, "batch time_cropped ..."]:
    return codec.decode(codec.encode(signal))


@torch.no_grad()
def _quality(codec: Codec, held_out: Signals, length: int) -> dict[str, float]:
    """Means over the held-out files' first clips."""
    device, found = next(codec.parameters()).device, {}
    for file in range(len(held_out.files)):
        signal = held_out.clips([(file, 0)], length).to(device)
        reconstruction = _reconstruct(codec, signal)
        signal = signal[:, : reconstruction.shape[1]]
        values = {"mse": (signal - reconstruction).square().mean()}
        if hasattr(codec, "reconstruction_quality"):
            values = codec.reconstruction_quality(signal, reconstruction)
        for name, value in values.items():
            found.setdefault(name, []).append(float(value.mean()))
    return {name: sum(values) / len(values) for name, values in found.items()}


def _text(quality: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in quality.items()) or "no file was held out to measure on"


def save_codec(codec: nn.Module, folder: Path, description: Mapping[str, Any]) -> None:
    """Writes ``codec.safetensors`` and its ``manifest.json``: the description, and the codec's hash.

    Raises:
        RunError: if they cannot be written.
    """
    if hasattr(codec, "save_configuration"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            codec.save_configuration(folder)
        except OSError as error:
            raise RunError(f"{folder} cannot be written: {error}") from error
    checkpoint.write_folder(folder, {"codec": codec.state_dict()}, {**description, "hash": codec_hash(codec)})


def keep_codec(codec: nn.Module, folder: Path | None, out: Path, modality: str) -> None:
    """Puts a codec into the folder ``out``: a copy of its own, or what a pretrained one was loaded as.

    Args:
        codec: with its weights.
        folder: where these came from; None if a pretrained codec found them by itself.
        out: gets the codec's files.
        modality: for the manifest.

    Raises:
        RunError: if it cannot be written.
    """
    if folder is None or not (folder / "manifest.json").is_file():
        save_codec(codec, out, {"modality": modality})
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        for file in FILES:
            if (folder / file).is_file() and (folder / file).resolve() != (out / file).resolve():
                shutil.copyfile(folder / file, out / file)
    except OSError as error:
        raise RunError(f"{out} cannot be written: {error}") from error


def load_codec(codec: nn.Module, folder: Path) -> str:
    """Loads trained weights into a codec; one that was built from a folder of another library has them already.

    Returns:
        The codec's hash.

    Raises:
        CheckpointError: if the folder holds no codec, or one that is truncated, changed, or of another shape.
    """
    if hasattr(codec, "save_configuration") and not (folder / "manifest.json").is_file():
        return codec_hash(codec)
    expected = checkpoint.read_manifest(folder).get("hash")
    checkpoint.load_into(codec, checkpoint.load_group(folder, "codec"), str(folder))
    found = codec_hash(codec)
    if found != expected:
        raise CheckpointError(f"{folder}: the codec's hash is {found}, its manifest says {expected}: it was changed")
    return found
