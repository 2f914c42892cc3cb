"""Level 0 and level T are exact in corruption, conversion and every solver, in forward and backward."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmseqdiff.denoiser import NetworkDenoiser
from mmseqdiff.forward import PREDICTION_KINDS, ForwardProcess, Prediction, check_prediction_kind
from mmseqdiff.testing.contracts import ScheduleContract, bits
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.testing.strategies import Arc, latents, layouts, schedules, timesteps

DTYPES = st.sampled_from([torch.float32, torch.float64, torch.bfloat16])


def test_law_2_the_strategies_own_schedules_are_exact_at_the_ends():
    for angle in (0.7, 1.5, math.pi / 2):
        ScheduleContract.of(lambda: Arc(5, angle))().check()  # noqa: B023


@given(data=st.data(), layout=layouts(), schedule_=schedules())
def test_law_2_corruption_is_exact_and_so_is_its_gradient(data, layout, schedule_):
    dtype = data.draw(DTYPES)
    z0, noise = (data.draw(latents(layout, dtype=dtype)) for _ in range(2))
    t = data.draw(timesteps(layout, schedule_.num_levels))
    z0 = {
        name: (-0.0 * value).requires_grad_() if data.draw(st.booleans()) else value.requires_grad_()
        for name, value in z0.items()
    }
    noisy = ForwardProcess(schedule_, layout).corrupt(z0, noise, t)
    sum(value.sum() for value in noisy.values()).backward()
    pure = schedule_.angle == math.pi / 2
    for name, levels in layout.split(t).items():
        clean, top = levels == 0, levels == schedule_.num_levels
        assert torch.equal(bits(noisy[name][clean]), bits(z0[name][clean]))
        assert (z0[name].grad[clean] == 1).all()
        if pure:
            assert torch.equal(noisy[name][top], noise[name][top])
            assert (z0[name].grad[top] == 0).all()
        assert noisy[name].dtype == dtype
        assert z0[name].grad.isfinite().all()


@pytest.mark.parametrize("kind", PREDICTION_KINDS)
@given(data=st.data(), layout=layouts())
def test_law_2_conversions_are_finite_and_exact_where_clean(kind, data, layout):
    schedule_ = data.draw(schedules(terminal=kind != "epsilon"))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
    t = data.draw(timesteps(layout, schedule_.num_levels))
    z, value = (
        {name: latent.requires_grad_() for name, latent in data.draw(latents(layout, dtype=dtype)).items()}
        for _ in range(2)
    )
    prediction = Prediction(value=value, kind=kind, z=z, t=t, schedule=schedule_, layout=layout)
    for name, levels in layout.split(t).items():
        clean = levels == 0
        assert torch.equal(bits(prediction.x0[name][clean]), bits(z[name][clean]))
        assert (bits(prediction.epsilon[name][clean]) == 0).all()
    for other in PREDICTION_KINDS:
        converted = getattr(prediction, other)
        assert all(latent.isfinite().all() for latent in converted.values())
        wanted = [*z.values(), *value.values()]
        gradients = torch.autograd.grad(
            sum(latent.sum() for latent in converted.values()), wanted, allow_unused=True, retain_graph=True
        )
        assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)


@given(layout=layouts(), levels=st.integers(1, 9))
def test_law_2_epsilon_is_refused_where_the_schedule_ends_in_noise(layout, levels):
    schedule_ = Arc(levels, math.pi / 2)
    for refuse in (
        lambda: check_prediction_kind("epsilon", schedule_),
        lambda: NetworkDenoiser(lambda z, t: z, schedule_, layout, "epsilon"),
        lambda: GaussianWorld.random(layout).denoiser(schedule_, "epsilon"),
    ):
        with pytest.raises(ValueError, match="epsilon prediction cannot be used with a zero-terminal-SNR schedule"):
            refuse()
    for kind in ("v", "velocity", "x0"):
        check_prediction_kind(kind, schedule_)
