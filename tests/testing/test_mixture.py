"""The exact mixture world against draws from it, against autograd of torch's own density, and against one Gaussian."""

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmseqdiff_noise.plans import Full
from mmseqdiff_samplers.ddim import DDIM
from scipy import stats

from mmseqdiff import random
from mmseqdiff.forward import PREDICTION_KINDS, ForwardProcess, normal_latents
from mmseqdiff.generate import generate
from mmseqdiff.layout import Layout, Track
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.testing.mixture import GaussianMixtureWorld
from mmseqdiff.testing.strategies import Arc, given_cells, layouts, schedules, timesteps
from mmseqdiff.train.objective import conditional_loss

LAYOUT = Layout([Track("video", [0, 1, 2], (2,), 1), Track("audio", [0, 2], (), 1)])
WORLD = GaussianMixtureWorld.random(LAYOUT, seed=3, apart=1.5)
MANY = random.example_keys(0, range(20_000))
T = torch.tensor([[[5.0, 7.0], [6.0, 0.0]]])


def torchs(world, alpha, sigma):
    """The density of z_t as torch has it: A z0 + S epsilon for each component."""
    normals = [
        torch.distributions.MultivariateNormal(
            alpha * one.mean, torch.diag(alpha) @ one.covariance @ torch.diag(alpha) + torch.diag(sigma**2)
        )
        for one in world.components
    ]
    stacked = torch.distributions.MultivariateNormal(
        torch.stack([one.loc for one in normals]), torch.stack([one.covariance_matrix for one in normals])
    )
    return torch.distributions.MixtureSameFamily(torch.distributions.Categorical(world.weights), stacked)


@given(data=st.data(), layout=layouts(max_segments=2), schedule=schedules(terminal=False), seed=st.integers(0, 99))
def test_the_score_gives_the_denoiser(data, layout, schedule, seed):
    """Tweedie: alpha E[z0 | z_t] = z_t + sigma² ∇ log p(z_t)."""
    world = GaussianMixtureWorld.random(layout, seed=seed, apart=2.0)
    t = data.draw(timesteps(layout, schedule.num_levels, batch=1, dtype=torch.float64)).clamp(min=0.5) * layout.valid
    z = normal_latents(layout, random.example_keys(seed, [0]), "z", dtype=torch.float64)
    alpha, sigma = world.coordinates(schedule.alpha(t))[0], world.coordinates(schedule.sigma(t))[0]
    flat = world.flatten(z)[0].requires_grad_()
    log_density = torchs(world, alpha, sigma).log_prob(flat)
    torch.testing.assert_close(world.log_density(z, t, schedule)[0], log_density.detach())
    expected = flat.detach() + sigma**2 * torch.autograd.grad(log_density, flat)[0]
    for kind in ("x0", "epsilon", "v", "velocity"):
        x0 = world.flatten(world.denoiser(schedule, kind)(z, t).x0)[0]
        torch.testing.assert_close(alpha * x0, expected, rtol=1e-7, atol=1e-7)


def test_the_denoiser_and_what_is_left_are_importance_weighted_means_of_draws():
    schedule, draws = Arc(), WORLD.flatten(WORLD.sample(MANY))
    z0, noise = (
        WORLD.sample(random.fold(MANY[:1], "seen")),
        normal_latents(LAYOUT, MANY[:1], "noise", dtype=torch.float64),
    )
    z = ForwardProcess(schedule, LAYOUT).corrupt(z0, noise, T)
    alpha, sigma = (WORLD.coordinates(scale(T.double()))[0] for scale in (schedule.alpha, schedule.sigma))
    noisy = sigma > 0
    likelihood = torch.distributions.Normal(alpha * draws, sigma.clamp(min=1e-9)).log_prob(WORLD.flatten(z))
    weights = torch.softmax(likelihood[:, noisy].sum(1), dim=0)
    mean = weights @ draws
    variance = weights @ (draws - mean) ** 2
    size = 1 / weights.square().sum()
    assert size > 300, "enough draws matter for a comparison"
    error = (variance / size).sqrt()
    assert ((WORLD.flatten(WORLD.posterior_mean(z, T, schedule))[0] - mean).abs() < 4 * error)[noisy].all()
    left = WORLD.posterior_variance(z, T, schedule)[0]
    assert ((left / variance - 1).abs() < 4 * (2 / size) ** 0.5)[noisy].all()


@given(data=st.data(), layout=layouts(max_segments=3), schedule=schedules(), seed=st.integers(0, 99))
def test_one_component_is_the_gaussian_world(data, layout, schedule, seed):
    gaussian = GaussianWorld.random(layout, seed)
    world = GaussianMixtureWorld((gaussian,), torch.ones(1, dtype=torch.float64))
    keys = random.example_keys(seed, range(2))
    t = data.draw(timesteps(layout, schedule.num_levels, dtype=torch.float64))
    z, given = normal_latents(layout, keys, "z", dtype=torch.float64), data.draw(given_cells(layout))
    z0 = gaussian.flatten(gaussian.sample(keys))
    pairs = [
        (world.flatten(world.sample(keys)), z0),
        (
            world.flatten(world.posterior_mean(z, t, schedule)),
            gaussian.flatten(gaussian.posterior_mean(z, t, schedule)),
        ),
        (world.posterior_variance(z, t, schedule), gaussian.posterior_covariance(t, schedule).diagonal(dim1=1, dim2=2)),
        (world.conditional(given).mean(z0), gaussian.conditional(given).mean(z0)),
        (world.conditional(given).covariance(z0)[1], gaussian.conditional(given).covariance),
        (world.task_risk(given, 1.5, schedule, "x0", keys).value, gaussian.task_risk(given, 1.5, schedule, "x0")),
    ]
    for made, expected in pairs:
        torch.testing.assert_close(made, expected)


