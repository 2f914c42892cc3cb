"""What is logged to be looked at and listened to: signals beside their reconstructions."""

from typing import Any, Protocol, runtime_checkable

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from mmseqdiff.protocols import MediaFormat

__all__ = ["Picture", "Show", "Sound", "side_by_side"]

FRAMES = 8
"""Frames of a video that are shown."""
PAUSE = 0.2
"""Seconds of silence between two sounds."""


@runtime_checkable
class Show(Protocol):
    """Something that is logged, but is no number."""

    def write(self, writer: Any, name: str, step: int) -> None:
        """Gives it to a TensorBoard writer."""
        ...


@attrs.frozen(eq=False)
class Picture(Show):
    """Pixels in [0, 1]."""

    pixels: Float[Tensor, "row column 3"]

    def write(self, writer: Any, name: str, step: int) -> None:
        """As an image."""
        writer.add_image(name, self.pixels.clamp(0, 1), step, dataformats="HWC")


@attrs.frozen(eq=False)
class Sound(Show):
    """Samples in [−1, 1], ``rate`` a second."""

    samples: Float[Tensor, " sample"]
    rate: int

    def write(self, writer: Any, name: str, step: int) -> None:
        """As a sound."""
        writer.add_audio(name, self.samples.clamp(-1, 1), step, sample_rate=self.rate)


def side_by_side(
    format: MediaFormat, signal: Float[Tensor, "time ..."], reconstruction: Float[Tensor, "time_cropped ..."]
) -> Show | None:
    """A signal and its reconstruction: of video some frames above each other, of sound one after the other.

    None for a signal that is neither.
    """
    pair = [part.detach().float().cpu() for part in (signal, reconstruction)]
    if format.stream == "video":
        shown = torch.linspace(0, len(reconstruction) - 1, min(FRAMES, len(reconstruction))).long()
        return Picture(torch.cat([torch.cat(list(part[shown]), dim=1) for part in pair]))
    if format.stream == "audio":
        pause = torch.zeros(int(PAUSE * format.rate))
        return Sound(torch.cat([pair[0], pause, pair[1]]), int(format.rate))
    return None
