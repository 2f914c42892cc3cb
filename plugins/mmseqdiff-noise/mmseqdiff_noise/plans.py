"""Sampling plans."""

import attrs
import torch
from jaxtyping import Bool
from torch import Tensor

from mmseqdiff.layout import Layout
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.protocols import Plan

__all__ = ["Full"]


@attrs.frozen
class Full(Plan):
    """All cells that are not given go from T to 0 together (arXiv:2405.13762 Algorithms 3 and 4).

    Attributes:
        steps: how many; levels are evenly spaced, and whole numbers (as in training) where there are enough of them.

    Raises:
        ValueError: if ``steps`` is not positive.
    """

    steps: int = attrs.field(default=250, validator=attrs.validators.ge(1))

    def __call__(self, layout: Layout, given: Bool[Tensor, "modality segment"], *, num_levels: int) -> SamplingPlan:
        """The plan.

        Raises:
            PlanError: if everything is given.
        """
        levels = torch.linspace(num_levels, 0, self.steps + 1, dtype=torch.float64)
        if self.steps <= num_levels:
            levels = levels.round()
        return SamplingPlan(levels[:, None, None] * (layout.valid & ~given), given, layout, num_levels)
