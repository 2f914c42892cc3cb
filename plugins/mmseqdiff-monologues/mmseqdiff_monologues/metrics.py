"""What the truth of a monologue allows to measure: whether the mouth moves as it should, whether it is still the same
person, and whether digits are understood.

The first two look at a video ``(frames, height, width, 3)`` of any size, in the picture's own coordinates: u to the right
and v down from the middle, in units of the short side. The head moves little enough to stay within the regions below.

The opening of the mouth. Every mouth is as dark inside, and lips lie on the way from the skin s to the inside m:

    (1) p = ⟨picture − s, m − s⟩ / |m − s|²              s: the median colour between the eyes and the mouth
    (2) inside = clip((p − λ) / (1 − λ), 0, 1)           λ = LIPS, the lips' own p
    (3) opening = max over columns of Σ inside · (pixel height) / MOUTH_HEIGHT

with the columns of (3) averaged over the middle of a mouth's width. The sum makes it finer than a pixel.
"""

from collections.abc import Mapping
from typing import ClassVar

import attrs
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool1d

from mmseqdiff.errors import MediaError
from mmseqdiff.protocols import Comparison
from mmseqdiff_monologues.clips import Truth
from mmseqdiff_monologues.identity import LIPS, MOUTH_INTERIOR
from mmseqdiff_monologues.render import MOUTH_HEIGHT
from mmseqdiff_monologues.words import recognise, word_error

__all__ = ["IdentityConsistency", "MouthAlignment", "WordError", "measure_opening", "measure_palette", "measure_shape"]

Video = Float[Tensor, "frame height width 3"]

_SMOOTH = 0.05  # the width over which Eq. (3) averages columns
_MOUTH = (-0.07, 0.07, 0.03, 0.275)  # left, right, top, bottom: holds the middle of the mouth in every pose
_REGIONS = {  # boxes that show one colour whatever the person, the hair style and the pose
    "background": ((-0.5, -0.38, -0.5, -0.38), (0.38, 0.5, -0.5, -0.38)),
    "clothes": ((-0.2, 0.2, 0.44, 0.5),),
    "skin": ((-0.11, 0.11, -0.01, 0.04),),
    "hair": ((-0.06, 0.06, -0.29, -0.22),),
}


def measure_opening(video: Video) -> Float[Tensor, " frame"]:
    """How far the mouth is open in every frame: 0 (closed) … about 1 (widest); Eq. (1) to (3)."""
    skin = measure_palette(video)["skin"]
    axis = torch.tensor(MOUTH_INTERIOR).to(video) - skin
    p = (_box(video, _MOUTH) - skin) @ axis / (axis @ axis)  # Eq. (1)
    inside = ((p - LIPS) / (1 - LIPS)).clamp(0, 1)  # Eq. (2)
    side = min(video.shape[1:3])
    heights = inside.sum(dim=1) / side
    smooth = avg_pool1d(heights[:, None], max(round(_SMOOTH * side), 1), stride=1)[:, 0]
    return smooth.amax(dim=1) / MOUTH_HEIGHT  # Eq. (3)


def measure_palette(video: Video) -> dict[str, Float[Tensor, " 3"]]:
    """The colours of background, clothes, skin and hair: each the median over its region and all frames."""
    return {
        name: torch.cat([_box(video, box).flatten(0, 2) for box in boxes]).median(dim=0).values
        for name, boxes in _REGIONS.items()
    }


def measure_shape(video: Video, palette: Mapping[str, Float[Tensor, " 3"]]) -> Float[Tensor, " colour"]:
    """The part of the picture that each colour of the palette takes: every pixel goes to the nearest colour."""
    colours = torch.stack(list(palette.values()))
    nearest = torch.cdist(video.flatten(0, 2), colours).argmin(dim=1)
    return torch.bincount(nearest, minlength=len(colours)) / nearest.numel()


def _box(video: Video, box: tuple[float, float, float, float]) -> Float[Tensor, "frame row column 3"]:
    """The pixels whose middles lie in a box."""
    _, height, width, _ = video.shape
    left, right, top, bottom = (
        round(edge * min(height, width) + middle) for edge, middle in zip(box, (width / 2,) * 2 + (height / 2,) * 2)
    )
    pixels = video[:, max(top, 0) : bottom, max(left, 0) : right]
    if not pixels.numel():
        raise MediaError(f"a video of shape {tuple(video.shape)} is too small to be measured: it needs 16 x 16 pixels")
    return pixels


