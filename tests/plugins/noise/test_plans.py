"""Sampling plans; that they are valid for any task is law 7.

The oracles are written in whole numbers and loops: which cells lie in which stretch of time is counted anew from the
edges, and the rows of each plan come from its paper's own recurrence or from what its name says.
"""

import json
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmseqdiff_noise.matrix import Matrix
from mmseqdiff_noise.plans import (
    ArStep,
    BlockAutoregressive,
    Cascade,
    Full,
    Keyframes,
    Pyramid,
    Trapezoid,
    autoregressive,
)
from mmseqdiff_noise.repaint import RePaint

from mmseqdiff import random
from mmseqdiff.errors import PluginError
from mmseqdiff.generate import generate
from mmseqdiff.layout import Layout, Track, uniform_edges
from mmseqdiff.plan import PlanError
from mmseqdiff.support import off_support_warning
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.testing.strategies import Arc, given_cells, layouts

CLIP = Layout(
    [
        Track("video", [0, *(Fraction(1 + 4 * k, 8) for k in range(5))], (16, 16), 8),
        Track("audio", uniform_edges(106, 50), (), 1024),
    ]
)
"""AVDiT's: the audio falls into blocks of 6, 25, 25, 25 and 25 latents."""
NOTHING = torch.zeros(2, 106, dtype=torch.bool)
STEPS = st.integers(1, 5)


def waits(plan):
    """For every cell to generate, how many rows it stays at T."""
    return {
        (m, n): int((plan.levels[:, m, n] == plan.num_levels).sum()) - 1
        for m, n in (plan.layout.valid & ~plan.given).nonzero().tolist()
    }


def by_block(plan):
    """The rows that each block of AVDiT's clip waits, audio and video alike; None where a block is given."""
    found, cells = [], waits(plan)
    audio = [k for k, count in enumerate((6, 25, 25, 25, 25)) for _ in range(count)]
    for k in range(5):
        rows = {cells[cell] for cell in [(0, k), *((1, n) for n in range(106) if audio[n] == k)] if cell in cells}
        assert len(rows) <= 1, "a block of time is cut"
        found.append(rows.pop() if rows else None)
    return found


def test_plans_of_avdits_clip_cut_both_tracks_at_the_same_instants(host):
    continued, inpainted = (host.build("task", name).given(CLIP) for name in ("continue", "inpaint"))
    u, S = Fraction(3, 2), 4
    expected = {
        autoregressive(S): ([0, 4, 8, 12, 16], [None, None, 0, 4, 8], [None, 0, 4, 8, None]),
        BlockAutoregressive(S): ([0, 0, 4, 4, 8], [None, None, 0, 0, 4], [None, 0, 0, 4, None]),
        Pyramid(S, u): ([0, 1, 3, 4, 6], [None, None, 0, 1, 3], [None, 0, 1, 3, None]),
        Trapezoid(S, u): ([0, 1, 3, 1, 0], [None, None, 0, 1, 0], [None, 0, 1, 0, None]),
        Trapezoid(S, u, True): ([3, 1, 0, 1, 3], [None, None, 1, 0, 1], [None, 1, 0, 1, None]),
        ArStep(S, 3): ([0, 3, 6, 9, 12], [None, None, 0, 3, 6], [None, 0, 3, 6, None]),
        Keyframes(S): ([0, 4, 0, 4, 0], [None, None, 0, 4, 0], [None, 4, 0, 4, None]),
        Keyframes(S, 4): ([0, 4, 4, 4, 0], [None, None, 4, 4, 0], [None, 0, 0, 0, None]),
    }
    for make, answers in expected.items():
        for given_, answer in zip((NOTHING, continued, inpainted), answers):
            plan = make(CLIP, given_, num_levels=1000)
            assert by_block(plan) == answer, make
            assert plan.steps == S + max(filter(None, answer), default=0)


