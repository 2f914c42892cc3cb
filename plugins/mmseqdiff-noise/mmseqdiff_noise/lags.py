"""Blocks of time, and how long each waits: what distinguishes one plan from another.

Blocks are stretches of *physical time*, so that tracks of unequal rates are cut at the same instants: a cell lies in the
segment of the reference track that holds its midpoint, and adjacent segments make a block. Only segments that hold a cell
to generate count; what is given is waited for by nobody. With i = 0 … B − 1 the blocks in the order of time, S the steps
of a cell and u the rows that a block starts after the one before it, a block waits at T for so many rows:

    (1) pyramid      ⌊u i⌋                                       arXiv:2407.01392; u = S is autoregressive
    (2) trapezoid    ⌊u min(i, B − 1 − i)⌋                       both ends first
    (3) middle out   ⌊u (⌈B/2⌉ − 1 − min(i, B − 1 − i))⌋
    (4) ar_step      min(a, S) (i − f)                           arXiv:2503.07418, arXiv:2504.13074

In (4) f is the first block of i's stretch: the block after a given one finds what it waits for finished, and starts.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

import attrs
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mmseqdiff.layout import Layout
from mmseqdiff.values import exact

__all__ = ["Blocks", "pyramid", "staggered", "trapezoid"]

Lags = Int[Tensor, "modality segment"]


@attrs.frozen(eq=False)
class Blocks:
    """What is to be generated, in blocks of time.

    Attributes:
        index: ``(M, N)``, the block of every cell to generate, −1 for given cells and padding.
        first: for every block the first of its stretch: of the adjacent segments that lie between given ones.
    """

    index: Lags
    first: tuple[int, ...]

    @classmethod
    def of(
        cls, layout: Layout, given: Bool[Tensor, "modality segment"], size: int = 1, reference: str | None = None
    ) -> "Blocks":
        """Blocks of ``size`` adjacent segments of the reference track, the last of a stretch as short as it must be.

        Args:
            layout: the tracks.
            given: the cells that are not generated.
            size: segments of the reference track in a block.
            reference: the modality whose segments cut the timeline; the coarsest where None.

        Raises:
            KeyError: if the layout has no such modality.
        """
        segments = layout.correspondence(reference)
        free = layout.valid & ~given
        block_of, first = torch.full((layout.N,), -1), []
        previous, filled = None, 0
        for segment in segments[free].unique().tolist():
            adjacent = previous is not None and segment == previous + 1
            filled = filled + 1 if adjacent else 0
            if filled % size == 0:
                first.append(first[-1] if adjacent else len(first))
            block_of[segment] = len(first) - 1
            previous = segment
        return cls(torch.where(free, block_of[segments], -1), tuple(first))

    @property
    def count(self) -> int:
        """B, the number of blocks."""
        return len(self.first)

    def spread(self, values: Sequence[int]) -> Lags:
        """A number per block, at each of its cells; 0 where there is no block."""
        return torch.where(self.index >= 0, torch.tensor([*values, 0])[self.index], 0)


def pyramid(blocks: Blocks, uncertainty: Fraction | float) -> Lags:
    """Eq. (1)."""
    uncertainty = exact(uncertainty)
    return blocks.spread([math.floor(uncertainty * i) for i in range(blocks.count)])


def trapezoid(blocks: Blocks, uncertainty: Fraction | float, middle_out: bool) -> Lags:
    """Eq. (2), or (3)."""
    uncertainty = exact(uncertainty)
    depth = [min(i, blocks.count - 1 - i) for i in range(blocks.count)]
    deepest = (blocks.count + 1) // 2 - 1
    return blocks.spread([math.floor(uncertainty * (deepest - d if middle_out else d)) for d in depth])


def staggered(blocks: Blocks, lag: int) -> Lags:
    """Eq. (4)."""
    return blocks.spread([lag * (i - first) for i, first in enumerate(blocks.first)])
