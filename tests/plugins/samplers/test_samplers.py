"""DDPM and DDIM against textbook steps, and in a world where the right answer is known exactly.

With the optimal denoiser of a Gaussian world every step is an affine map, and so is a whole run: pushing each number of
its noise through by itself gives the exact mean and covariance of what it samples. Nothing here is a Monte Carlo
estimate.
"""

import importlib
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmseqdiff_noise.plans import Full
from mmseqdiff_noise.tasks import a2v, continuation, inpainting, joint
from mmseqdiff_samplers.ddim import DDIM
from mmseqdiff_samplers.ddpm import DDPM

from mmseqdiff import random
from mmseqdiff.forward import Prediction
from mmseqdiff.layout import Layout, Track
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.testing.strategies import Arc, keys, latents, layouts, schedules, steps
from mmseqdiff.transition import Transition

LAYOUT = Layout([Track("video", [0, 1, 2]), Track("audio", [0, "0.5", 1, 2])])
WORLD = GaussianWorld.random(LAYOUT, seed=5)
FACT = GaussianWorld.random(LAYOUT, seed=5).sample(random.example_keys(8, [0]))
TASKS = {
    "joint": joint(),
    "a2v": a2v(),
    "continue": continuation(Fraction(1)),
    "inpaint": inpainting(Fraction(1, 2), Fraction(1)),
}
generate_module = importlib.import_module("mmseqdiff.generate")


def one_step(sampler, prediction, s, noise):
    """The sampler's step from where a prediction was made."""
    return sampler.step(
        prediction.z, prediction.t, s, denoise=lambda z, t: prediction, state={}, noise=lambda stream: noise
    )[0]  # fmt: skip


@given(data=st.data(), layout=layouts())
def test_ddpm_is_algorithm_3_with_alpha_bar_where_alpha_is_printed(host, data, layout):
    """z_{t−1} = 1/sqrt(alpha_t) (z_t − beta_t / sqrt(1 − alpha_bar_t) eps) + sigma_t noise, for one level everywhere."""
    schedule = host.build("schedule", "linear")
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    alpha_bar = (1 - beta).cumprod(0)
    z, epsilon, noise = (data.draw(latents(layout, dtype=torch.float64)) for _ in range(3))
    level = data.draw(st.integers(1, 1000))
    t = torch.where(layout.valid, float(level), 0.0).double().expand(2, -1, -1)
    prediction = Prediction(value=epsilon, kind="epsilon", z=z, t=t, schedule=schedule, layout=layout)
    b, bar = beta[level - 1], alpha_bar[level - 1]
    before = alpha_bar[level - 2] if level > 1 else torch.ones(())
    spreads = {"posterior": ((1 - before) / (1 - bar) * b).sqrt(), "beta": b.sqrt() if level > 1 else torch.zeros(())}
    for variance, spread in spreads.items():
        made = one_step(DDPM(variance), prediction, (t - 1).clamp(min=0), noise)
        for name in z:
            mean = (z[name] - b / (1 - bar).sqrt() * epsilon[name]) / (1 - b).sqrt()
            torch.testing.assert_close(made[name], mean + spread * noise[name], rtol=1e-9, atol=1e-9)


@given(data=st.data(), layout=layouts(), schedule=schedules(), keys=keys())
def test_ddim_with_eta_1_is_ddpm(data, layout, schedule, keys):
    t, s = data.draw(steps(layout, schedule.num_levels))
    z, value, noise = (data.draw(latents(layout, dtype=torch.float64)) for _ in range(3))
    prediction = Prediction(value=value, kind="v", z=z, t=t, schedule=schedule, layout=layout)
    ancestral, implicit = (one_step(sampler, prediction, s, noise) for sampler in (DDPM(), DDIM(1.0)))
    for name in z:
        torch.testing.assert_close(ancestral[name], implicit[name], rtol=1e-6, atol=1e-6)


@given(data=st.data(), layout=layouts(), schedule=schedules())
def test_ddim_with_the_true_noise_follows_the_trajectory_exactly(data, layout, schedule):
    """z_t = alpha_t z0 + sigma_t eps at every cell's own level, before and after."""
    t, s = data.draw(steps(layout, schedule.num_levels))
    z0, epsilon = (data.draw(latents(layout, dtype=torch.float64)) for _ in range(2))
    at = [corrupted(schedule, layout, z0, epsilon, level) for level in (t, s)]
    prediction = Prediction(value=z0, kind="x0", z=at[0], t=t, schedule=schedule, layout=layout)
    made = one_step(DDIM(), prediction, s, None)
    for name in z0:
        torch.testing.assert_close(made[name], at[1][name], rtol=1e-6, atol=1e-6)


def corrupted(schedule, layout, z0, epsilon, level):
    alphas, sigmas = layout.split(schedule.alpha(level)), layout.split(schedule.sigma(level))
    return {
        name: torch.einsum("bn,bn...->bn...", alphas[name], z0[name])
        + torch.einsum("bn,bn...->bn...", sigmas[name], epsilon[name])
        for name in z0
    }


@given(data=st.data(), layout=layouts(), schedule=schedules())
def test_transitions_compose(data, layout, schedule):
    """q(z_t | z_s) then q(z_s | z_r) is q(z_t | z_r): the scales multiply, the variances add."""
    t, s = data.draw(steps(layout, schedule.num_levels))
    r = torch.minimum(s, data.draw(steps(layout, schedule.num_levels))[1])
    first, second, both = (Transition.between(schedule, *pair) for pair in ((s, r), (t, s), (t, r)))
    live = schedule.alpha(s) > 0
    torch.testing.assert_close((second.alpha_ts * first.alpha_ts)[live], both.alpha_ts[live])
    variance = second.alpha_ts**2 * first.variance_ts + second.variance_ts
    torch.testing.assert_close(variance[live], both.variance_ts[live])
    assert (second.posterior_variance >= 0).all()
    assert (second.posterior_variance <= second.variance_ts + 1e-12).all()
    assert (second.posterior_variance[s == 0] == 0).all()


