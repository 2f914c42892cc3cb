"""Replacement, reconstruction and MM-Diffusion's gradient: against closed forms, and biased where MoNL's way is exact."""

import math
from fractions import Fraction

import pytest
import tiny
import torch
from gaussian_guidance import LAYOUT, PURE, WORLD, errors, moments, situations
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseqdiff_guidance.gradient import Gradient
from mmseqdiff_guidance.reconstruction import Reconstruction
from mmseqdiff_guidance.replacement import Replacement
from mmseqdiff_noise.plans import Full
from mmseqdiff_noise.tasks import a2v, continuation, inpainting
from mmseqdiff_samplers.analytic import AnalyticDDIM
from mmseqdiff_samplers.ddim import DDIM
from mmseqdiff_samplers.ddpm import DDPM

from mmseqdiff import random
from mmseqdiff.assembly import Assembly
from mmseqdiff.forward import normal_latents
from mmseqdiff.generate import generate
from mmseqdiff.layout import Layout, Track
from mmseqdiff.pipeline import Pipeline
from mmseqdiff.recipe import Component
from mmseqdiff.testing.cellwise import CellwiseDenoiser
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.testing.strategies import Arc

FEW = settings(max_examples=8)
TWO = Layout([Track("video", [0, 1, 2]), Track("audio", [0, "0.5", 1, 2])])
SMALL = GaussianWorld.random(TWO, seed=5)
FACT = SMALL.sample(random.example_keys(8, [0]))
FINE = Arc(64, math.pi / 2)
TASKS = {"a2v": a2v(), "continue": continuation(Fraction(1)), "inpaint": inpainting(Fraction(1, 2), Fraction(1))}


def by_hand(z, t, noise, b):
    """Example b with its clean cells at the level of the noisiest: coordinates z', their angles, and which are clean."""
    levels = WORLD.coordinates(t[b])
    clean = levels == 0
    angle = torch.where(clean, levels.max(), levels) * (math.pi / 16)
    x, xi = (WORLD.flatten(one)[b] for one in (z, noise))
    return torch.where(clean, angle.cos() * x + angle.sin() * xi, x), angle, clean


def posterior(angle):
    """gain and offset of E[z0 | z'], as one linear solve."""
    a, s = angle.cos().diag(), angle.sin().diag()
    gain = WORLD.covariance @ a @ torch.linalg.pinv(a @ WORLD.covariance @ a + s @ s)
    return gain, WORLD.mean - gain @ a @ WORLD.mean


@FEW
@given(situation=situations())
def test_replacement_is_the_joint_prediction_with_the_condition_at_the_others_level(situation):
    cells, t, z, keys = situation
    noise = normal_latents(LAYOUT, keys, "replacement", dtype=torch.float64)
    made = WORLD.flatten(Replacement()(WORLD.denoiser(PURE, "v"))(z, t, given=cells, keys=keys).x0)
    for b in range(2):
        shown, angle, clean = by_hand(z, t, noise, b)
        gain, offset = posterior(angle)
        torch.testing.assert_close(made[b][~clean], (gain @ shown + offset)[~clean], rtol=1e-6, atol=1e-6)
        assert torch.equal(made[b][clean], WORLD.flatten(z)[b][clean])


@FEW
@given(situation=situations(), weight=st.floats(0, 3), kind=st.sampled_from(["x0", "v", "velocity"]))
def test_reconstruction_guidance_has_its_closed_form(situation, weight, kind):
    """In a Gaussian world x̂0 = G z' + c, so the gradient of ‖x − x̂0‖² over the condition is −2 Gᵀ (x − x̂0)."""
    cells, t, z, keys = situation
    noise = normal_latents(LAYOUT, keys, "replacement", dtype=torch.float64)
    with torch.no_grad():  # as in the loop
        made = Reconstruction(weight)(WORLD.denoiser(PURE, kind))(z, t, given=cells, keys=keys)
    assert made.kind == kind
    x0 = WORLD.flatten(made.x0)
    assert not x0.requires_grad
    for b in range(2):
        shown, angle, clean = by_hand(z, t, noise, b)
        gain, offset = posterior(angle)
        joint = gain @ shown + offset
        gradient = -2 * gain[clean].T @ (WORLD.flatten(z)[b] - joint)[clean]
        expected = joint - weight * angle.cos() / 2 * gradient
        torch.testing.assert_close(x0[b][~clean], expected[~clean], rtol=1e-5, atol=1e-5)
        assert torch.equal(x0[b][clean], WORLD.flatten(z)[b][clean])


