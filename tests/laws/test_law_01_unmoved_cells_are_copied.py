"""A cell whose level does not change is copied bit for bit, in every sampler; given cells leave as they came."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from mmseqdiff.generate import generate
from mmseqdiff.testing.cellwise import CellwiseDenoiser
from mmseqdiff.testing.contracts import bits
from mmseqdiff.testing.strategies import given_cells, keys, latents, layouts, plans, schedules


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
        assert torch.equal(bits(made[name][:, cells]), bits(clean[name][:, cells]))
        assert made[name].isfinite().all()