def moments(sampler, denoiser, plan, monkeypatch):
    """The exact mean (D,) and covariance (D, D) of what a run samples, from one run on the basis of its noise.

    Example 0 of the batch has no noise at all; each other has one number of one draw at 1.
    """
    dimension, draws = len(WORLD.mean), []
    batch = 1 + dimension * (plan.steps + 1)

    def basis(layout, keys, stream, counts=None, dtype=None):
        vectors = torch.zeros(batch, dimension, dtype=torch.float64)
        first = 1 + dimension * len(draws)
        draws.append(stream)
        vectors[first : first + dimension] = torch.eye(dimension, dtype=torch.float64)
        return WORLD.unflatten(vectors)

    monkeypatch.setattr(generate_module, "normal_latents", basis)
    known = {name: z.expand(batch, *z.shape[1:]) for name, z in FACT.items()}
    keys = random.example_keys(0, range(batch))
    made = WORLD.flatten(generate_module.generate(denoiser, sampler, plan, keys, given=known, dtype=torch.float64))
    columns = made[1:] - made[0]
    return made[0], columns.T @ columns


def distance(moments, truth):
    """How far a mean and covariance of the generated cells lie from those of the exact conditional."""
    mean, covariance = moments
    expected = truth.mean(WORLD.flatten(FACT))[0]
    return (
        float((mean[truth.free] - expected).abs().max()),
        float((covariance[truth.free][:, truth.free] - truth.covariance).abs().max()),
    )


def sampled(sampler, task, count, monkeypatch, schedule):
    """The moments of a run of so many steps, given cells checked, and the exact conditional."""
    given = task.given(LAYOUT)
    plan = Full(count)(LAYOUT, given, num_levels=schedule.num_levels)
    mean, covariance = moments(sampler, WORLD.denoiser(schedule, "v"), plan, monkeypatch)
    truth = WORLD.conditional(given)
    assert torch.equal(mean[~truth.free], WORLD.flatten(FACT)[0, ~truth.free])
    assert (covariance[~truth.free] == 0).all()
    return (mean, covariance), truth


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("sampler", [DDIM(), DDIM(0.5), DDPM()], ids=["ddim", "ddim(0.5)", "ddpm"])
def test_sampling_converges_to_the_exact_conditional(task, sampler, monkeypatch):
    """The error halves when the steps double; without its first-order part (Richardson) next to nothing is left."""
    schedule = Arc(48, math.pi / 2)
    runs = [sampled(sampler, TASKS[task], count, monkeypatch, schedule) for count in (12, 24, 48)]
    found = [max(distance(*run)) for run in runs]
    assert all(after < 0.62 * before for before, after in zip(found, found[1:])), found
    limit = tuple(2 * fine - coarse for fine, coarse in zip(runs[2][0], runs[1][0]))
    assert max(distance(limit, runs[2][1])) < 0.25 * found[-1], (found, distance(limit, runs[2][1]))
    assert max(distance(limit, runs[2][1])) < 0.02


@pytest.mark.parametrize("task", TASKS)
def test_one_step_from_pure_noise_has_the_conditional_mean_and_no_spread(task, monkeypatch):
    schedule = Arc(64, math.pi / 2)
    for sampler in (DDIM(), DDPM()):
        run, truth = sampled(sampler, TASKS[task], 1, monkeypatch, schedule)
        assert distance(run, truth) == pytest.approx((0, float(truth.covariance.abs().max())), abs=1e-9)


@pytest.mark.parametrize("name", ["linear", "cosine", "zero_terminal_snr"])
def test_the_shipped_schedules_reach_the_conditional_too(host, name, monkeypatch):
    schedule = host.build("schedule", name)
    assert max(distance(*sampled(DDIM(), TASKS["a2v"], 100, monkeypatch, schedule))) < 0.03


def test_any_order_of_the_cells_converges_to_the_same(monkeypatch):
    """Cells on plans of their own, audio first and then video: the exact denoiser makes every falling path right."""
    schedule, runs = Arc(48, math.pi / 2), []
    for count in (24, 48):
        down = torch.linspace(48, 0, count + 1, dtype=torch.float64)
        video, audio = torch.cat([down[:1].expand(count), down]), torch.cat([down, down[-1:].expand(count)])
        levels = LAYOUT.stack({"video": video[:, None].expand(-1, 2), "audio": audio[:, None].expand(-1, 3)})
        plan = SamplingPlan(levels, ~LAYOUT.valid & False, LAYOUT, 48)
        runs.append(moments(DDIM(), WORLD.denoiser(schedule, "v"), plan, monkeypatch))
    limit = tuple(2 * fine - coarse for fine, coarse in zip(runs[1], runs[0]))
    assert max(distance(limit, WORLD.conditional(TASKS["joint"].given(LAYOUT)))) < 0.02


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DDIM(1.5), "'eta' must be <= 1"),
        (lambda: DDIM(-0.1), "'eta' must be >= 0"),
        (lambda: DDPM("both"), "'variance' must be in"),
    ],
)
def test_what_is_no_sampler_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
