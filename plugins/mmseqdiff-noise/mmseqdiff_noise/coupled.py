"""One time for all modalities, each of which sees it shifted: the very path on which they will be sampled together.

    (1) u ~ U(0, 1)
    (2) t_m = T · shift_m u / (1 + (shift_m − 1) u)          arXiv:2403.03206 Eq. 23, a shift per modality

A shift above 1 keeps a modality noisier than the others, one below 1 cleaner. Unlike per-modality levels, which train every
pair, this trains one curve: P(t_m <= T x) = x / (shift_m − (shift_m − 1) x).
"""

from collections.abc import Mapping

import attrs
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import TimestepPolicy
from mmseqdiff_noise.segments import whole_levels

__all__ = ["Coupled"]


@attrs.frozen
class Coupled(TimestepPolicy):
    """The same time for all modalities, shifted for each, Eq. (1) and (2); rounded up to whole levels.

    Attributes:
        shifts: modality → its shift; 1 where not named.
        per_segment: a time of its own for every segment of the coarsest track, instead of one for the clip.

    Raises:
        ValueError: if a shift is not positive, or (when sampling) of a modality that the layout does not have.
    """

    shifts: Mapping[str, float] = attrs.field(factory=dict, converter=dict, hash=False)
    per_segment: bool = False

    def __attrs_post_init__(self) -> None:
        for name, shift in self.shifts.items():
            if not shift > 0:
                raise ValueError(f"the shift of {name!r} must be positive, got {shift:g}")

    def sample(
        self, layout: Layout, keys: Int[Tensor, " batch"], *, num_levels: int
    ) -> Float[Tensor, "batch modality segment"]:
        """One matrix per key."""
        for name in self.shifts:
            if name not in layout.modalities:
                raise ValueError(f"a shift names {name!r}; the layout has {', '.join(layout.modalities)}")
        count = layout.reference().segments
        u = random.uniform(random.fold(keys, "coupled"), "time", (count if self.per_segment else 1,)).expand(-1, count)
        # Eq. (2) in the precision of u: a float32 would round small times to the wrong level.
        table = layout.correspondence().to(keys.device)
        shift = torch.tensor([self.shifts.get(name, 1.0) for name in layout.modalities], dtype=u.dtype).to(keys.device)
        time = u[:, table.clamp(min=0)]
        shifted = shift[:, None] * time / (1 + (shift[:, None] - 1) * time)
        return torch.where(table >= 0, whole_levels(shifted, num_levels), 0).to(torch.float32)
