"""One stage of a codec's training: on single frames, or on clips.

Step n takes a batch of clips, each from a place that follows from (seed, example, n), and minimises

    loss = Σ terms of training_loss(clips, keys)        from the stage's ``adversarial`` step on against an adversary

What of it the training loop does is said in :mod:`mmseqdiff.train.loop`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from jaxtyping import Float
from rich.console import Console
from torch import Tensor, nn

from mmseqdiff import random
from mmseqdiff.errors import RecipeError
from mmseqdiff.fidelity import fidelity
from mmseqdiff.protocols import MediaFormat
from mmseqdiff.recipe import CodecTraining
from mmseqdiff.train.loop import Listen, Trainer
from mmseqdiff.train.optimisation import Optimisation
from mmseqdiff.train.show import Show, side_by_side
from mmseqdiff.train.signals import Signals
from mmseqdiff.train.table import Table

__all__ = ["Stage", "describe_quality"]


@attrs.frozen(eq=False, kw_only=True)
class Stage:
    """What the loop trains, and on what.

    Attributes:
        codec: what is trained, on its device.
        training: how.
        signals: what it is trained on.
        held_out: what it is measured on.
        format: of the signals.
        length: of a clip, in frames or samples; 1 for single frames.
        images: whether this is the stage on single frames.
        perceptual: a network whose features the codec should keep; None for nothing.
        frozen: parts of the codec that stay as they are.
        console: where the quality is printed.
        adversary: what is trained against the codec; how it starts follows from the seed, whatever was drawn before.

    Raises:
        RecipeError: if the adversary cannot take clips of this shape.
    """

    codec: nn.Module
    training: CodecTraining
    signals: Signals
    held_out: Signals
    format: MediaFormat
    length: int
    images: bool = False
    perceptual: nn.Module | None = None
    frozen: Sequence[nn.Module] = ()
    console: Console
    adversary: nn.Module | None = attrs.field(init=False)

    @adversary.default
    def _untrained_adversary(self) -> nn.Module | None:
        if self.images or self.training.adversarial_from is None:
            return None
        torch.manual_seed(int(random.fold(torch.tensor(self.training.seed), "adversary")))
        try:
            return self.codec.adversary((self.length, *self.signals.data.shape[1:])).to(self._device)
        except ValueError as error:
            raise RecipeError(f"codec_training: {error}") from error

    def trainer(self, folder: Path, description: Mapping[str, Any], listener: Listen) -> Trainer:
        """The loop that trains this stage in a folder.

        Args:
            folder: gets checkpoints and curves.
            description: of the training, kept in every checkpoint.
            listener: who is told of steps.
        """
        training = self.training
        measurable = bool(self.held_out.files) and hasattr(self.codec, "encode")  # not every codec of images is whole
        return Trainer(
            module=self.codec,
            objective=self.loss,
            optimisation=Optimisation.of(
                training,
                steps=training.image_steps if self.images else training.steps - training.image_steps,
                batch_size=self._batch_size,
                learning_rate=(self.images and training.image_learning_rate) or training.learning_rate,
            ),
            folder=folder,
            description=description,
            describe_batch=self.describe_batch,
            actions=((training.checkpoint_every, self.measure),) if measurable else (),
            console=self.console,
            listener=listener,
            adversary=self.adversary,
            adversary_rate=(training.adversary_learning_rate or training.learning_rate) / training.learning_rate,
        )

    def loss(self, step: int, positions: range) -> tuple[Tensor, Table]:
        """The loss over examples of a step's batch, and its terms."""
        for part in self.frozen:
            part.eval()  # what a network keeps in buffers while it trains stays, too
        keys = self._keys(step, positions)
        clips = self.signals.clips(self.signals.places(keys, self.length), self.length).to(self._device)
        others = {} if self.perceptual is None else {"perceptual": self.perceptual}
        if self.adversary is not None and step >= self.training.adversarial_from - self.training.image_steps:
            others["adversary"] = self.adversary
        terms = self.codec.training_loss(clips, keys.to(self._device), **others)
        return sum(terms.values()), Table.of_means({f"loss/{name}": term for name, term in terms.items()}, len(clips))

    def describe_batch(self, step: int) -> str:
        """Which clips a step trains on."""
        places = self.signals.places(self._keys(step, range(self._batch_size)), self.length)
        return ", ".join(f"{self.signals.files[file]} from {offset} on" for file, offset in places)

    def measure(self, step: int, average: nn.Module) -> dict[str, float | Show]:
        """The averaged codec's quality, and one clip beside its reconstruction."""
        quality = self.quality(average)
        self.console.print(f"step {step}, held-out files: {describe_quality(quality)}", soft_wrap=True, highlight=False)
        signal = self.held_out.clips([(0, 0)], self.length).to(self._device)
        shown = side_by_side(self.format, signal[0], _reconstruct(average, signal)[0])
        return {f"quality/{name}": value for name, value in quality.items()} | (
            {} if shown is None else {"reconstruction": shown}
        )

    @torch.no_grad()
    def quality(self, codec: nn.Module) -> dict[str, float]:
        """Means over the held-out files' first clips; empty where no file is held out."""
        found: dict[str, list[float]] = {}
        for file in range(len(self.held_out.files)):
            signal = self.held_out.clips([(file, 0)], self.length).to(self._device)
            reconstruction = _reconstruct(codec, signal)
            signal = signal[:, : reconstruction.shape[1]]
            for name, value in fidelity(codec, self.format, signal[0], reconstruction[0]).items():
                found.setdefault(name, []).append(value)
        return {name: sum(values) / len(values) for name, values in found.items()}

    @property
    def _device(self) -> torch.device:
        return next(self.codec.parameters()).device

    @property
    def _batch_size(self) -> int:
        return self.training.image_batch_size if self.images else self.training.batch_size

    def _keys(self, step: int, positions: range) -> Tensor:
        return random.fold(random.example_keys(self.training.seed, positions), "image" if self.images else "clip", step)


def describe_quality(quality: Mapping[str, float]) -> str:
    """For people."""
    return ", ".join(f"{name} {value:.4g}" for name, value in quality.items()) or "no file was held out to measure on"


@torch.no_grad()
def _reconstruct(codec: nn.Module, signal: Float[Tensor, "batch time ..."]) -> Float[Tensor, "batch time_cropped ..."]:
    return codec.decode(codec.encode(signal))
