"""A plan that does not end at 0, rises, does nothing in a row, starts a cell that is not given below T without being
asked, or leaves a cell out, is refused with a message that names the cell. One that says that it rises re-noises cells by
the exact forward process, and makes the sampler forget them.
"""

import re

import attrs
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from mmseqdiff import random
from mmseqdiff.forward import ForwardProcess
from mmseqdiff.generate import generate
from mmseqdiff.layout import Layout, Track
from mmseqdiff.plan import PlanError, SamplingPlan
from mmseqdiff.protocols import Sampler
from mmseqdiff.testing.cellwise import CellwiseDenoiser
from mmseqdiff.testing.contracts import bits
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.testing.strategies import Arc, given_cells, latents, layouts, plans, schedules, timesteps

T = 8


@attrs.frozen
class Broken:
    """A plan, a cell of it that is not given, and a row."""

    plan: SamplingPlan
    cell: tuple[int, int]
    row: int

    def with_path(self, path):
        """The plan's levels with others in the cell."""
        levels = self.plan.levels.clone()
        levels[:, *self.cell] = path
        return levels

    def refuse(self, message, levels, **changes):
        """The plan with these levels is refused, and the message names the cell."""
        where = self.plan.layout.describe(*self.cell)
        with pytest.raises(PlanError, match=f"^{re.escape(where)}.*{message}"):
            attrs.evolve(self.plan, levels=levels, **changes)


@st.composite
def broken(draw):
    layout = draw(layouts())
    given = draw(given_cells(layout))
    plan = draw(plans(layout, given, T))
    cell = draw(st.sampled_from((layout.valid & ~given).nonzero().tolist()))
    return Broken(plan, tuple(cell), draw(st.integers(1, plan.steps)))


@given(broken())
def test_law_7_a_plan_must_end_at_0(case):
    path = case.plan.levels[:, *case.cell].clamp(min=0.25)
    case.refuse(rf"ends at level 0.25, not at 0 \(row {case.plan.steps}\)", case.with_path(path))


@given(broken())
def test_law_7_a_plan_must_not_rise(case):
    low, high = case.plan.levels[:1].clone(), case.plan.levels[:1].clone()
    low[:, *case.cell], high[:, *case.cell] = 1, 3.5
    levels = torch.cat([case.plan.levels[:1], low, high, case.plan.levels[1:]])
    case.refuse("rises by 2.5 from row 1 to row 2", levels)
    assert attrs.evolve(case.plan, levels=levels, allow_rise=True).rises[1]


@given(broken())
def test_law_7_a_plan_that_may_rise_is_held_to_all_else(case):
    levels, row = case.plan.levels, case.row
    up_and_down = torch.cat([levels[:row], levels[:row].flip(0), levels[row:]]) if row > 1 else levels
    up_and_down = torch.unique_consecutive(up_and_down, dim=0)
    plan = attrs.evolve(case.plan, levels=up_and_down, allow_rise=True)
    rising = Broken(plan, case.cell, plan.steps)
    rising.refuse("ends at level 0.25", rising.with_path(plan.levels[:, *case.cell].clamp(min=0.25)))
    rising.refuse("is left out", rising.with_path(0))
    rising.refuse("is not given, but starts at level 3", rising.with_path(plan.levels[:, *case.cell].clamp(max=3)))
    with pytest.raises(PlanError, match="moves no cell: remove the repeated row"):
        attrs.evolve(plan, levels=torch.cat([plan.levels, plan.levels[-1:]]))