def test_a_modality_leads_by_a_share_of_its_steps(host):
    def waiting(given_, **options):
        cells = waits(Cascade(8, **options)(CLIP, given_, num_levels=1000))
        return [sorted({rows for (m, _), rows in cells.items() if m == row}) for row in range(2)]

    assert waiting(NOTHING, leads={"audio": 1}) == [[8], [0]]
    assert waiting(NOTHING, leads={"video": 0.25}) == [[0], [2]]
    assert waiting(NOTHING, leads={"video": 1, "audio": Fraction(1, 2)}) == [[0], [4]]
    assert waiting(NOTHING, leads={"audio": Fraction(1, 2)}, uncertainty=3) == [[4, 7, 10, 13, 16], [0, 3, 6, 9, 12]]
    assert waiting(host.build("task", "a2v").given(CLIP), leads={"audio": 1}) == [[0], []]
    with pytest.raises(KeyError, match="no modality 'pose'"):
        waiting(NOTHING, leads={"pose": 1})


@st.composite
def situations(draw):
    """A layout, given cells, a reference, a block size, and the blocks: sets of cells in the order of time."""
    layout = draw(layouts())
    given_ = draw(given_cells(layout))
    reference = draw(st.none() | st.sampled_from(layout.modalities))
    size = draw(st.integers(1, 3))
    track = min(layout.tracks, key=lambda track: track.segments) if reference is None else layout.track(reference)
    slices = [set() for _ in range(track.segments)]
    for m, other in enumerate(layout.tracks):
        for n, (left, right) in enumerate(other.intervals):
            middle = (left + right) / 2
            inside = [k for k, (start, stop) in enumerate(track.intervals) if start <= middle < stop]
            k = inside[0] if inside else 0 if middle < track.edges[0] else track.segments - 1
            if not given_[m, n]:
                slices[k].add((m, n))
    stretches, run = [], []
    for cells in [*slices, set()]:
        if cells:
            run.append(cells)
        elif run:
            stretches.append([set().union(*run[i : i + size]) for i in range(0, len(run), size)])
            run = []
    return layout, given_, reference, size, stretches


def falls(plan, steps):
    """Every cell waits at T, takes its steps over the levels of the full plan, and may pause nowhere else."""
    grid = Full(steps)(plan.layout, plan.given, num_levels=plan.num_levels).levels.flatten(1).max(1).values
    for m, n in (plan.layout.valid & ~plan.given).nonzero().tolist():
        path = plan.levels[:, m, n].tolist()
        taken = [level for k, level in enumerate(path) if k == 0 or level != path[k - 1]]
        assert taken == grid.tolist()
        inner = [level for level in path if 0 < level < plan.num_levels]
        assert len(inner) == len(set(inner)), "a cell pauses on the way"


@given(situation=situations(), steps=STEPS, num_levels=st.integers(1, 40))
def test_autoregression_finishes_a_block_before_it_starts_the_next(situation, steps, num_levels):
    layout, given_, reference, size, stretches = situation
    plan = BlockAutoregressive(steps, size, reference)(layout, given_, num_levels=num_levels)
    falls(plan, steps)
    blocks = [block for stretch in stretches for block in stretch]
    assert plan.steps == steps * len(blocks)
    for i, block in enumerate(blocks):
        assert {waits(plan)[cell] for cell in block} == {steps * i}
    if size == 1:
        same = autoregressive(steps, reference)(layout, given_, num_levels=num_levels)
        assert torch.equal(same.levels, plan.levels)