@attrs.frozen
class MouthAlignment:
    """Does the mouth in the generated picture move as the mouth of the given sound?

    The true opening is that of the real file's ground truth. Without one beside the file, or where the sound is not
    given whole, there is nothing to say.

    Attributes:
        video: name of the modality that shows the mouth.
        audio: name of the modality that is heard.
    """

    video: str = "video"
    audio: str = "audio"
    better: ClassVar[Mapping[str, str]] = {"correlation": "higher", "error": "lower"}

    def __call__(self, comparison: Comparison) -> dict[str, float]:
        """Over the generated frames: ``correlation`` (0 if a mouth never moves) and mean absolute ``error`` of the opening."""
        if not {self.video, self.audio} <= comparison.given.keys():
            return {}
        free, heard = ~comparison.given[self.video], comparison.given[self.audio]
        truth = Truth.beside(comparison.file)
        if truth is None or not (free.any() and heard.all()):
            return {}
        rate = comparison.rates[self.video]
        true = truth.mouth_opening(comparison.start, len(free) / rate, rate)[free]
        found = measure_opening(comparison.generated[self.video][free])
        return {"correlation": _correlation(found, true), "error": (found - true).abs().mean().item()}


@attrs.frozen
class IdentityConsistency:
    """Is the person in the generated frames the person of the given frames?

    Where no frame or every frame is given, or the real clip is no monologue, there is nothing to say.

    Attributes:
        video: name of the modality that shows the person.
    """

    video: str = "video"
    better: ClassVar[Mapping[str, str]] = dict.fromkeys(("distance", *_REGIONS, "shape"), "lower")

    def __call__(self, comparison: Comparison) -> dict[str, float]:
        """Distances, 0 for the same person.

        ``background``, ``clothes``, ``skin``, ``hair``: between the measured RGB colours. ``shape``: half the L1
        distance between the parts of the picture that the colours take. ``distance``: the mean of the four colours'.
        """
        given = comparison.given.get(self.video)
        if given is None or given.all() or not given.any() or Truth.beside(comparison.file) is None:
            return {}
        generated, real = comparison.generated[self.video][~given], comparison.real[self.video][given]
        found, true = measure_palette(generated), measure_palette(real)
        colours = {name: (found[name] - true[name]).norm().item() for name in found}
        shape = 0.5 * (measure_shape(generated, found) - measure_shape(real, true)).abs().sum().item()
        return {"distance": sum(colours.values()) / len(colours), **colours, "shape": shape}


@attrs.frozen
class WordError:
    """Are a generated voice's digits understood, and as well as the real one's?

    The digits are those that the real file's ground truth has spoken whole within the clip. Without one that says digits, or
    where a part of the sound is given, there is nothing to say.

    Attributes:
        audio: name of the modality that is heard.
    """

    audio: str = "audio"
    better: ClassVar[Mapping[str, str]] = {"error": "lower", "excess": "lower"}

    def __call__(self, comparison: Comparison) -> dict[str, float]:
        """``error``: the word error of what is heard, 0 for every digit understood; ``excess``: that over the real clip's.

        Raises:
            PluginError: if pocketsphinx is not installed.
        """
        given, truth = comparison.given.get(self.audio), Truth.beside(comparison.file)
        if given is None or given.any() or truth is None:
            return {}
        rate = comparison.rates[self.audio]
        said = truth.digits(comparison.start, len(given) / rate)
        if not said:
            return {}
        first, last = (round((time - float(comparison.start)) * rate) for time in (said[0][1], said[-1][2]))
        generated, real = (
            word_error(recognise(signals[self.audio][first:last], int(rate)), [word for word, _, _ in said])
            for signals in (comparison.generated, comparison.real)
        )
        return {"error": generated, "excess": generated - real}


def _correlation(first: Float[Tensor, " frame"], second: Float[Tensor, " frame"]) -> float:
    first, second = first - first.mean(), second - second.mean()
    scale = first.norm() * second.norm()
    return (first @ second / scale).item() if scale > 1e-6 else 0.0
