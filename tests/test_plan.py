"""Sampling plans; every refusal is in ``tests/laws/test_law_07_….py``."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from mmseqdiff.testing.strategies import given_cells, layouts, plans


@given(data=st.data(), layout=layouts())
def test_a_cells_moves_are_counted_for_itself(data, layout):
    given = data.draw(given_cells(layout))
    plan = data.draw(plans(layout, given, 8, allow_rise=data.draw(st.booleans())))
    assert plan.levels.shape == (plan.steps + 1, layout.M, layout.N)
    moves = plan.moves()
    assert moves.shape == (plan.steps, layout.M, layout.N)
    for m in range(layout.M):
        for n in range(layout.N):
            path, count = plan.levels[:, m, n].tolist(), 0  # a rise is a move, too
            for row in range(plan.steps):
                assert moves[row, m, n] == count
                count += path[row + 1] != path[row]
    assert torch.equal(moves[0], torch.zeros_like(moves[0]))
    for row, (before, after) in enumerate(zip(plan.levels.flatten(1).tolist(), plan.levels[1:].flatten(1).tolist())):
        assert plan.falls[row] == any(b < a for a, b in zip(before, after))
        assert plan.rises[row] == any(b > a for a, b in zip(before, after))
