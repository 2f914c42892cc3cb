"""RePaint (arXiv:2201.09865 Algorithm 1 and App. B) as a plan: the way down, with jumps back up.

A cell goes down the levels g(S) … g(0) of the full plan. Whenever it comes to K = 1, 1 + j, 1 + 2j … steps still to take,
with K + j <= S, it is re-noised to g(K + j) and comes down again, r − 1 times. What is given stays clean: a model trained
on mixtures of noise levels needs no noisy condition, and the jumps let generated cells agree with one another and with it.
"""

import attrs
import torch

from mmseqdiff.layout import Layout
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.protocols import Plan
from mmseqdiff_noise.plans import Given, grid, refuse_nothing_to_generate

__all__ = ["RePaint"]

_positive = attrs.validators.ge(1)


@attrs.frozen
class RePaint(Plan):
    """All cells that are not given go from T to 0 together, and are re-noised on the way.

    Attributes:
        steps: S, the steps of the way down without jumps.
        jump: j, how many steps a jump goes back up, in one.
        resamples: r, how often each stretch of the way is gone; 1 is the full plan.

    Raises:
        ValueError: if no jump fits into the steps.
    """

    steps: int = attrs.field(default=250, validator=_positive)
    jump: int = attrs.field(default=10, validator=_positive)
    resamples: int = attrs.field(default=10, validator=_positive)

    def __attrs_post_init__(self) -> None:
        if self.resamples > 1 and self.jump >= self.steps:
            raise ValueError(
                f"a jump of {self.jump} steps does not fit into {self.steps} steps: nothing would be resampled"
            )

    def remaining(self) -> list[int]:
        """K in every row."""
        left = dict.fromkeys(range(1, self.steps - self.jump + 1, self.jump), self.resamples - 1)
        rows = [self.steps]
        while rows[-1] > 0:
            rows.append(rows[-1] - 1)
            if left.get(rows[-1], 0):
                left[rows[-1]] -= 1
                rows.append(rows[-1] + self.jump)
        return rows

    def __call__(self, layout: Layout, given: Given, *, num_levels: int) -> SamplingPlan:
        """The plan.

        Raises:
            PlanError: if everything is given.
        """
        refuse_nothing_to_generate(layout, given)
        path = grid(self.steps, num_levels)[torch.tensor(self.remaining())]
        levels = path[:, None, None] * (layout.valid & ~given)
        return SamplingPlan(levels, given, layout, num_levels, allow_rise=True)
