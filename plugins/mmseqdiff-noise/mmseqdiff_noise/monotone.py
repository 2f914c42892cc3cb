"""Levels that never fall along the clip, every such path as likely as the counts of paths make it (arXiv:2503.07418).

AR-Diffusion trains what asynchronous sampling visits: earlier frames are never noisier than later ones. Over F segments,

    (1) f ~ U{0, …, F − 1},   t_f ~ U{1, …, T}
    (2) (t_0, …, t_{f−1}) uniform among the paths with 1 <= t_0 <= … <= t_{f−1} <= t_f
    (3) (t_{f+1}, …, t_{F−1}) uniform among the paths with t_f <= t_{f+1} <= … <= T

A rising path of k levels out of v is a multiset; there are C(v + k − 1, k) of them. One drawn uniformly is what k draws from
Pólya's urn make, each ball put back with another of its kind, from one ball of every level:

    (4) draw i is, of the v + i balls, one of the v first (a new level, uniform) or a copy of an earlier draw, uniform

so that neither tables of path counts nor a loop over segments is needed. The chosen f is uniform, but early segments still
lean towards clean and late ones towards noise.
"""

import attrs
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import TimestepPolicy
from mmseqdiff_noise.segments import levels_of_segments

__all__ = ["Monotone", "rising_paths"]


def rising_paths(keys: Int[Tensor, " batch"], segments: int, num_levels: int) -> Int[Tensor, "batch segment"]:
    """One path per key, Eq. (1) to (3)."""
    f = random.integers(keys, "segment", 0, segments - 1)[:, None]
    level = random.integers(keys, "level", 1, num_levels)[:, None]
    position = torch.arange(segments, device=keys.device)
    left = position < f
    first = torch.where(left, 0, f + 1)  # where the position's side starts
    lowest, kinds = torch.where(left, 1, level), torch.where(left, level, num_levels - level + 1)  # and its v
    balls = kinds + (position - first).clamp(min=0)
    ball = (random.uniform(keys, "balls", (segments,)) * balls).floor().long().clamp(max=balls - 1)  # Eq. (4)
    drawn = torch.where(position == f, level, lowest + ball)
    source = torch.where((position == f) | (ball < kinds), position, first + ball - kinds)
    for _ in range(segments.bit_length()):  # copies of copies: each round doubles how far a draw has been followed
        source = source.gather(1, source)
    return drawn.gather(1, source).sort(dim=1).values


@attrs.frozen
class Monotone(TimestepPolicy):
    """A rising path of levels over the segments of the reference track; the other tracks follow by their midpoints.

    Attributes:
        reference: a modality; the coarsest where None.
    """

    reference: str | None = None

    def sample(
        self, layout: Layout, keys: Int[Tensor, " batch"], *, num_levels: int
    ) -> Float[Tensor, "batch modality segment"]:
        """One matrix per key."""
        paths = rising_paths(random.fold(keys, "monotone"), layout.reference(self.reference).segments, num_levels)
        return levels_of_segments(paths, layout, self.reference)
