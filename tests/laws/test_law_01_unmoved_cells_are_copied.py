"""A cell whose level does not change is copied bit for bit, in every sampler; given cells leave as they came."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from mmseqdiff.generate import generate
from mmseqdiff.testing import laws
from mmseqdiff.testing.cellwise import CellwiseDenoiser
from mmseqdiff.testing.strategies import given_cells, keys, latents, layouts, plans, schedules, steps, timesteps


@given(data=st.data(), layout=layouts(), schedule_=schedules(), keys=keys())
def test_law_1_a_step_copies_cells_whose_level_does_not_change(sampler, data, layout, schedule_, keys):
    denoiser = CellwiseDenoiser(layout, schedule_, data.draw(st.sampled_from(laws.kinds_for(schedule_))))
    t, s = data.draw(steps(layout, schedule_.num_levels))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
    laws.check_unmoved_cells_are_copied(sampler, denoiser, data.draw(latents(layout, dtype=dtype)), t, s, keys)


@given(data=st.data(), layout=layouts(), schedule_=schedules(), keys=keys())
def test_law_1_given_cells_leave_a_guided_run_as_they_came(sampler, host, data, layout, schedule_, keys):
    given = data.draw(given_cells(layout))
    plan = data.draw(plans(layout, given, schedule_.num_levels, max_steps=2, allow_rise=data.draw(st.booleans())))
    clean = data.draw(latents(layout))
    for value in clean.values():
        value[0] *= -0.0
    denoiser = host.build("guidance", "cfg")(CellwiseDenoiser(layout, schedule_))
    made = generate(denoiser, sampler, plan, keys, given=clean)
    for name, cells in layout.split(given).items():
        assert torch.equal(laws.bits(made[name][:, cells]), laws.bits(clean[name][:, cells]))
        assert made[name].isfinite().all()


@given(data=st.data(), layout=layouts(), schedule_=schedules(), keys=keys())
def test_law_1_guidance_leaves_given_cells_clean(guidance, data, layout, schedule_, keys):
    denoiser = CellwiseDenoiser(layout, schedule_, data.draw(st.sampled_from(laws.kinds_for(schedule_))))
    given = data.draw(given_cells(layout))
    t = torch.where(given, 0, data.draw(timesteps(layout, schedule_.num_levels)))
    estimate = data.draw(st.none() | latents(layout))
    laws.check_guidance(guidance, denoiser, data.draw(latents(layout)), t, given, keys, estimate)
