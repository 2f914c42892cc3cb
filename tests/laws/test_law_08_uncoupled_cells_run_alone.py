"""Two uncoupled cells on different plans equal two separate runs; pausing a cell for some rows changes nothing."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmseqdiff import random
from mmseqdiff.generate import generate
from mmseqdiff.layout import Layout, Track
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.testing import laws
from mmseqdiff.testing.cellwise import CellwiseDenoiser
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.testing.strategies import Arc, given_cells, halting_plans, keys, latents, layouts, plans, schedules

SMALL = layouts(max_modalities=2, max_segments=2)


@settings(max_examples=12)
@given(data=st.data(), layout=SMALL, schedule_=schedules(), keys=keys())
def test_law_8_every_cell_ends_as_if_alone_and_unpaused(sampler, data, layout, schedule_, keys):
    denoiser = CellwiseDenoiser(layout, schedule_, data.draw(st.sampled_from(laws.kinds_for(schedule_))))
    given = data.draw(given_cells(layout))
    plan = data.draw(plans(layout, given, schedule_.num_levels, allow_rise=data.draw(st.booleans())))
    laws.check_uncoupled_cells_run_alone(sampler, denoiser, plan, data.draw(latents(layout)), keys)


def test_law_8_a_pause_between_moves_is_not_remembered(sampler):
    """One cell halts where a multi-step sampler has a history, the other never does."""
    layout, rows = Layout([Track("video", [0, 1, 2])]), [(8, 8), (6, 6.5), (4, 5), (4, 3), (4, 2), (2, 1), (0, 0)]
    plan = SamplingPlan(torch.tensor(rows, dtype=torch.float64)[:, None], ~layout.valid, layout, 8)
    clean = {"video": torch.zeros(2, 2, 1)}
    keys = random.example_keys(0, range(2))
    laws.check_uncoupled_cells_run_alone(sampler, CellwiseDenoiser(layout, Arc(8)), plan, clean, keys)


@settings(max_examples=6)
@given(data=st.data(), layout=SMALL, schedule_=schedules(), keys=keys())
def test_law_8_a_pause_anywhere_is_not_remembered(sampler, data, layout, schedule_, keys):
    plan = data.draw(halting_plans(layout, data.draw(given_cells(layout)), schedule_.num_levels))
    denoiser = CellwiseDenoiser(layout, schedule_)
    laws.check_uncoupled_cells_run_alone(sampler, denoiser, plan, data.draw(latents(layout)), keys)


@settings(max_examples=8)
@given(data=st.data(), layout=layouts(min_modalities=2, max_segments=2), schedule_=schedules(), keys=keys())
def test_law_8_the_order_of_the_tracks_does_not_matter(sampler, data, layout, schedule_, keys):
    denoiser = CellwiseDenoiser(layout, schedule_)
    plan = data.draw(plans(layout, data.draw(given_cells(layout)), schedule_.num_levels))
    order = data.draw(st.permutations(range(layout.M)))
    clean = data.draw(latents(layout))
    laws.check_order_of_tracks_does_not_matter(sampler, denoiser, plan, clean, keys, order)


@settings(max_examples=12)
@given(data=st.data(), layout=SMALL, schedule_=schedules(), keys=keys())
def test_law_8_reset_forgets_these_cells_and_no_others(sampler, data, layout, schedule_, keys):
    plan = data.draw(plans(layout, data.draw(given_cells(layout)), schedule_.num_levels))
    visited = [row.expand(len(keys), -1, -1) for row in plan.levels]
    chosen = data.draw(st.lists(st.booleans(), min_size=plan.given.numel(), max_size=plan.given.numel()))
    cells = torch.tensor(chosen).reshape(layout.M, layout.N) & layout.valid
    cells = torch.stack([cells, layout.valid & ~cells])
    laws.check_reset_forgets(
        sampler, CellwiseDenoiser(layout, schedule_), data.draw(latents(layout)), visited, cells, keys
    )


@settings(max_examples=12)
@given(data=st.data(), layout=SMALL, schedule_=schedules(), keys=keys())
def test_law_8_a_cell_that_waits_at_t_sees_the_others_as_given(sampler, data, layout, schedule_, keys):
    denoiser = GaussianWorld.random(layout).denoiser(schedule_)  # here all cells are coupled
    given = data.draw(given_cells(layout))
    waiting = torch.zeros(layout.M, layout.N, dtype=torch.bool)
    waiting[*data.draw(st.sampled_from((layout.valid & ~given).nonzero().tolist()))] = True

    def plan(given, *heights):  # of the waiting cell and of the others, in every row
        top = schedule_.num_levels * (layout.valid & ~given)
        levels = torch.stack([torch.where(waiting, mine * top, others * top) for mine, others in heights])
        return SamplingPlan(torch.unique_consecutive(levels.double(), dim=0), given, layout, schedule_.num_levels)

    def run(plan, given):
        return generate(denoiser, sampler, plan, keys, given=given, dtype=torch.float64)

    first = run(
        plan(given, (1, 1), (1, 0.5), (1, 0), (0.5, 0), (0, 0)), data.draw(latents(layout, dtype=torch.float64))
    )
    then = run(plan(layout.valid & ~waiting, (1, 0), (0.5, 0), (0, 0)), first)
    assert all(torch.equal(first[name], then[name]) for name in first)
