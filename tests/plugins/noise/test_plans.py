"""Sampling plans; that they are valid for any task is law 7."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmseqdiff_noise.plans import Full

from mmseqdiff.layout import Layout, Track
from mmseqdiff.testing.strategies import given_cells, layouts


@given(data=st.data(), layout=layouts(), steps=st.integers(1, 60), num_levels=st.integers(1, 40))
def test_all_cells_fall_together_evenly_and_on_whole_levels_where_there_are_enough(data, layout, steps, num_levels):
    plan = Full(steps)(layout, data.draw(given_cells(layout)), num_levels=num_levels)
    assert plan.steps == steps
    rows = plan.levels[:, layout.valid & ~plan.given]
    assert (rows == rows[:, :1]).all()
    even = torch.linspace(num_levels, 0, steps + 1, dtype=torch.float64)
    torch.testing.assert_close(rows[:, 0], even, rtol=0, atol=0.5 if steps <= num_levels else 1e-12)
    assert steps > num_levels or (rows == rows.round()).all()
    assert steps != num_levels or rows[:, 0].tolist() == list(range(num_levels, -1, -1))


def test_the_papers_250_steps_visit_every_fourth_level():
    layout = Layout([Track("video", [0, 1])])
    plan = Full()(layout, ~layout.valid, num_levels=1000)
    assert plan.levels.flatten().tolist() == list(range(1000, -1, -4))


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="'steps' must be >= 1"):
        Full(0)
