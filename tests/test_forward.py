"""The forward process and predictions; their laws are in ``tests/laws``."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmseqdiff.forward import PREDICTION_KINDS, ForwardProcess, Prediction, check_prediction_kind, normal_latents
from mmseqdiff.testing.strategies import Arc, keys, latents, layouts, schedules, timesteps


@given(data=st.data(), layout=layouts(), schedule=schedules())
def test_every_cell_is_corrupted_to_its_own_level(data, layout, schedule):
    z0, noise = (data.draw(latents(layout)) for _ in range(2))
    t = data.draw(timesteps(layout, schedule.num_levels, dtype=torch.float64))
    noisy = ForwardProcess(schedule, layout).corrupt(z0, noise, t)
    for m, track in enumerate(layout.tracks):
        for b in range(2):
            for n in range(track.segments):
                alpha, sigma = schedule.alpha(t[b, m, n]).float(), schedule.sigma(t[b, m, n]).float()
                name = track.modality
                assert torch.equal(noisy[name][b, n], alpha * z0[name][b, n] + sigma * noise[name][b, n])


@given(data=st.data(), layout=layouts(), schedule=schedules(terminal=False))
def test_kinds_mean_what_their_equations_say(data, layout, schedule):
    t = data.draw(timesteps(layout, schedule.num_levels, dtype=torch.float64)).clamp(min=1) * layout.valid
    z, value = (data.draw(latents(layout, dtype=torch.float64)) for _ in range(2))
    alphas, sigmas = layout.split(schedule.alpha(t)), layout.split(schedule.sigma(t))
    for kind in PREDICTION_KINDS:
        prediction = Prediction(value=value, kind=kind, z=z, t=t, schedule=schedule, layout=layout)
        assert all(torch.equal(getattr(prediction, kind)[name], value[name]) for name in z) or kind in ("v", "velocity")
        for name in z:
            alpha, sigma = (
                scale[name].reshape(*scale[name].shape, *(1,) * (z[name].ndim - 2)) for scale in (alphas, sigmas)
            )
            x0, epsilon = prediction.x0[name], prediction.epsilon[name]
            torch.testing.assert_close(alpha * x0 + sigma * epsilon, z[name])
            torch.testing.assert_close(prediction.v[name], alpha * epsilon - sigma * x0)
            torch.testing.assert_close(prediction.velocity[name], epsilon - x0)
        assert prediction.to(kind) is prediction
        other = prediction.with_value({name: 2 * x for name, x in value.items()})
        assert other.kind == kind
        assert all(torch.equal(other.value[name], 2 * value[name]) for name in z)


@given(layout=layouts(), keys=keys())
def test_noise_has_the_latents_shapes(layout, keys):
    drawn = normal_latents(layout, keys, "start", dtype=torch.float64)
    assert {name: (x.shape, x.dtype) for name, x in drawn.items()} == {
        track.modality: ((2, *track.shape), torch.float64) for track in layout.tracks
    }


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="no prediction kind 'noise'; known: epsilon, x0, v, velocity"):
        check_prediction_kind("noise", Arc())
