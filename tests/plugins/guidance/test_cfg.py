"""Classifier-free guidance for free, in a world where the conditional and unconditional predictions are known."""

from fractions import Fraction

import attrs
import pytest
import torch
from gaussian_guidance import LAYOUT, PURE, WORLD, absent, situations
from hypothesis import assume, given
from hypothesis import strategies as st
from mmseqdiff_guidance.cfg import FreeGuidance

from mmseqdiff import random
from mmseqdiff.forward import Prediction, normal_latents
from mmseqdiff.layout import Layout, Track, uniform_edges
from mmseqdiff.protocols import Denoiser
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.testing.strategies import Arc, given_cells, keys, latents, layouts, timesteps


@pytest.mark.parametrize(
    ("options", "selected"),
    [
        ({}, [[1, 1, 0], [1, 1, 1], [1, 0, 0]]),
        ({"modalities": ("audio",)}, [[0, 0, 0], [1, 1, 1], [0, 0, 0]]),
        ({"modalities": ("audio", "pose")}, [[0, 0, 0], [1, 1, 1], [1, 0, 0]]),
        ({"start": Fraction(1)}, [[0, 1, 0], [0, 0, 1], [0, 0, 0]]),
        ({"modalities": ("video",), "stop": Fraction(1)}, [[1, 0, 0], [0, 0, 0], [0, 0, 0]]),
    ],
    ids=str,
)
@given(situation=situations(), scale=st.floats(0, 8), kind=st.sampled_from(["x0", "v", "velocity"]))
def test_guided_is_w_cond_minus_w_minus_1_uncond(options, selected, situation, scale, kind):
    """Eq. 17 with w = 1 + s, for the whole condition and the partial forms of Fig. 11, from closed forms."""
    given, t, z, keys = situation
    hidden = given & torch.tensor(selected, dtype=torch.bool)
    guided = FreeGuidance(scale, **options)(WORLD.denoiser(PURE, kind))(z, t, given=given, keys=keys)
    cond = WORLD.denoiser(PURE)(z, t, given=given, keys=keys)
    uncond = absent(hidden).denoiser(PURE)(z, t, given=given, keys=keys)
    assert guided.kind == kind
    for name, cells in LAYOUT.split(hidden).items():
        for wanted in ("epsilon", "x0", "v", "velocity"):
            one, other, made = (getattr(prediction, wanted)[name] for prediction in (cond, uncond, guided))
            free = ~cells
            expected = scale * one - (scale - 1) * other
            torch.testing.assert_close(made[:, free], expected[:, free], rtol=1e-5, atol=1e-5)
        assert torch.equal(guided.x0[name][:, cells], z[name][:, cells])


@given(situation=situations(), kind=st.sampled_from(["epsilon", "x0", "v", "velocity"]))
def test_scale_1_is_no_guidance_and_scale_0_none_of_the_condition(situation, kind):
    given, t, z, keys = situation
    denoiser = WORLD.denoiser(Arc(8), kind)
    plain = denoiser(z, t, given=given, keys=keys)
    same, without = (FreeGuidance(scale)(denoiser)(z, t, given=given, keys=keys) for scale in (1.0, 0.0))
    noise = normal_latents(LAYOUT, keys, "guidance", dtype=torch.float64)
    shown = {
        name: torch.where(cells.reshape(1, -1, *(1,) * (z[name].ndim - 2)), noise[name], z[name])
        for name, cells in LAYOUT.split(given).items()
    }
    renoised = denoiser(shown, torch.where(given, 8.0, t), given=given, keys=keys)
    for name, cells in LAYOUT.split(~given).items():
        assert torch.equal(same.value[name], plain.value[name])
        torch.testing.assert_close(without.value[name][:, cells], renoised.value[name][:, cells])