@given(situation=situations(), steps=STEPS, tenths=st.integers(0, 60))
def test_pyramids_and_trapezoids_start_blocks_by_their_lags(situation, steps, tenths):
    layout, given_, reference, size, stretches = situation
    blocks = [block for stretch in stretches for block in stretch]
    last = len(blocks) - 1
    inwards = [min(i, last - i) for i in range(len(blocks))]
    orders = {
        Pyramid(steps, tenths / 10, size, reference): range(len(blocks)),
        Trapezoid(steps, tenths / 10, False, size, reference): inwards,
        Trapezoid(steps, tenths / 10, True, size, reference): [max(inwards) - k for k in inwards],
    }
    for make, order in orders.items():
        plan = make(layout, given_, num_levels=9)
        falls(plan, steps)
        rows, wanted = {}, [tenths * k // 10 for k in order]
        # rows in which nothing moves are left out: a row counts if some block takes one of its steps in it
        busy = sorted({start + k for start in wanted for k in range(steps)})
        for block, start in zip(blocks, wanted):
            rows.update(dict.fromkeys(block, busy.index(start)))
        assert waits(plan) == rows
        assert plan.steps == len(busy)


@given(situation=situations(), steps=STEPS, behind=st.integers(1, 7))
def test_ar_step_follows_the_recurrence_of_its_paper(situation, steps, behind):
    """SkyReels-V2's: a block advances by itself once the one before is done, else it stays so many steps behind it."""
    layout, given_, reference, size, stretches = situation
    plan = ArStep(steps, behind, size, reference=reference)(layout, given_, num_levels=9)
    falls(plan, steps)
    grid = plan.levels[:, *min(waits(plan))].unique().tolist()[::-1]
    for stretch in stretches:
        done, row = [0] * len(stretch), 0
        while min(done) < steps:
            new = []
            for i in range(len(stretch)):
                alone = i == 0 or done[i - 1] >= steps
                new.append(min(max(done[i] + 1 if alone else new[i - 1] - behind, 0), steps))
            done, row = new, row + 1
            for block, count in zip(stretch, done):
                for m, n in block:
                    assert plan.levels[row, m, n] == grid[count]
    longest = max(len(stretch) for stretch in stretches)
    assert plan.steps == steps + min(behind, steps) * (longest - 1)


@given(situation=situations(), steps=STEPS, every=st.integers(2, 3))
def test_keyframes_come_first_and_the_rest_is_filled_in(situation, steps, every):
    layout, given_, reference, *_ = situation
    plan = Keyframes(steps, every, reference)(layout, given_, num_levels=9)
    falls(plan, steps)
    segment = layout.correspondence(reference)
    key = {cell for cell in waits(plan) if segment[cell] % every == 0}
    both = bool(key) and len(key) < len(waits(plan))
    for cell, rows in waits(plan).items():
        assert rows == (steps if both and cell not in key else 0)
    assert plan.steps == steps * (1 + both)


def test_a_window_bounds_how_many_blocks_are_under_way():
    with pytest.raises(
        ValueError, match=r"4 are under way at once, more than the window's 3: 'behind' must be at least 7"
    ):
        ArStep(20, 5, window=3)
    plan = ArStep(20, 7, window=3)(CLIP, NOTHING, num_levels=1000)
    video = plan.levels[:, 0, :5]
    assert ((video > 0) & (video < 1000)).sum(1).max() == 3


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


def test_wrong_parameters_are_refused():
    for wrong, name in (
        (lambda: Full(0), "'steps' must be >= 1"),
        (lambda: Pyramid(4, -1), "'uncertainty' must be >= 0"),
        (lambda: BlockAutoregressive(4, 0), "'block' must be >= 1"),
        (lambda: Keyframes(4, 1), "'every' must be >= 2"),
        (lambda: Cascade(leads={"audio": -1}), "'leads' must be >= 0"),
        (lambda: ArStep(4, 0), "'behind' must be >= 1"),
    ):
        with pytest.raises(ValueError, match=name):
            wrong()


def test_plans_along_blocks_of_time_are_on_the_support_of_policies_that_tie_them(host):
    """Law 10 for plans: segments in order need a level per segment, a lead a level per modality, both a level per cell."""
    plans = {
        "segments": [autoregressive(3), Pyramid(3), Trapezoid(3), ArStep(3, 2), Keyframes(3)],
        "modalities": [Cascade(3, leads={"audio": 1})],
        "cells": [Pyramid(3, reference="audio"), Cascade(3, leads={"audio": 1}, uncertainty=1)],
    }
    trained = {
        "vanilla": (), "per_modality": ("modalities",), "per_segment": ("segments",), "monl": ("segments", "modalities", "cells"),
        "per_segment_modality": ("segments", "modalities", "cells"),
    }  # fmt: skip
    for name, fit in trained.items():
        policy = host.build("policy", name)
        for kind, makers in plans.items():
            for make in makers:
                warning = off_support_warning(make(CLIP, NOTHING, num_levels=10), policy)
                assert (warning is None) == (kind in fit), (name, make)


def test_repaints_jumps_are_those_of_its_paper():
    """The schedule of arXiv:2201.09865 App. B, Fig. 9, counted as there: from the last noisy step down to −1, clean."""
    for steps, jump, resamples in ((6, 2, 3), (9, 3, 2), (5, 1, 2), (8, 7, 3), (6, 2, 1)):
        jumps = dict.fromkeys(range(0, steps - jump, jump), resamples - 1)
        step, walked = steps, []
        while step >= 1:
            step -= 1
            walked.append(step)
            if jumps.get(step, 0) > 0:
                jumps[step] -= 1
                step += jump
                walked.append(step)
        walked.append(-1)
        plan = RePaint(steps, jump, resamples)(CLIP, NOTHING, num_levels=steps)
        assert (plan.levels[:, 0, 0] - 1).tolist() == walked
        assert (plan.levels[:, CLIP.valid] == plan.levels[:, :1, 0]).all()
        assert plan.allow_rise


def test_repaint_samples_what_the_condition_leaves_open(host):
    """Ancestral steps with the exact denoiser come closer to the exact conditional with jumps than without."""
    layout = Layout([Track("video", [0, 1, 2]), Track("audio", [0, 2])])
    world, schedule, count = GaussianWorld.random(layout, seed=3), Arc(20, math.pi / 2), 8_000
    given_ = torch.tensor([[True, False], [False, False]])
    clean = {name: value.expand(count, -1, -1) for name, value in world.sample(random.example_keys(7, [0])).items()}
    sampler, keys = host.build("sampler", "ddpm", variance="beta"), random.example_keys(0, range(count))
    exact, errors = world.conditional(given_), []
    for make in (Full(20), RePaint(20, 5, 3)):
        plan = make(layout, given_, num_levels=20)
        made = generate(world.denoiser(schedule, "v"), sampler, plan, keys, given=clean, dtype=torch.float64)
        assert torch.equal(made["video"][:, 0], clean["video"][:, 0])
        drawn = world.flatten(made)[:, exact.free]
        four = 4 * (exact.covariance.diag() / count).sqrt()  # standard errors
        assert ((drawn.mean(0) - exact.mean(world.flatten(clean)[:1])[0]).abs() <= four).all()
        errors.append(float((drawn.T.cov() - exact.covariance).norm() / exact.covariance.norm()))
    assert errors[1] < 0.05 < errors[0]  # measured: 0.026 and 0.065


TWO = Layout([Track("video", [0, 1, 2]), Track("audio", [0, 1, 2, 3])])
FREE = torch.zeros(2, 3, dtype=torch.bool)


def test_a_matrix_of_ones_own_in_every_form(tmp_path, host):
    by_number = Matrix([8, 4, 0])(TWO, FREE, num_levels=8)
    assert torch.equal(by_number.levels, torch.tensor([8.0, 4, 0]).double()[:, None, None] * TWO.valid)
    rows = [[8, [8, 8, 8]], {"audio": [5, 6, 8], "video": [8, 2]}, [[3, 2], [0, 0.5, 7]], 0]
    expected = torch.tensor(
        [[[8, 8, 0], [8, 8, 8]], [[8, 2, 0], [5, 6, 8]], [[3, 2, 0], [0, 0.5, 7]], [[0, 0, 0], [0, 0, 0]]]
    ).double()
    assert torch.equal(Matrix(rows)(TWO, FREE, num_levels=8).levels, expected)
    shares = [[1, [1, 1, 1]], {"audio": [0.625, 0.75, 1], "video": [1, 0.25]}, 0]
    assert torch.equal(Matrix(shares, top=1)(TWO, FREE, num_levels=8).levels, expected[[0, 1, 3]])
    (tmp_path / "plan.json").write_text(json.dumps(rows))
    built = host.build("plan", "matrix", file=str(tmp_path / "plan.json"))
    assert torch.equal(built(TWO, FREE, num_levels=8).levels, expected)


@pytest.mark.parametrize("num_levels", [8, 1000])
def test_any_number_may_stand_for_T(num_levels):
    for top in range(1, 301):
        assert Matrix([top, 0], top=top)(TWO, FREE, num_levels=num_levels).levels.max() == num_levels


def test_a_jump_that_does_not_fit_is_refused():
    """It would be the full plan without a word."""
    for steps, jump in ((10, 10), (3, 4)):
        with pytest.raises(ValueError, match=f"a jump of {jump} steps does not fit into {steps} steps"):
            RePaint(steps, jump)
    RePaint(10, 10, resamples=1)


def test_a_matrix_serves_every_task():
    """Given cells stay clean, and a row that moved nothing else is left out; a row that repeats itself is refused."""
    given_ = torch.tensor([[True, True, False], [False, False, False]])
    made = Matrix([8, [4, 8], [4, 4], 0])(TWO, given_, num_levels=8)
    assert torch.equal(made.levels[:, 1], torch.tensor([8.0, 4, 0]).double()[:, None].expand(3, 3))
    assert (made.levels[:, 0] == 0).all()
    for rows, message in (
        ([8, 4, 4, 0], "row 1 to row 2 moves no cell"),
        ([8, 4], "ends at level 4, not at 0"),
        ([4, 0], "starts at level 4 instead of T = 8"),
        ([8, 2, 4, 0], "rises by 2"),  # unless allow_rise says that it may, see below
        ([8, 9, 0], r"expected a level in \[0, 8\]"),
        ([8], "at least two rows"),
    ):
        with pytest.raises(PlanError, match=message):
            Matrix(rows)(TWO, given_, num_levels=8)
    assert Matrix([8, 2, 4, 0], allow_rise=True)(TWO, given_, num_levels=8).rises.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([8], "row 1 of the matrix has 1 entries; the model has 2 modalities"),
        ([[8, 8, 8], 8], "row 1 of the matrix has 3 levels for 'video', which has 2 segments"),
        ({"video": 8}, "row 1 of the matrix has no levels for 'audio'"),
        ({"video": 8, "audio": 8, "pose": 8}, "row 1 of the matrix names 'pose'; the model has video, audio"),
        (["much", 8], "row 1 of the matrix: the levels of 'video' should be a number or a list of numbers, got 'much'"),
        (True, "should be a number or a list of numbers, got True"),
    ],
)
def test_a_matrix_that_does_not_fit_is_refused(row, message):
    with pytest.raises(ValueError, match=message):
        Matrix([8, row, 0])(TWO, FREE, num_levels=8)


def test_a_matrix_without_rows_is_refused(tmp_path, host):
    (tmp_path / "text.json").write_text("not JSON")
    (tmp_path / "number.json").write_text("3")
    for parameters, message in (
        ({}, "needs its 'rows', or a 'file'"),
        ({"rows": [1, 0], "file": "x.json"}, "and not both"),
        ({"file": str(tmp_path / "none.json")}, "none.json cannot be read: No such file"),
        ({"file": str(tmp_path / "text.json")}, "text.json is not JSON"),
        ({"file": str(tmp_path / "number.json")}, "a matrix is a list of rows, got int"),
    ):
        with pytest.raises(PluginError, match=message):
            host.build("plan", "matrix", **parameters)