def test_far_components_do_not_underflow():
    world = GaussianMixtureWorld.random(LAYOUT, seed=3, apart=1000.0)
    z = {name: value + 30 for name, value in normal_latents(LAYOUT, MANY[:9], "z", dtype=torch.float64).items()}
    weights = world.responsibilities(z, T.expand(9, -1, -1), Arc())
    torch.testing.assert_close(weights.sum(1), torch.ones(9, dtype=torch.float64))
    assert all(x0.isfinite().all() for x0 in world.denoiser(Arc())(z, T.expand(9, -1, -1)).x0.values())


def test_draws_have_the_worlds_moments():
    flat = WORLD.flatten(WORLD.sample(MANY))
    mean = sum(w * one.mean for w, one in zip(WORLD.weights, WORLD.components))
    second = sum(
        w * (one.covariance + torch.outer(one.mean, one.mean)) for w, one in zip(WORLD.weights, WORLD.components)
    )
    error = flat.std(0) / len(MANY) ** 0.5
    assert ((flat.mean(0) - mean).abs() < 4 * error).all()
    torch.testing.assert_close(flat.T.cov(), second - torch.outer(mean, mean), rtol=0.05, atol=0.05)


def test_conditional_draws_complete_given_coordinates_to_draws_of_the_world():
    """Given from the world and free from the conditional is the world again: moments, and the share of each mode."""
    given = torch.tensor([[True, False], [False, False]])
    made, z0 = WORLD.conditional(given), WORLD.flatten(WORLD.sample(MANY))
    drawn = z0.clone()
    drawn[:, made.free] = made.sample(z0, random.fold(MANY, "free"))
    for coordinate in made.free.nonzero().flatten().tolist():
        assert stats.ks_2samp(drawn[:, coordinate], z0[:, coordinate]).pvalue > 1e-4
    torch.testing.assert_close(drawn.T.cov(), z0.T.cov(), rtol=0.1, atol=0.1)
    residual = z0[:, made.free] - made.mean(z0)
    assert (residual.mean(0).abs() < 4 * residual.std(0) / len(MANY) ** 0.5).all()
    assert (z0[:, ~made.free].T @ residual / len(MANY)).abs().max() < 0.06, "nothing given says more"
    torch.testing.assert_close(residual.T.cov(), made.covariance(z0).mean(0), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("kind", PREDICTION_KINDS)
def test_the_risk_is_the_exact_denoisers_loss_within_its_error(kind):
    given, schedule = torch.tensor([[True, False], [False, False]]), Arc()
    z0, other = WORLD.sample(MANY), random.fold(MANY[:4000], "risk")
    for level in (1.0, 6.0):
        losses = conditional_loss(WORLD.denoiser(schedule, kind), z0, given, level, MANY).double()
        risk = WORLD.task_risk(given, level, schedule, kind, other)
        error = (risk.standard_error**2 + losses.var(0) / len(MANY)).sqrt()
        assert ((losses.mean(0) - risk.value).abs() < 4 * error).all()
        assert (risk.standard_error < 0.05 * risk.value).all()


def test_sampling_with_the_exact_denoiser_reproduces_the_modes():
    """In `generate`, one number per clip: DDIM with the exact denoiser against the mixture's own distribution function."""
    layout = Layout([Track("video", [0, 1])])
    centres, deviations, shares = (-2.0, 1.5), (0.3, 0.5), (0.35, 0.65)
    ones = [
        GaussianWorld(layout, torch.tensor([c], dtype=torch.float64), torch.tensor([[d * d]], dtype=torch.float64))
        for c, d in zip(centres, deviations)
    ]
    world = GaussianMixtureWorld(ones, torch.tensor(shares, dtype=torch.float64))
    schedule = Arc(1000, angle=1.56)
    plan = Full(100)(layout, torch.zeros(1, 1, dtype=torch.bool), num_levels=1000)
    made = generate(world.denoiser(schedule), DDIM(), plan, MANY[:4000], dtype=torch.float64)["video"].flatten()

    def cdf(x):
        return sum(w * stats.norm.cdf(x, c, d) for c, d, w in zip(centres, deviations, shares))

    assert stats.kstest(made.numpy(), cdf).statistic < 0.03
    assert np.isclose((made > 0).double().mean(), 0.65, atol=0.03)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"components": ()}, "at least one component"),
        ({"weights": torch.tensor([0.5, 0.5], dtype=torch.float64)}, "3 components need as many positive weights"),
        ({"weights": torch.tensor([0.5, 0.5, 0.5], dtype=torch.float64)}, "must sum to 1, got 1.5"),
        (
            {"components": (*WORLD.components[:2], GaussianWorld.random(Layout([Track("a", [0, 1])])))},
            "the same layout",
        ),
    ],
)
def test_what_is_no_mixture_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        attrs.evolve(WORLD, **change)