@FEW
@given(situation=situations(), scale=st.floats(0, 3), weight=st.sampled_from(["alpha", "sigma"]), mean=st.booleans())
def test_the_gradient_of_the_stepped_condition_has_its_closed_form(situation, scale, weight, mean):
    """DDIM from 8 p to 8 q everywhere: y = (cos q − sin q cos p / sin p) x̂0 + sin q / sin p · z', so ∂y/∂z' is known."""
    cells, _, z, keys = situation
    noise = normal_latents(LAYOUT, keys, "condition", dtype=torch.float64)
    p, q = 5.0, 3.0
    t, s = ((LAYOUT.valid & ~cells).double().expand(2, -1, -1) * level for level in (p, q))
    guidance, denoiser = Gradient(scale, weight, "mean" if mean else "sum"), WORLD.denoiser(PURE, "v")
    sampler = guidance.sampler(DDIM(), denoiser)
    with torch.no_grad():
        made, _ = sampler.step(
            z, t, s, state=sampler.start(z, LAYOUT), noise=lambda stream: noise,
            denoise=lambda z, t: guidance(denoiser)(z, t, given=cells, keys=keys),
        )  # fmt: skip
    p, q = p * math.pi / 16, q * math.pi / 16
    for b, y in enumerate(WORLD.flatten(made)):
        shown, angle, clean = by_hand(z, t, noise, b)
        gain, offset = posterior(angle)
        jacobian = (math.cos(q) - math.sin(q) * math.cos(p) / math.sin(p)) * gain
        jacobian += math.sin(q) / math.sin(p) * torch.eye(len(gain)).double()
        stepped = jacobian @ shown + (math.cos(q) - math.sin(q) * math.cos(p) / math.sin(p)) * offset
        wanted = math.cos(q) * WORLD.flatten(z)[b] + math.sin(q) * WORLD.flatten(noise)[b]
        slope = 2 * jacobian[clean].T @ (stepped - wanted)[clean] / (max(int(clean.sum()), 1) if mean else 1)
        expected = stepped - scale * (math.cos(p) if weight == "alpha" else math.sin(p)) * slope
        torch.testing.assert_close(y[~clean], expected[~clean], rtol=1e-6, atol=1e-6)
        assert torch.equal(y[clean], WORLD.flatten(z)[b][clean])


