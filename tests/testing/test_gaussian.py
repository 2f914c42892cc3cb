"""The exact Gaussian world against draws from it and against NumPy: an oracle must be right."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmseqdiff import random
from mmseqdiff.forward import PREDICTION_KINDS, ForwardProcess, normal_latents
from mmseqdiff.layout import Layout, Track
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.testing.strategies import Arc, given_cells, keys, layouts, schedules, timesteps
from mmseqdiff.train.objective import conditional_loss

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


@given(data=st.data(), layout=layouts(max_segments=2), schedule=schedules(terminal=False), seed=st.integers(0, 99))
def test_the_score_gives_the_denoiser(data, layout, schedule, seed):
    """Tweedie: alpha E[z0 | z_t] = z_t + sigma² ∇ log p(z_t), the density being one that torch has."""
    world = GaussianWorld.random(layout, seed)
    t = data.draw(timesteps(layout, schedule.num_levels, batch=1, dtype=torch.float64)).clamp(min=0.5) * layout.valid
    z = normal_latents(layout, random.example_keys(seed, [0]), "z", dtype=torch.float64)
    alpha, sigma = world.coordinates(schedule.alpha(t))[0], world.coordinates(schedule.sigma(t))[0]
    flat = world.flatten(z)[0].requires_grad_()
    noisy = torch.diag(alpha) @ world.covariance @ torch.diag(alpha) + torch.diag(sigma**2)
    log_density = torch.distributions.MultivariateNormal(alpha * world.mean, noisy).log_prob(flat)
    torch.testing.assert_close(world.log_density(z, t, schedule)[0], log_density.detach())
    score = torch.autograd.grad(log_density, flat)[0]
    x0 = world.flatten(world.denoiser(schedule)(z, t).x0)[0]
    torch.testing.assert_close(alpha * x0, flat.detach() + sigma**2 * score, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", PREDICTION_KINDS)
def test_the_risk_of_a_task_is_the_exact_denoisers_loss(kind):
    world, schedule = GaussianWorld.random(LAYOUT, seed=1), Arc()
    many = random.example_keys(0, range(20_000))
    z0 = world.sample(many)
    for cells in ([[True, False], [False, False]], [[True, True], [False, False]], [[False, False], [False, False]]):
        given = torch.tensor(cells)
        for level in (1.0, 4.5, 8.0):
            losses = conditional_loss(world.denoiser(schedule, kind), z0, given, level, many).double()
            risk, error = world.task_risk(given, level, schedule, kind), losses.std(0) / len(many) ** 0.5
            assert ((losses.mean(0) - risk).abs() <= 4 * error + 1e-6).all()
            assert (risk > 0).tolist() == (~given & LAYOUT.valid).any(1).tolist()


def test_risk_is_per_cell_and_zero_where_nothing_is_noisy():
    world, schedule = GaussianWorld.random(LAYOUT, seed=2, coupling=0), Arc()
    t = torch.tensor([[[0.0, 3.0], [6.0, 0.0]]])
    risk = world.bayes_risk(t, schedule, "x0")[0]
    alpha, sigma = schedule.alpha(t.double())[0], schedule.sigma(t.double())[0]
    expected = 0.2 * sigma**2 / (0.2 * alpha**2 + sigma**2)  # one number of variance 0.2 by itself
    torch.testing.assert_close(risk, expected)
    assert risk[0, 0] == risk[1, 1] == 0
    with pytest.raises(ValueError, match="no prediction kind"):
        world.bayes_risk(t, schedule, "noise")
