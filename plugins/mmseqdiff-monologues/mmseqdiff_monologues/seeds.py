"""Where the randomness of a clip comes from: one integer, its *clip seed*, and named draws under it.

A clip seed is (seed, index, split) written side by side in one integer,

    clip_seed = seed · 2^33 + index · 2 + [split = held_out]

so that no two clips share one: not within a set, not between the training and the held-out set, and not between the
sets of two seeds.
"""

from collections.abc import Sequence
from typing import TypeVar

import torch

from mmseqdiff.random import fold, uniform

__all__ = ["SPLITS", "Draws", "clip_seed"]

SPLITS = ("train", "held_out")
"""No clip is in both."""
_INDEX_BITS, _SEED_BITS = 32, 30

T = TypeVar("T")


def clip_seed(split: str, seed: int, index: int) -> int:
    """The seed of clip ``index`` of a set.

    Args:
        split: ``"train"`` or ``"held_out"``.
        seed: of the set, in [0, 2^30).
        index: of the clip, in [0, 2^32).

    Raises:
        ValueError: if one is out of its range.
    """
    if split not in SPLITS:
        raise ValueError(f"there is no split {split!r}: use one of {', '.join(SPLITS)}")
    if not 0 <= seed < 2**_SEED_BITS or not 0 <= index < 2**_INDEX_BITS:
        raise ValueError(f"seed {seed} must lie in [0, 2^{_SEED_BITS}) and index {index} in [0, 2^{_INDEX_BITS})")
    return (seed << (_INDEX_BITS + 1)) + (index << 1) + SPLITS.index(split)


class Draws:
    """Named random numbers: each depends on the clip seed and on its names alone, not on what else was drawn."""

    def __init__(self, seed: int, purpose: str):
        self.key = fold(torch.tensor([seed]), "monologues", purpose)

    def uniform(self, name: str, low: float, high: float) -> float:
        """A number in (low, high)."""
        return self.within(name, (low, high))[0]

    def within(self, name: str, *ranges: tuple[float, float]) -> list[float]:
        """A number in each of the ``(low, high)``."""
        return [low + (high - low) * part for (low, high), part in zip(ranges, self.uniforms(name, len(ranges)))]

    def uniforms(self, name: str, count: int) -> list[float]:
        """``count`` numbers in (0, 1)."""
        return uniform(self.key, name, (count,))[0].tolist()

    def choice(self, name: str, options: Sequence[T]) -> T:
        """One of ``options``."""
        return self.choices(name, options, 1)[0]

    def choices(self, name: str, options: Sequence[T], count: int) -> list[T]:
        """``count`` of ``options``, each drawn from all of them."""
        return [options[min(int(part * len(options)), len(options) - 1)] for part in self.uniforms(name, count)]