@attrs.define(eq=False)
class Recorder(Denoiser):
    """Predicts zero, and keeps what it was shown."""

    layout: Layout
    schedule: Arc = Arc(8)
    shown: list = attrs.field(factory=list)

    def __call__(self, z, t, *, given, keys, self_condition=None):
        self.shown.append((z, t, given, keys, self_condition))
        value = {name: torch.zeros_like(x) for name, x in z.items()}
        return Prediction(value=value, kind="v", z=z, t=t, schedule=self.schedule, layout=self.layout)


@given(data=st.data(), layout=layouts(), keys=keys(), conditioned=st.booleans())
def test_the_second_branch_hides_the_condition_and_its_self_condition(data, layout, keys, conditioned):
    given = data.draw(given_cells(layout))
    assume(given.any())
    t = torch.where(given, 0, data.draw(timesteps(layout, 8)))
    z, estimate = data.draw(latents(layout)), data.draw(latents(layout)) if conditioned else None
    recorder = Recorder(layout)
    guided = FreeGuidance(3.0)(recorder)
    for _ in range(2):
        guided(z, t, given=given, keys=keys, self_condition=estimate)
    (shown, levels, passed, both, condition), (again, *_) = recorder.shown
    assert torch.equal(levels[:2], t)
    assert torch.equal(levels[2:], torch.where(given, 8.0, t))
    assert torch.equal(passed, given)
    assert torch.equal(both, torch.cat([keys, keys]))
    assert (condition is None) == (not conditioned)
    noise = normal_latents(layout, keys, "guidance")
    for name, cells in layout.split(given).items():
        assert torch.equal(shown[name], again[name]), "the noise is fixed for a trajectory"
        assert torch.equal(shown[name][:2], z[name])
        assert torch.equal(shown[name][2:][:, ~cells], z[name][:, ~cells])
        assert torch.equal(shown[name][2:][:, cells], noise[name][:, cells])
        if conditioned:
            assert torch.equal(condition[name][:2], estimate[name])
            assert (condition[name][2:][:, cells] == 0).all()
            assert torch.equal(condition[name][2:][:, ~cells], estimate[name][:, ~cells])


def test_the_selected_stretch_of_avdits_clip():
    layout = Layout(
        [Track("video", [0, *(Fraction(1 + 4 * k, 8) for k in range(5))]), Track("audio", uniform_edges(106, 50))]
    )
    counts = {
        (): (5, 106), ("audio",): (0, 106), (Fraction(5, 8), None): (3, 75), (Fraction(0), Fraction(5, 8)): (2, 31),
    }  # fmt: skip
    for options, expected in counts.items():
        names = options if options == ("audio",) else None
        start, stop = options if options and names is None else (Fraction(0), None)
        selected = FreeGuidance(2.0, names, start, stop).selected(layout)
        assert tuple(selected.sum(1).tolist()) == expected
    with pytest.raises(KeyError, match="no modality 'pose'"):
        FreeGuidance(modalities=("pose",)).selected(layout)


def test_guidance_is_built_and_runs_with_a_sampler(host):
    from mmseqdiff.generate import generate

    task, plan = host.build("task", "a2v"), host.build("plan", "full", steps=3)
    layout = Layout(LAYOUT.tracks[:2])
    given = task.given(layout)
    world, keys = GaussianWorld.random(layout), random.example_keys(0, range(2))
    clean = world.sample(keys)
    guidance = host.build("guidance", "cfg", scale=2.0, modalities=["audio"])
    made = generate(
        guidance(world.denoiser(PURE, "v")), host.build("sampler", "ddim"), plan(layout, given, num_levels=8), keys,
        given=clean, dtype=torch.float64,
    )  # fmt: skip
    plain = generate(
        world.denoiser(PURE, "v"), host.build("sampler", "ddim"), plan(layout, given, num_levels=8), keys, given=clean,
        dtype=torch.float64,
    )  # fmt: skip
    assert torch.equal(made["audio"], clean["audio"])
    assert (made["video"] != plain["video"]).all()
