"""A plan that does not end at 0, rises, does nothing in a row, starts a cell that is not given below T without being
asked, or leaves a cell out, is refused with a message that names the cell.
"""

import re

import attrs
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from mmseqdiff.plan import PlanError, SamplingPlan
from mmseqdiff.testing import laws
from mmseqdiff.testing.strategies import given_cells, layouts, plans

T = 8


@given(data=st.data(), layout=layouts())
def test_law_7_makers_of_plans_take_every_cell_from_t_to_0(plan, data, layout):
    laws.check_plan(plan, layout, data.draw(given_cells(layout)), data.draw(st.integers(1, 30)))


@given(data=st.data(), layout=layouts())
def test_law_7_a_task_that_gives_everything_leaves_nothing_to_plan(plan, data, layout):
    with pytest.raises(PlanError, match="moves no cell"):
        plan(layout, layout.valid, num_levels=T)


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
