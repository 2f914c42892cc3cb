"""Strategies make what they say, and shrink to the simplest."""

import pytest
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st

from mmseqdiff.layout import Layout, Track
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.testing import comparisons, given_cells, latents, layouts, plans, signals, steps, tasks, timesteps

LAYOUT = Layout([Track("video", range(4)), Track("audio", range(3), (2,), 2)])
QUICK = settings(max_examples=2000, database=None, derandomize=True)


def smallest(strategy, condition=lambda _: True):
    return find(strategy, condition, settings=QUICK)


def test_the_simplest_of_everything():
    layout = smallest(layouts())
    assert [(track.modality, track.segments, track.grid, track.channels) for track in layout.tracks] == [
        ("video", 1, (), 1)
    ]
    assert not smallest(timesteps(LAYOUT)).any()
    assert not smallest(given_cells(LAYOUT)).any()
    assert not any(smallest(tasks()).pattern)
    plan = smallest(plans(LAYOUT, smallest(tasks())))
    assert plan.steps == 1
    seed_0 = smallest(latents(LAYOUT))
    assert all(torch.equal(seed_0[name], value) for name, value in smallest(latents(LAYOUT)).items())
    t, s = smallest(steps(LAYOUT))
    assert torch.equal(t, s)


def test_failing_examples_shrink_to_what_makes_them_fail():
    layout = smallest(layouts(), lambda layout: layout.M == 2 and not layout.valid.all())
    assert sorted(track.segments for track in layout.tracks) == [1, 2]
    t = smallest(timesteps(LAYOUT), lambda t: (t > 3).any())
    assert int((t > 0).sum()) == 1
    given_ = smallest(given_cells(LAYOUT), lambda cells: cells[1].any())
    assert int(given_.sum()) == 1


@given(data=st.data(), layout=layouts(), task=tasks())
def test_tasks_are_for_any_layout_and_leave_something_to_generate(data, layout, task):
    cells = task.given(layout)
    assert cells.shape == layout.valid.shape
    assert not (cells & ~layout.valid).any()
    assert (layout.valid & ~cells).any()
    plan = data.draw(plans(layout, task, num_levels=5))
    assert isinstance(plan, SamplingPlan)
    assert torch.equal(plan.given, cells)


@pytest.mark.parametrize("what", [{(0, 0)}, {(1, 1)}, {(0, 0), (0, 1), (0, 2), (1, 0)}], ids=str)
def test_every_set_of_given_cells_but_all_is_drawn(what):
    wanted = torch.tensor([[(m, n) in what for n in range(3)] for m in range(2)])
    assert torch.equal(smallest(given_cells(LAYOUT), lambda cells: torch.equal(cells, wanted)), wanted)


@given(comparison=comparisons(), signal=signals((5, 2)))
def test_comparisons_and_signals_are_of_the_shapes_that_they_say(comparison, signal):
    assert signal.shape == (2, 5, 2)
    assert ((signal >= 0) & (signal < 1)).all()
    for name, value in comparison.generated.items():
        assert value.shape == comparison.real[name].shape
        assert comparison.given[name].shape == value.shape[:1]
