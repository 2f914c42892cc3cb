"""Two levels in one example: a few cells are cleaner than the rest (dual-timestep scheduling, arXiv:2603.06507).

With U units, a unit being the cells of one modality that share a segment, and K = floor(share · U):

    (1) a, b ~ U{1, …, T},   k ~ U{0, …, K},   S uniform among the sets of k units
    (2) t = min(a, b) in S,  max(a, b) elsewhere
"""

import math

import attrs
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import TimestepPolicy
from mmseqdiff.timesteps import PADDING
from mmseqdiff_noise.policies import PerSegmentModality

__all__ = ["DualTime"]


@attrs.frozen
class DualTime(TimestepPolicy):
    """Two levels, the smaller one for a random minority of the units, Eq. (1) and (2).

    Attributes:
        share: of the units, at most so many get the smaller level; in [0, 1].
        granularity: of a unit: ``segment`` or ``latent``, as for ``per_segment_modality``.
    """

    share: float = attrs.field(default=0.5, validator=[attrs.validators.ge(0), attrs.validators.le(1)])
    granularity: str = attrs.field(default="segment", validator=attrs.validators.in_(("latent", "segment")))

    def sample(
        self, layout: Layout, keys: Int[Tensor, " batch"], *, num_levels: int
    ) -> Float[Tensor, "batch modality segment"]:
        """One matrix per key."""
        keys = random.fold(keys, "dual_time")
        units = PerSegmentModality(self.granularity).ties(layout)[0]
        count, units = int(units.max()) + 1, units.to(keys.device)
        low, high = random.integers(keys, "levels", 1, num_levels, (2,)).sort(dim=-1).values.unbind(-1)
        size = random.integers(keys, "size", 0, math.floor(self.share * count))
        rank = random.uniform(keys, "units", (count,)).argsort(dim=-1).argsort(dim=-1)
        levels = torch.where(rank < size[:, None], low[:, None], high[:, None])
        return torch.where(units == PADDING, 0, levels[:, units.clamp(min=0)]).to(torch.float32)
