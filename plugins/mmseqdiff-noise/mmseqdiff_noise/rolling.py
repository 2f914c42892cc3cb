"""The local times of a rolling window: what is near is almost clean, what is far is noise (arXiv:2402.09470).

A window of W segments, at a phase s ~ U(0, 1) of the step from one clean segment to the next:

    (1) rolling      t_w = (w + s) / W                w = 0 … W − 1: the first is about to leave the window clean
    (2) initial      t_w = min(1, w / W + s)          how the window gets there from noise alone
"""

import attrs
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import TimestepPolicy
from mmseqdiff_noise.segments import levels_of_segments, whole_levels

__all__ = ["RollingWindow"]


@attrs.frozen
class RollingWindow(TimestepPolicy):
    """A phase of the window per example, Eq. (1) or (2); the window is the layout's clip.

    Attributes:
        initial: the share of examples that are in the initial phase; in [0, 1].
        reference: the modality whose segments are the window's slots; the coarsest where None.
    """

    initial: float = attrs.field(default=0.1, validator=[attrs.validators.ge(0), attrs.validators.le(1)])
    reference: str | None = None

    def sample(
        self, layout: Layout, keys: Int[Tensor, " batch"], *, num_levels: int
    ) -> Float[Tensor, "batch modality segment"]:
        """One matrix per key."""
        window = layout.reference(self.reference).segments
        slot = torch.arange(window, device=keys.device)
        phase = random.uniform(random.fold(keys, "rolling_window"), "phase")[:, None]
        starts = self.component(keys)[:, None] == 1
        time = torch.where(starts, (slot / window + phase).clamp(max=1), (slot + phase) / window)
        return levels_of_segments(whole_levels(time, num_levels), layout, self.reference)

    @property
    def components(self) -> tuple[str, ...]:
        """The two phases."""
        return ("rolling", "initial")

    def component(self, keys: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Which phase each example is in."""
        return (random.uniform(random.fold(keys, "rolling_window"), "initial") < self.initial).long()
