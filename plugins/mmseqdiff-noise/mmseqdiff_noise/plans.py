"""Sampling plans (arXiv:2405.13762 §3.3 for the plain one).

Every cell that is not given takes S steps from T to 0, over the same levels g(K) with K steps still to take. Plans differ
in the order in which cells take them: cell (m, n) waits for ``lag`` rows at T, so that in row r

    (1) K[r, m, n] = clip(S + lag(m, n) − r, 0, S),   level g(K);   0 in every row where given

Lags go by physical time (:mod:`mmseqdiff_noise.lags`). Rows in which nothing would move are left out. ``steps`` is always
S, the steps of one cell; the rows of a plan are S and the longest lag.
"""

from abc import abstractmethod
from collections.abc import Mapping
from fractions import Fraction

import attrs
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmseqdiff.layout import Layout
from mmseqdiff.plan import PlanError, SamplingPlan
from mmseqdiff.protocols import Plan
from mmseqdiff.values import exact
from mmseqdiff_noise import lags
from mmseqdiff_noise.lags import Blocks

__all__ = [
    "ArStep", "BlockAutoregressive", "Cascade", "Full", "Keyframes", "LaggedPlan", "Pyramid", "Trapezoid", "autoregressive",
    "grid",
]  # fmt: skip

Given = Bool[Tensor, "modality segment"]
_positive = attrs.validators.ge(1)
_not_negative = attrs.validators.ge(0)


def grid(steps: int, num_levels: int) -> Float[Tensor, " remaining"]:
    """g(0) = 0 … g(S) = T, evenly spaced, and whole numbers (as in training) where there are enough of them."""
    levels = torch.linspace(num_levels, 0, steps + 1, dtype=torch.float64).flip(0)
    return levels.round() if steps <= num_levels else levels


def refuse_nothing_to_generate(layout: Layout, given: Given) -> None:
    """Raises PlanError if every cell is given."""
    if not (layout.valid & ~given).any():
        raise PlanError("every cell is given: a plan moves no cell then")


@attrs.frozen
class LaggedPlan(Plan):
    """A plan that is Eq. (1); a subclass says how long each cell waits.

    Attributes:
        steps: S, how many steps every cell takes.
    """

    steps: int = attrs.field(default=250, validator=_positive)

    @abstractmethod
    def lag(self, layout: Layout, given: Given) -> Int[Tensor, "modality segment"]:
        """The rows that each cell waits at T; of given cells and padding it is not read."""

    def __call__(self, layout: Layout, given: Given, *, num_levels: int) -> SamplingPlan:
        """The plan.

        Raises:
            PlanError: if everything is given.
            KeyError: if the layout lacks a modality that the plan names.
        """
        refuse_nothing_to_generate(layout, given)
        free = layout.valid & ~given
        lag = torch.where(free, self.lag(layout, given), 0)
        rows = torch.arange(self.steps + int(lag.max()) + 1)
        remaining = (self.steps + lag - rows[:, None, None]).clamp(0, self.steps)  # Eq. (1)
        levels = grid(self.steps, num_levels)[remaining] * free
        return SamplingPlan(torch.unique_consecutive(levels, dim=0), given, layout, num_levels)


@attrs.frozen
class Full(LaggedPlan):
    """All cells that are not given go from T to 0 together (arXiv:2405.13762 Algorithms 3 and 4).

    Raises:
        ValueError: if ``steps`` is not positive.
    """

    def lag(self, layout: Layout, given: Given) -> Int[Tensor, "modality segment"]:
        """None."""
        return torch.zeros(layout.M, layout.N, dtype=torch.int64)


@attrs.frozen
class Pyramid(LaggedPlan):
    """Every block starts some rows after the one before it (diffusion forcing, arXiv:2407.01392).

    Attributes:
        uncertainty: u, so many rows; it may be a fraction, and is rounded down over all blocks before.
        block: segments of the reference track in a block.
        reference: the modality whose segments cut the timeline; the coarsest where None.
    """

    uncertainty: Fraction = attrs.field(default=Fraction(1), validator=_not_negative)
    block: int = attrs.field(default=1, validator=_positive)
    reference: str | None = None

    def lag(self, layout: Layout, given: Given) -> Int[Tensor, "modality segment"]:
        """⌊u i⌋."""
        return lags.pyramid(Blocks.of(layout, given, self.block, self.reference), self.uncertainty)


@attrs.frozen
class BlockAutoregressive(LaggedPlan):
    """Block by block: one is clean before the next starts, which is a pyramid with u = S.

    Attributes:
        block: segments of the reference track in a block; the last block of a stretch may be shorter.
        reference: the modality whose segments cut the timeline; the coarsest where None.
    """

    block: int = attrs.field(default=2, validator=_positive)
    reference: str | None = None

    def lag(self, layout: Layout, given: Given) -> Int[Tensor, "modality segment"]:
        """S i."""
        return lags.pyramid(Blocks.of(layout, given, self.block, self.reference), Fraction(self.steps))