@pytest.mark.parametrize("sampler", [DDIM(), DDPM()], ids=["ddim", "ddpm"])
def test_without_weight_the_gradient_is_replacement_and_reconstruction_too(sampler, monkeypatch):
    """Three ways to write the same run, once their noise has one name; samples with the same keys agree."""
    given_ = TASKS["continue"].given(TWO)
    plan, keys = Full(5)(TWO, given_, num_levels=64), random.example_keys(2, range(2))
    fact = {name: value.expand(2, *value.shape[1:]) for name, value in FACT.items()}
    denoiser = SMALL.denoiser(FINE, "v")
    noise = normal_latents(TWO, keys, "step condition", torch.zeros(2, 3).long(), torch.float64)
    monkeypatch.setattr("mmseqdiff_guidance.replacement.normal_latents", lambda *_, **__: noise)
    runs = [
        generate(guidance(denoiser), guidance.sampler(sampler, denoiser), plan, keys, given=fact, dtype=torch.float64)
        for guidance in (Replacement(), Reconstruction(0.0), Gradient(0.0))
    ]
    for name in fact:
        for other in runs[1:]:
            torch.testing.assert_close(other[name], runs[0][name], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("task", TASKS)
def test_given_cells_clean_reach_the_conditional_and_the_baselines_do_not(task):
    """The exact denoiser, clean condition: the mean to rounding, the covariance with an error of first order. Replacement
    with the same denoiser has a bias that no number of steps takes away, and the gradients take away little of it.
    """
    given_ = TASKS[task].given(TWO)

    def run(steps, guidance=None, streams=()):
        plan = Full(steps)(TWO, given_, num_levels=64)
        return errors(*moments(SMALL, FACT, plan, DDIM(), FINE, guidance, streams))

    coarse, fine = run(16), run(64)
    assert max(coarse[0], fine[0]) < 1e-12
    assert coarse[1] < 0.17
    assert fine[1] < coarse[1] / 3.5
    for guidance, streams in (
        (Replacement(), ["replacement"]),
        (Reconstruction(), ["replacement"]),
        (Gradient(0.02, "sigma", "sum"), ["step condition"]),
    ):
        before, after = (run(steps, guidance, streams) for steps in (16, 64))
        assert after[0] > 0.2, "the mean is not the conditional one"
        assert after[0] > 0.9 * before[0], "and more steps do not help"
        assert after[1] > 4 * fine[1], "nor is the covariance"


@pytest.mark.parametrize("task", TASKS)
def test_ancestral_sampling_with_given_cells_clean_reaches_the_conditional(task):
    plans = {steps: Full(steps)(TWO, TASKS[task].given(TWO), num_levels=64) for steps in (8, 32)}
    coarse, fine = (
        errors(*moments(SMALL, FACT, plan, DDPM(), FINE, counts=range(steps))) for steps, plan in plans.items()
    )
    assert max(coarse[0], fine[0]) < 1e-12
    assert fine[1] < 0.16
    assert fine[1] < coarse[1] / 2


@pytest.mark.parametrize("guidance", [Replacement(), Reconstruction(), Gradient()], ids=["repl", "recon", "gradient"])
def test_the_condition_does_not_leak_back_through_its_self_condition(guidance):
    """Whatever the self-condition says of given cells, the network never reads it; of the others it does."""
    given_ = TASKS["inpaint"].given(TWO)
    keys, denoiser = random.example_keys(3, range(2)), CellwiseDenoiser(TWO, FINE)
    z, estimate = SMALL.sample(keys), SMALL.sample(keys + 1)
    t, s = ((TWO.valid & ~given_).double().expand(2, -1, -1) * level for level in (40, 20))
    seen = []

    class Watched(CellwiseDenoiser):
        def __call__(self, z, t, *, given, keys, self_condition):
            seen.append(self_condition)
            return super().__call__(z, t, self_condition=self_condition)

    guided, sampler = guidance(Watched(TWO, FINE)), guidance.sampler(DDIM(), denoiser)
    sampler.step(
        z, t, s, state={}, noise=lambda stream: normal_latents(TWO, keys, stream, dtype=torch.float64),
        denoise=lambda z, t: guided(z, t, given=given_, keys=keys, self_condition=estimate),
    )  # fmt: skip
    for name, cells in TWO.split(given_).items():
        assert (seen[0][name][:, cells] == 0).all()
        assert torch.equal(seen[0][name][:, ~cells], estimate[name][:, ~cells])


def test_a_pipeline_steps_with_the_guided_sampler(host):
    """Through a real network with self-conditioning: given cells leave as they came, and λ matters."""
    assembly = Assembly.from_recipe(tiny.tiny_recipe(host), host)
    torch.manual_seed(0)
    for weight in assembly.backbone.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    pipeline, keys = Pipeline(assembly), random.example_keys(0, [0])
    plan = pipeline.plan(a2v())
    known = {"audio": torch.randn(1, *pipeline.layout.track("audio").shape)}
    off, on, plain = (
        pipeline.sample(plan, keys, known, guidance=guidance)
        for guidance in (*(Component("mmd_gradient", {"scale": scale}) for scale in (0.0, 30.0)), None)
    )
    for made in (off, on):
        assert torch.equal(made["audio"], known["audio"])
        assert made["video"].isfinite().all()
    assert (off["video"] != on["video"]).any()
    assert (off["video"] != plain["video"]).any()


def test_the_gradient_steps_with_the_sampler_of_the_plan():
    plan = Full(2)(LAYOUT, a2v().given(LAYOUT), num_levels=8)
    sampler = Gradient().sampler(AnalyticDDIM(), WORLD.denoiser(PURE)).for_plan(plan)
    assert sampler.inner == AnalyticDDIM().for_plan(plan) != AnalyticDDIM()
