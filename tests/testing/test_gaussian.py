"""The exact Gaussian world against draws from it and against NumPy: an oracle must be right."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmseqdiff import random
from mmseqdiff.forward import ForwardProcess, normal_latents
from mmseqdiff.layout import Layout, Track
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.testing.strategies import Arc, given_cells, keys, layouts, schedules, timesteps

LAYOUT = Layout([Track("video", [0, 1, 2], (2,), 1), Track("audio", [0, 2], (), 1)])


@given(data=st.data(), layout=layouts(max_segments=2), schedule=schedules(), seed=st.integers(0, 99))
def test_the_optimal_denoiser_is_bayes_rule(data, layout, schedule, seed):
    """E[z0 | z_t] from the joint covariance of (z0, z_t), which NumPy inverts as one matrix; the world never forms it."""
    world = GaussianWorld.random(layout, seed)
    t = data.draw(timesteps(layout, schedule.num_levels, batch=1, dtype=torch.float64))
    z = normal_latents(layout, random.example_keys(seed, [0]), "z", dtype=torch.float64)
    a, s = (np.diag(world.coordinates(scale(t))[0].numpy()) for scale in (schedule.alpha, schedule.sigma))
    mean, c = world.mean.numpy(), world.covariance.numpy()
    gain = c @ a @ np.linalg.pinv(a @ c @ a + s @ s)
    expected = mean + gain @ (world.flatten(z)[0].numpy() - a @ mean)
    for kind in ("x0", "v", "velocity"):
        x0 = world.denoiser(schedule, kind)(z, t).x0
        np.testing.assert_allclose(world.flatten(x0)[0].numpy(), expected, rtol=1e-6, atol=1e-6)
    risk = world.posterior_covariance(t, schedule)[0].numpy()
    np.testing.assert_allclose(risk, c - gain @ a @ c, rtol=1e-6, atol=1e-6)


@given(data=st.data(), layout=layouts(max_segments=3), seed=st.integers(0, 99))
def test_conditionals_are_blocks_of_the_precision(data, layout, seed):
    world = GaussianWorld.random(layout, seed)
    given = data.draw(given_cells(layout))
    made = world.conditional(given)
    free, precision = made.free.numpy(), np.linalg.inv(world.covariance.numpy())
    assert np.array_equal(free, world.coordinates((~given).double())[:].numpy() > 0)
    covariance = np.linalg.inv(precision[np.ix_(free, free)])
    np.testing.assert_allclose(made.covariance.numpy(), covariance, rtol=1e-8, atol=1e-10)
    z0 = world.flatten(world.sample(random.example_keys(seed, [0, 1])))
    known = (z0 - world.mean)[:, ~made.free].numpy()
    shift = -known @ precision[np.ix_(free, ~free)].T @ covariance.T
    np.testing.assert_allclose(made.mean(z0).numpy(), world.mean[made.free].numpy() + shift, rtol=1e-8, atol=1e-10)


@given(layout=layouts(), keys=keys(3))
def test_flatten_and_unflatten_are_inverse_and_coordinates_follow_them(layout, keys):
    world = GaussianWorld.random(layout)
    latents = normal_latents(layout, keys, "z", dtype=torch.float64)
    back = world.unflatten(world.flatten(latents))
    assert all(torch.equal(back[name], latents[name]) for name in latents)
    numbers = torch.arange(layout.M * layout.N).reshape(layout.M, layout.N) * layout.valid
    filled = {name: torch.zeros_like(latents[name][:1]) for name in latents}
    for name, row in layout.split(numbers).items():
        filled[name] += row.reshape(1, -1, *(1,) * (filled[name].ndim - 2))
    assert world.coordinates(numbers).tolist() == world.flatten(filled)[0].tolist()


@pytest.mark.parametrize("coupling", [0, 1])
def test_draws_have_the_worlds_moments_and_the_denoiser_the_risk_it_says(coupling):
    world, schedule = GaussianWorld.random(LAYOUT, seed=1, coupling=coupling), Arc()
    many = random.example_keys(0, range(20_000))
    z0, noise = world.sample(many), normal_latents(LAYOUT, many, "noise", dtype=torch.float64)
    flat = world.flatten(z0)
    torch.testing.assert_close(flat.mean(0), world.mean, rtol=0, atol=0.05)
    torch.testing.assert_close(flat.T.cov(), world.covariance, rtol=0, atol=0.08)
    assert (world.covariance.triu(1).abs().max() == 0) == (coupling == 0)
    t = torch.tensor([[[2.0, 8.0], [5.0, 0.0]]]).expand(len(many), -1, -1)
    z = ForwardProcess(schedule, LAYOUT).corrupt(z0, noise, t)
    error = world.flatten(world.denoiser(schedule)(z, t).x0) - flat
    risk = world.posterior_covariance(t[:1], schedule)[0]
    torch.testing.assert_close(error.T @ error / len(many), risk, rtol=0, atol=0.05)
    assert (error.mean(0).abs() < 0.05).all()
