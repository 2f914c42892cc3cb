"""Analytic-DPM and Analytic-DDIM where the optimal reverse variance is known: latents of one variance, uncoupled."""

import math

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseqdiff_samplers.analytic import AnalyticDDIM, AnalyticDPM, Gamma, calibrate, family_of
from mmseqdiff_samplers.ddim import DDIM
from mmseqdiff_samplers.ddpm import DDPM

from mmseqdiff import random
from mmseqdiff.bench.moments import push
from mmseqdiff.denoiser import WrappedDenoiser
from mmseqdiff.forward import Prediction
from mmseqdiff.layout import Layout, Track
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.protocols import Denoiser
from mmseqdiff.recipe import Component
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.testing.strategies import Arc, latents, layouts, schedules, steps

LAYOUT = Layout([Track("video", [0, 1, 2]), Track("audio", [0, 1], (), 2)])
VARIANCE = 0.2
WORLD = GaussianWorld.random(LAYOUT, coupling=0)
NONE_GIVEN = ~LAYOUT.valid & False
DOWN = torch.tensor([8.0, 4.0, 1.0, 0.0], dtype=torch.float64)[:, None, None]


def gamma(schedule, level):
    """E ||epsilon||² / d: the share of the noise in z's variance."""
    t = torch.tensor(level, dtype=torch.float64)
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    return sigma**2 / (alpha**2 * VARIANCE + sigma**2)


@settings(max_examples=8)
@given(path=st.lists(st.floats(0.2, 7.8), min_size=1, max_size=4, unique=True), eta=st.floats(0, 1))
def test_every_marginal_is_exact_whatever_the_steps(path, eta):
    schedule, levels = Arc(8, 1.5), [8.0, *sorted(path, reverse=True)]
    table = Gamma(tuple(levels), tuple(gamma(schedule, level) for level in levels))
    calibration = {"joint": {"video": table, "audio": table}}
    t = torch.tensor([levels[0], levels[-1]], dtype=torch.float64)
    (a, c), (b, d) = schedule.alpha(t).tolist(), schedule.sigma(t).tolist()
    rows = torch.tensor(levels, dtype=torch.float64)[:, None, None] * LAYOUT.valid
    spread = torch.eye(len(WORLD.mean), dtype=torch.float64)
    start = torch.cat([a * WORLD.mean[None], a * WORLD.mean + math.sqrt(a**2 * VARIANCE + b**2) * spread])
    for sampler in (AnalyticDPM(calibration, "joint"), AnalyticDDIM(calibration, "joint", eta=eta)):
        made = push(WORLD, schedule, sampler, rows, NONE_GIVEN, start)
        columns = made[1:] - made[0]
        torch.testing.assert_close(made[0], c * WORLD.mean)
        torch.testing.assert_close(columns.T @ columns, (c**2 * VARIANCE + d**2) * spread)


def test_gamma_is_measured_per_modality_family_and_level():
    schedule, keys = Arc(8, 1.5), random.example_keys(0, range(4000))
    given = LAYOUT.stack({"video": torch.tensor([True, False]), "audio": torch.tensor([False])})
    late = LAYOUT.stack(
        {"video": torch.tensor([[8.0] * 2, [8.0] * 2, [2.0] * 2, [0.0] * 2]), "audio": DOWN[..., 0].float()}
    )
    denoiser, clean = WORLD.denoiser(schedule), WORLD.sample(keys)
    sampler = AnalyticDPM()
    for plan in (
        SamplingPlan(DOWN * LAYOUT.valid, NONE_GIVEN, LAYOUT, 8),
        SamplingPlan(late.double() * ~given, given, LAYOUT, 8),
    ):
        sampler = sampler.calibrated(denoiser, plan, clean, keys)
        assert sampler.family == "", "it is the plan's, whichever was measured last"
        assert sampler.for_plan(plan).family == family_of(plan)
    found = sampler.calibration
    assert {family: list(by_modality) for family, by_modality in found.items()} == {
        "joint": ["video", "audio"], "video:0-1": ["video", "audio"],
    }  # fmt: skip
    assert found["joint"]["video"].levels == (1.0, 4.0, 8.0)
    assert found["video:0-1"]["video"].levels == (2.0, 8.0)
    for by_modality in found.values():
        for table in by_modality.values():
            for level, value in zip(table.levels, table.values):
                assert value == pytest.approx(gamma(schedule, level), rel=4 * math.sqrt(2 / 4000))


def test_gamma_is_measured_as_in_sampling_with_an_estimate_of_the_networks_own():
    seen = []

    @attrs.frozen(eq=False)
    class Recording(WrappedDenoiser):
        denoiser: Denoiser

        def __call__(self, z, t, *, given, keys, self_condition=None):
            prediction = self.denoiser(z, t, given=given, keys=keys)
            seen.append((self_condition, prediction.x0))
            return prediction

    plan, keys = SamplingPlan(DOWN * LAYOUT.valid, NONE_GIVEN, LAYOUT, 8), random.example_keys(0, range(3))
    calibrate(Recording(WORLD.denoiser(Arc(8, 1.5))), plan, WORLD.sample(keys), keys)
    assert len(seen) == 2 * plan.steps
    for (nothing, estimate), (condition, _) in zip(seen[::2], seen[1::2]):
        assert nothing is None
        assert all(torch.equal(condition[name], estimate[name]) for name in estimate)


def test_a_calibration_is_plain_values_that_a_recipe_can_hold(host):
    plain = {"a2v": {"video": {"levels": [4.0, 8.0], "values": [0.5, 0.75]}}}
    for name in ("analytic_dpm", "analytic_ddim"):
        component = Component(name, {"family": "a2v", "calibration": plain})
        built = component.build(host, "sampler")
        assert built.calibration == {"a2v": {"video": Gamma((4.0, 8.0), (0.5, 0.75))}}
    at = Gamma((4.0, 8.0), (0.5, 0.75)).at(torch.tensor([[4.0, 8.0, 6.0]]))
    assert at.tolist() == [[0.5, 0.75, 1.0]]


@settings(max_examples=10)
@given(data=st.data(), layout=layouts(max_segments=2), schedule=schedules())
def test_without_a_calibration_the_small_variance_is_left(data, layout, schedule):
    t, s = data.draw(steps(layout, schedule.num_levels))
    z, value, noise = (data.draw(latents(layout, dtype=torch.float64)) for _ in range(3))
    prediction = Prediction(value=value, kind="v", z=z, t=t, schedule=schedule, layout=layout)
    other = {"other": {"video": Gamma((float(schedule.num_levels),), (0.1,))}}
    for analytic, plain in (
        (AnalyticDPM(), DDPM()),
        (AnalyticDPM(other, "this"), DDPM()),
        (AnalyticDDIM(eta=0.5), DDIM(0.5)),
    ):
        made, expected = (
            sampler.step(z, t, s, denoise=lambda z, t: prediction, state={}, noise=lambda stream: noise)[0]
            for sampler in (analytic, plain)
        )
        for name in z:
            torch.testing.assert_close(made[name], expected[name])


def test_uneven_tables_are_refused():
    with pytest.raises(ValueError, match="expected a Gamma for each of 2 levels, got 1"):
        Gamma((1.0, 2.0), (0.5,))