def autoregressive(steps: int = 250, reference: str | None = None) -> BlockAutoregressive:
    """Segment by segment of the reference track.

    Args:
        steps: S, how many steps every cell takes.
        reference: the modality whose segments cut the timeline; the coarsest where None.
    """
    return BlockAutoregressive(steps, 1, reference)


@attrs.frozen
class Trapezoid(LaggedPlan):
    """Both ends of what is to be generated start first and its middle last, or the other way round.

    Attributes:
        uncertainty: u, the rows between a block and the next one inwards.
        middle_out: the middle starts first.
        block: segments of the reference track in a block.
        reference: the modality whose segments cut the timeline; the coarsest where None.
    """

    uncertainty: Fraction = attrs.field(default=Fraction(1), validator=_not_negative)
    middle_out: bool = False
    block: int = attrs.field(default=1, validator=_positive)
    reference: str | None = None

    def lag(self, layout: Layout, given: Given) -> Int[Tensor, "modality segment"]:
        """⌊u min(i, B − 1 − i)⌋, or its complement."""
        blocks = Blocks.of(layout, given, self.block, self.reference)
        return lags.trapezoid(blocks, self.uncertainty, self.middle_out)


@attrs.frozen
class ArStep(LaggedPlan):
    """Every block stays a whole number of steps behind the one before it, until that is clean.

    What lies between given cells is filled from the start of each such stretch at once. (AR-Diffusion, arXiv:2503.07418;
    SkyReels-V2, arXiv:2504.13074, whose ``ar_step`` this is.)

    Attributes:
        behind: a, so many steps; S or more is autoregressive.
        block: segments of the reference track in a block.
        window: the most blocks that may be noisy but under way at once; any number where None.
        reference: the modality whose segments cut the timeline; the coarsest where None.

    Raises:
        ValueError: if more blocks than ``window`` would be under way: ``behind`` must be at least S / window.
    """

    behind: int = attrs.field(default=5, validator=_positive)
    block: int = attrs.field(default=1, validator=_positive)
    window: int | None = attrs.field(default=None, validator=attrs.validators.optional(_positive))
    reference: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.window is not None and self.behind * self.window < self.steps:
            raise ValueError(
                f"with {self.steps} steps a block and {self.behind} steps between blocks, "
                f"{-(-self.steps // self.behind)} are under way at once, more than the window's {self.window}: "
                f"'behind' must be at least {-(-self.steps // self.window)}"
            )

    def lag(self, layout: Layout, given: Given) -> Int[Tensor, "modality segment"]:
        """min(a, S) (i − f)."""
        return lags.staggered(Blocks.of(layout, given, self.block, self.reference), min(self.behind, self.steps))


@attrs.frozen
class Keyframes(LaggedPlan):
    """Every so many segments first, all together; then the rest, all together (arXiv:2502.06764).

    Attributes:
        every: segments 0, ``every``, 2 ``every`` … of the reference track are key; where they are given, so much the better.
        reference: the modality whose segments cut the timeline; the coarsest where None.
    """

    every: int = attrs.field(default=2, validator=attrs.validators.ge(2))
    reference: str | None = None

    def lag(self, layout: Layout, given: Given) -> Int[Tensor, "modality segment"]:
        """0, or S."""
        return self.steps * (layout.correspondence(self.reference) % self.every != 0)


@attrs.frozen(kw_only=True)
class Cascade(LaggedPlan):
    """Some modalities lead, over a pyramid if asked for.

    Attributes:
        leads: modality → how far it is ahead of those not named, as a share of its own S steps: 1 is clean before they
            start, 1/2 is half-way.
        uncertainty: u, the rows that a block starts after the one before it.
        block: segments of the reference track in a block.
        reference: the modality whose segments cut the timeline; the coarsest where None.

    Raises:
        ValueError: if a lead is negative: let the others lead.
    """

    leads: Mapping[str, Fraction] = attrs.field(
        validator=attrs.validators.deep_mapping(attrs.validators.instance_of(str), _not_negative),
        hash=False,
    )
    uncertainty: Fraction = attrs.field(default=Fraction(0), validator=_not_negative)
    block: int = attrs.field(default=1, validator=_positive)
    reference: str | None = None

    def lag(self, layout: Layout, given: Given) -> Int[Tensor, "modality segment"]:
        """⌊u i⌋ + ⌊S (largest lead − own lead)⌋."""
        leads = [Fraction(0)] * layout.M
        for name, lead in self.leads.items():
            leads[layout.row(name)] = exact(lead)
        delays = torch.tensor([int(self.steps * (max(leads) - lead)) for lead in leads])
        pyramid = lags.pyramid(Blocks.of(layout, given, self.block, self.reference), self.uncertainty)
        return pyramid + delays[:, None]
