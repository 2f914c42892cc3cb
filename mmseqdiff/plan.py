"""The levels that sampling visits.

Row r of a plan is a timestep matrix; step r takes every cell from row r to row r + 1. Given cells stay at level 0;
all others start at T and end at 0 (arXiv:2405.13762 §3.3). Everything about a task is thus in the plan: there is no
other way in which sampling learns what is given. Levels fall; a plan that re-noises cells must say so.
"""

import attrs
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmseqdiff.layout import Layout
from mmseqdiff.timesteps import check

__all__ = ["PlanError", "SamplingPlan"]


class PlanError(ValueError):
    """A plan that would silently do something else than sample; the message names the cell and the row."""


@attrs.frozen(eq=False)
class SamplingPlan:
    """A validated plan.

    Attributes:
        levels: ``(steps + 1, M, N)``, ending at 0 and never rising (but see ``allow_rise``); padding is 0.
        given: the cells that are given clean.
        layout: the layout.
        num_levels: T.
        start_below: allow cells that are not given to start below T; the latents that they are noised from must then be
            supplied (SDEdit, arXiv:2108.01073).
        allow_rise: allow levels to rise: a cell that rises is re-noised by the forward process (RePaint,
            arXiv:2201.09865), and what a sampler remembers of it is forgotten.

    Raises:
        PlanError: if the plan does not end at 0, rises without being asked, does nothing in a row, starts a cell that is not given below T
            without being asked, leaves a cell out, moves a given cell, or has no step.
    """

    levels: Float[Tensor, "rows modality segment"]
    given: Bool[Tensor, "modality segment"]
    layout: Layout
    num_levels: int
    start_below: bool = False
    allow_rise: bool = False

    def __attrs_post_init__(self) -> None:
        try:
            check(self.levels, self.layout, self.num_levels)
        except ValueError as error:
            raise PlanError(str(error)) from error
        valid, steps = self.layout.valid, self.levels[1:] - self.levels[:-1]
        if self.given.shape != valid.shape or (self.given & ~valid).any():
            raise PlanError(f"given cells must be a {tuple(valid.shape)} boolean that is False in padding")
        if len(steps) == 0:
            raise PlanError("a plan needs at least two rows: where cells start and where they end")
        self._refuse(self.given & (self.levels != 0).any(0), "is given, so its level must be 0 in every row")
        self._refuse(self.levels[-1] != 0, f"ends at level {{}}, not at 0 (row {len(steps)})", self.levels[-1])
        for row in [] if self.allow_rise else self.rises.nonzero().flatten().tolist()[:1]:
            self._refuse(steps[row] > 0, f"rises by {{}} from row {row} to row {row + 1}", steps[row])
        self._refuse(
            valid & ~self.given & (self.levels[0] == 0),
            "is left out: it is not given, and never above level 0",
        )
        if not self.start_below:
            self._refuse(
                valid & ~self.given & (self.levels[0] != self.num_levels),
                f"is not given, but starts at level {{}} instead of T = {self.num_levels}: what is noise would be taken "
                "for signal",
                self.levels[0],
            )
        still = (steps == 0).flatten(1).all(1).nonzero().flatten().tolist()
        if still:
            raise PlanError(f"row {still[0]} to row {still[0] + 1} moves no cell: remove the repeated row")

    def _refuse(self, cells: Bool[Tensor, "modality segment"], why: str, values: Tensor | None = None) -> None:
        for m, n in cells.nonzero().tolist()[:1]:
            raise PlanError(f"{self.layout.describe(m, n)} {why.format('' if values is None else f'{values[m, n]:g}')}")

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(self.levels) - 1

    @property
    def falls(self) -> Bool[Tensor, " steps"]:
        """For every step whether some cell falls: only then is anything predicted."""
        return (self.levels[1:] < self.levels[:-1]).flatten(1).any(1)

    @property
    def rises(self) -> Bool[Tensor, " steps"]:
        """For every step whether some cell rises."""
        return (self.levels[1:] > self.levels[:-1]).flatten(1).any(1)

    def moves(self) -> Int[Tensor, "steps modality segment"]:
        """How often each cell has moved before each step: its own count, whatever the others do."""
        changed = (self.levels[1:] != self.levels[:-1]).to(torch.int64)
        return changed.cumsum(0) - changed