@given(data=st.data(), layout=layouts(max_modalities=2, max_segments=2), schedule_=schedules())
def test_law_7_renoised_cells_have_the_forward_marginal(data, layout, schedule_):
    """The map is linear in latents and noise: unit vectors show its matrices, and moments follow exactly."""
    world, process = GaussianWorld.random(layout), ForwardProcess(schedule_, layout)
    t, s = (data.draw(timesteps(layout, schedule_.num_levels, 1, torch.float64)) for _ in range(2))
    units = torch.eye(len(world.mean), dtype=torch.float64)
    unit, zero = world.unflatten(units), world.unflatten(torch.zeros_like(units))
    both = [levels.expand(len(units), -1, -1) for levels in (t, s)]
    kept, added = (world.flatten(process.renoise(*parts, *both)).T for parts in ((unit, zero), (zero, unit)))

    def marginal(levels):
        alpha, sigma = (torch.diag(world.coordinates(scale(levels)[0])) for scale in (schedule_.alpha, schedule_.sigma))
        return alpha @ world.mean, alpha @ world.covariance @ alpha + sigma**2

    mean, covariance = marginal(t)
    expected = marginal(torch.maximum(t, s))
    torch.testing.assert_close(kept @ mean, expected[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(kept @ covariance @ kept.T + added @ added.T, expected[1], rtol=1e-12, atol=1e-12)
    z = data.draw(latents(layout, 1))
    for name, still in layout.split(s <= t).items():
        shown = {key: -0.0 * value if key == name else value for key, value in z.items()}
        renoised = process.renoise(shown, z, t, s)[name]
        assert torch.equal(bits(renoised[still]), bits(shown[name][still]))


@attrs.frozen(eq=False)
class Forward(Sampler):
    """Knows the clean latents: puts every cell that moves where the forward process would have it."""

    clean: dict
    evaluations = 1

    def step(self, z, t, s, *, denoise, state, noise):
        prediction = denoise(z, t)
        there = ForwardProcess(prediction.schedule, prediction.layout).corrupt(self.clean, noise("forward"), s)
        moved = prediction.layout.split(s < t)
        return {name: torch.where(moved[name][..., None], there[name], z[name]) for name in z}, state


def test_law_7_the_loop_renoises_to_the_forward_marginal():
    layout = Layout([Track("video", [0, 1, 2]), Track("audio", [0, 1, 2])])
    rows = [[[8, 0], [8, 8]], [[3, 0], [0, 8]], [[6, 0], [5, 4]], [[6, 0], [8, 6]], [[0, 0], [0, 0]]]
    given_ = torch.tensor([[False, True], [False, False]])
    plan = SamplingPlan(torch.tensor(rows).double(), given_, layout, 8, allow_rise=True)
    world, count, schedule_ = GaussianWorld.random(layout, seed=2), 20_000, Arc(8)
    keys = random.example_keys(0, range(count))
    clean, seen = world.sample(keys), []

    class Watched(CellwiseDenoiser):
        def __call__(self, z, t, **rest):
            seen.append(z)
            return super().__call__(z, t, **rest)

    made = generate(Watched(layout, schedule_), Forward(clean), plan, keys, given=clean, dtype=torch.float64)
    assert all(torch.equal(made[name], clean[name]) for name in clean)
    # rows 1 → 2 and 3 → 4 have cells that fall; row 2 → 3 only rises, and nothing is predicted from it
    assert len(seen) == 3
    levels = plan.levels[3]
    alpha, sigma = (world.coordinates(scale(levels)) for scale in (schedule_.alpha, schedule_.sigma))
    covariance = alpha[:, None] * world.covariance * alpha + torch.diag(sigma**2)
    drawn = world.flatten(seen[-1]) - alpha * world.mean
    assert torch.equal(seen[-1]["video"][:, 1], clean["video"][:, 1])
    variances = covariance.diag()
    assert (drawn.mean(0).abs() <= 4 * (variances / count).sqrt()).all()
    error = (4 * (variances[:, None] * variances + covariance**2) / count).sqrt()
    assert ((drawn.T @ drawn / count - covariance).abs() <= 2 * error).all()


@given(broken(), st.floats(0.01, T - 0.01))
def test_law_7_a_cell_must_start_at_t_unless_asked(case, level):
    levels = case.with_path(case.plan.levels[:, *case.cell].clamp(max=level))
    case.refuse(f"is not given, but starts at level {level:g} instead of T = {T}", levels)
    try:
        attrs.evolve(case.plan, levels=levels, start_below=True)
    except PlanError as error:  # the cell may have been the only one to move in some row
        assert "moves no cell" in str(error)  # noqa: PT017


@given(broken(), st.booleans())
def test_law_7_a_cell_must_not_be_left_out(case, start_below):
    case.refuse("is left out: it is not given, and never above level 0", case.with_path(0), start_below=start_below)


@given(broken())
def test_law_7_a_given_cell_must_stay_clean(case):
    given = case.plan.given.clone()
    given[case.cell] = True
    case.refuse("is given, so its level must be 0 in every row", case.plan.levels, given=given)


@given(broken())
def test_law_7_every_row_must_move_something(case):
    levels, row = case.plan.levels, case.row
    with pytest.raises(PlanError, match=f"row {row} to row {row + 1} moves no cell: remove the repeated row"):
        attrs.evolve(case.plan, levels=torch.cat([levels[: row + 1], levels[row:]]))
    with pytest.raises(PlanError, match="at least two rows"):
        attrs.evolve(case.plan, levels=levels[:1])


@given(broken(), st.sampled_from([-0.5, T + 0.5, float("nan"), float("inf")]))
def test_law_7_levels_lie_between_0_and_t(case, level):
    path = case.plan.levels[:, *case.cell].clone()
    path[case.row] = level
    case.refuse(rf"expected a level in \[0, {T}\]", case.with_path(path))


@given(broken())
def test_law_7_padding_is_neither_noised_nor_given(case):
    layout = case.plan.layout
    assume(not layout.valid.all())
    m, n = (~layout.valid).nonzero()[0].tolist()
    levels, given = case.plan.levels.clone(), case.plan.given.clone()
    levels[0, m, n], given[m, n] = 1, True
    with pytest.raises(
        PlanError, match=rf"^padding cell \({layout.modalities[m]}, {n}\) has level .*, expected level 0"
    ):
        attrs.evolve(case.plan, levels=levels)
    with pytest.raises(PlanError, match="given cells must be a .* boolean that is False in padding"):
        attrs.evolve(case.plan, given=given)


@given(broken())
def test_law_7_the_plan_is_for_its_layout(case):
    with pytest.raises(PlanError, match="the layout has a . x . timestep matrix, got"):
        attrs.evolve(case.plan, levels=torch.cat([case.plan.levels, case.plan.levels], dim=-1))
