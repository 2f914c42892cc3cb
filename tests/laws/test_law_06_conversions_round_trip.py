"""Conversions among epsilon, x0, v and velocity round-trip wherever both sides are defined.

In float64: near level 0 a conversion divides by a small sigma, and near a pure-noise T by a small alpha.
"""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmseqdiff.forward import PREDICTION_KINDS, ForwardProcess, Prediction
from mmseqdiff.testing.strategies import latents, layouts, schedules, timesteps
from mmseqdiff.timesteps import expand


def close(actual, expected, where, layout, tolerance=1e-6):
    for name, cells in layout.split(where).items():
        torch.testing.assert_close(actual[name][cells], expected[name][cells], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("kind", "other"), itertools.permutations(PREDICTION_KINDS, 2))
@given(data=st.data(), layout=layouts())
def test_law_6_there_and_back(kind, other, data, layout):
    schedule = data.draw(schedules(terminal="epsilon" not in (kind, other)))
    t = data.draw(timesteps(layout, schedule.num_levels, dtype=torch.float64))
    z, value = (data.draw(latents(layout, dtype=torch.float64)) for _ in range(2))
    prediction = Prediction(value=value, kind=kind, z=z, t=t, schedule=schedule, layout=layout)
    back = prediction.to(other).to(kind)
    assert back.kind == kind
    close(back.value, value, t > 0, layout)
    for name, latent in prediction.to(other).to(kind).x0.items():  # at level 0 all say the same: z itself
        assert torch.equal(latent[layout.split(t == 0)[name]], z[name][layout.split(t == 0)[name]])


@given(data=st.data(), layout=layouts(), schedule=schedules())
def test_law_6_the_truth_converts_into_the_truth(data, layout, schedule):
    t = data.draw(timesteps(layout, schedule.num_levels, dtype=torch.float64))
    z0, noise = (data.draw(latents(layout, dtype=torch.float64)) for _ in range(2))
    z = ForwardProcess(schedule, layout).corrupt(z0, noise, t)
    alphas, sigmas = layout.split(schedule.alpha(t)), layout.split(schedule.sigma(t))
    truth = {
        "epsilon": noise,
        "x0": z0,
        "v": {name: expand(alphas[name], x) * noise[name] - expand(sigmas[name], x) * x for name, x in z0.items()},
        "velocity": {name: noise[name] - x for name, x in z0.items()},
    }
    for kind, other in itertools.permutations(PREDICTION_KINDS, 2):
        prediction = Prediction(value=truth[kind], kind=kind, z=z, t=t, schedule=schedule, layout=layout)
        # x0 from epsilon divides the rounding of z, 1e-16, by alpha, which a level just below a pure-noise T has tiny too
        where = (t > 0) & (schedule.alpha(t) > 1e-6) if "epsilon" in (kind, other) else t > 0
        close(prediction.to(other).value, truth[other], where, layout)
