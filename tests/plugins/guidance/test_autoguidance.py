"""Autoguidance with two exact denoisers, and with a run's checkpoint."""

import math

import attrs
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseqdiff_guidance.autoguidance import Autoguidance, AutoguidedDenoiser

from mmseqdiff.assembly import Assembly
from mmseqdiff.denoiser import WrappedDenoiser
from mmseqdiff.errors import UserError
from mmseqdiff.modality import Statistics
from mmseqdiff.protocols import Guidance
from mmseqdiff.testing.cellwise import CellwiseDenoiser
from mmseqdiff.testing.contracts import GuidanceContract
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.testing.strategies import Arc, given_cells, keys, latents, layouts, schedules, timesteps
from mmseqdiff.train import checkpoint
from mmseqdiff.train.codec_folder import save_codec
from mmseqdiff.train.run import describe, with_statistics


@attrs.frozen
class Away(Guidance):
    """Autoguidance from a denoiser that is at hand."""

    weak: object
    scale: float = 2.0

    def __call__(self, denoiser):
        return AutoguidedDenoiser(denoiser, self.weak, Autoguidance("at hand", self.scale))


@settings(max_examples=10)
@given(data=st.data(), layout=layouts(), schedule_=schedules(), keys=keys(), scale=st.floats(0, 4))
def test_the_guided_mean_moves_away_from_the_weak_one(data, layout, schedule_, keys, scale):
    """Both posterior means are known: w times the good one, w − 1 times the weak one less."""
    good, weak = (GaussianWorld.random(layout, seed).denoiser(schedule_, "v") for seed in (1, 2))
    cells = data.draw(given_cells(layout))
    t = torch.where(cells, 0, data.draw(timesteps(layout, schedule_.num_levels, dtype=torch.float64)))
    z = data.draw(latents(layout, dtype=torch.float64))
    guided = Away(weak, scale)(good)(z, t, given=cells, keys=keys).x0
    for name, levels in layout.split(t).items():
        one, other = (d.world.posterior_mean(z, t, schedule_)[name] for d in (good, weak))
        moving = levels > 0
        expected = scale * one[moving] - (scale - 1) * other[moving]
        torch.testing.assert_close(guided[name][moving], expected, rtol=1e-5, atol=1e-5)


@attrs.frozen(eq=False)
class Rounded(WrappedDenoiser):
    """A denoiser whose predictions are in the precision of the latents."""

    denoiser: object

    def __call__(self, z, t, **rest):
        prediction = self.denoiser(z, t, **rest)
        return prediction.with_value({name: value.to(z[name].dtype) for name, value in prediction.value.items()})


class AwayFromAWorld(Guidance):
    """Autoguidance from the exact denoiser of another world, over any layout."""

    def evaluations(self, layout, given):
        return 1  # of the good one

    def __call__(self, denoiser):
        exact = GaussianWorld.random(denoiser.layout).denoiser(denoiser.schedule, denoiser.kind)
        return Away(Rounded(exact))(denoiser)


class TestAutoguidance(GuidanceContract):
    def build(self):
        return AwayFromAWorld()


def test_models_that_mean_something_else_are_refused():
    layout = tiny_layout(2)
    good = CellwiseDenoiser(layout, Arc(8, math.pi / 2), "v")
    for weak, message in (
        (CellwiseDenoiser(tiny_layout(3), good.schedule), r"layout is video \(3, 1\), expected video \(2, 1\)"),
        (CellwiseDenoiser(layout, Arc(8, 1.5)), "another noise schedule"),
        (CellwiseDenoiser(layout, Arc(9, math.pi / 2)), "another noise schedule"),
    ):
        with pytest.raises(ValueError, match=message):
            Away(weak)(good)
    nothing, key = torch.zeros(1, 2, dtype=torch.bool), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(UserError, match="the weak model predicts x0, the other one v"):
        Away(attrs.evolve(good, kind="x0"))(good)(
            {"video": torch.zeros(1, 2, 1)}, torch.ones(1, 1, 2), given=nothing, keys=key
        )


def tiny_layout(segments):
    from mmseqdiff.layout import Layout, Track, uniform_edges

    return Layout([Track("video", uniform_edges(segments, 1))])


def test_a_checkpoint_of_a_run_is_the_weak_model(host, tmp_path):
    recipe = tiny.tiny_recipe(host)
    torch.manual_seed(0)
    runs = [Assembly.from_recipe(recipe, host) for _ in range(2)]
    sizes = {track.modality: track.channels for track in runs[0].layout.tracks}
    statistics = {name: Statistics(torch.zeros(size), torch.ones(size)) for name, size in sizes.items()}
    runs = [with_statistics(assembly, statistics) for assembly in runs]
    for network in runs[1].backbone.parameters():
        network.data += 0.1
    hashes = {}
    for name, modality in runs[0].modalities.items():
        save_codec(modality.codec, tmp_path / "codecs" / name, {"modality": name})
        hashes[name] = checkpoint.codec_hash(modality.codec)
    for step, assembly in enumerate(runs, 1):
        state = {"ema": assembly.backbone.state_dict()}
        checkpoint.save(tmp_path / "checkpoints", step, state, describe(assembly, hashes))
    good = Assembly.from_recipe(recipe, host).denoiser
    layout = good.layout
    z = {track.modality: torch.randn(1, *track.shape) for track in layout.tracks}
    t, nothing = layout.valid.float()[None] * 500, torch.zeros_like(layout.valid)
    key = torch.zeros(1, dtype=torch.int64)
    for step, options in ((1, {"step": 1}), (2, {})):
        guidance = host.build("guidance", "autoguidance", model=str(tmp_path), scale=3.0, **options)
        with torch.no_grad():
            made = guidance(good)(z, t, given=nothing, keys=key)
            plain, weak = (d(z, t) for d in (good, runs[step - 1].denoiser))
        for name in z:
            expected = 3 * plain.value[name] - 2 * weak.value[name]
            torch.testing.assert_close(made.value[name], expected, rtol=1e-4, atol=1e-4)
    meant = {key: describe(runs[0], hashes)[key] for key in ("codecs", "statistics")}
    Autoguidance(str(tmp_path))(attrs.evolve(good, latents=meant))
    meant["statistics"] = {**meant["statistics"], "video": {**meant["statistics"]["video"], "std": [2.0]}}
    with pytest.raises(UserError, match=r"trained on other latents: statistics\.video\.std is"):
        Autoguidance(str(tmp_path))(attrs.evolve(good, latents=meant))
    with pytest.raises(UserError, match="has no checkpoint of step 7"):
        Autoguidance(str(tmp_path), step=7)(good)
    with pytest.raises(UserError, match=r"autoguidance by .*: the weak model's layout is"):
        Autoguidance(str(tmp_path))(CellwiseDenoiser(tiny_layout(2), good.schedule))
