"""A plugin's object that returns something of a wrong shape is named, with its distribution, where it returned it."""

from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

import attrs
import pytest
import torch
from torch import nn

from mmseqdiff import random
from mmseqdiff.denoiser import NetworkDenoiser
from mmseqdiff.errors import PluginError
from mmseqdiff.evaluate.samples import measure_samples
from mmseqdiff.generate import generate
from mmseqdiff.layout import Layout, Track, uniform_edges
from mmseqdiff.modality import Modality
from mmseqdiff.origin import origin
from mmseqdiff.pipeline import plan_task
from mmseqdiff.protocols import Comparison, Sampler, Task, TimestepPolicy
from mmseqdiff.recipe import load_recipe
from mmseqdiff.testing.audiovisual import audiovisual_world
from mmseqdiff.train.objective import DenoisingObjective

WORLD = audiovisual_world()
LAYOUT, KEYS = WORLD.layout, random.example_keys(0, range(2))
HERE = __name__


class FlatPolicy(TimestepPolicy):
    def sample(self, layout, keys, *, num_levels):
        return torch.ones(len(keys), layout.N)


class ShortTask(Task):
    def given(self, layout):
        return layout.valid[:, :-1]


class Stretches(Sampler):
    evaluations = 1

    def step(self, z, t, s, *, denoise, state, noise):
        return {name: torch.cat([value, value]) for name, value in z.items()}, state


class Forgets(nn.Module):
    def forward(self, z, t, *, self_condition=None):
        return {"video": z["video"]}


class Codec(nn.Module):
    def segments(self, length):
        return length

    def track(self, modality, shape, rate):
        return Track(modality, uniform_edges(shape[0], rate), (), 1)

    def encode(self, signal):
        return signal[:, 1:, None]

    def decode(self, latents):
        return latents[..., 0]


class Format:
    stream, rate = None, Fraction(4)

    def shape(self, seconds):
        return (int(seconds * 4),)

    def read(self, path, start, seconds):
        return torch.zeros(3)


class Empty:
    better = MappingProxyType({"agreement": "higher"})

    def __call__(self, comparison):
        return {"agrement": 1.0}


@pytest.fixture(scope="module")
def schedule(host):
    return host.build("schedule", "linear")


@pytest.fixture(scope="module")
def plan(host, schedule):
    return host.build("plan", "full", steps=2)(LAYOUT, torch.zeros_like(LAYOUT.valid), num_levels=schedule.num_levels)


def test_a_policy(host, schedule):
    network = host.build("backbone", "avdit", layout=LAYOUT, layers=1, dimension=16, heads=2)
    objective = DenoisingObjective(NetworkDenoiser(network, schedule, LAYOUT), FlatPolicy())
    with pytest.raises(
        PluginError, match=rf"{HERE}.FlatPolicy returned timesteps with shape \(2, 12\), expected \(2, 2, 12\)"
    ):
        objective(WORLD.sample(KEYS), KEYS)


def test_a_task(host, schedule):
    recipe = load_recipe(host, "avdit-demo")
    with pytest.raises(
        PluginError, match=rf"{HERE}.ShortTask returned given cells with shape \(2, 11\), expected \(2, 12\)"
    ):
        plan_task(recipe, host, LAYOUT, schedule, ShortTask())


def test_a_sampler(schedule, plan):
    with pytest.raises(
        PluginError, match=rf"{HERE}.Stretches returned latents of 'video' with shape \(4, 5, 8\), expected \(2, 5, 8\)"
    ):
        generate(WORLD.denoiser(schedule), Stretches(), plan, KEYS, dtype=torch.float64)


def test_a_network(schedule):
    denoiser = NetworkDenoiser(Forgets(), schedule, LAYOUT)
    z = {track.modality: torch.zeros(2, *track.shape) for track in LAYOUT.tracks}
    with pytest.raises(
        PluginError, match=rf"{HERE}.Forgets returned a prediction of \['video'\], expected \['audio', 'video'\]"
    ):
        denoiser(z, torch.ones(2, 2, 12))


def test_a_guided_denoiser(host, schedule, plan):
    @attrs.frozen(eq=False)
    class Drops:
        denoiser: object
        layout: Layout = LAYOUT

        @property
        def schedule(self):
            return schedule

        def __call__(self, z, t, **others):
            prediction = self.denoiser(z, t, **others)
            return prediction.with_value({name: value[:, :1] for name, value in prediction.value.items()})

    with pytest.raises(PluginError, match=r"Drops returned a prediction of 'video' with shape \(2, 1, 8\)"):
        generate(Drops(WORLD.denoiser(schedule)), host.build("sampler", "ddim"), plan, KEYS, dtype=torch.float64)


def test_a_codec_and_a_format():
    modality = Modality(Codec(), Format())
    with pytest.raises(
        PluginError, match=rf"{HERE}.Codec returned latents with shape \(2, 7, 1\), expected \(2, 8, 1\)"
    ):
        modality.encode(torch.zeros(2, 8))
    with pytest.raises(
        PluginError, match=rf"{HERE}.Format returned a signal of a.wav with shape \(3,\), expected \(8,\)"
    ):
        modality.read(Path("a.wav"), Fraction(0), Fraction(2))


def test_a_metric():
    comparison = Comparison(generated={}, real={}, given={}, rates={}, file=Path("a.mp4"), start=Fraction(0))
    with pytest.raises(PluginError, match=rf"{HERE}.Empty returned \['agrement'\], expected \['agreement'\]"):
        measure_samples({"empty": Empty()}, [comparison, comparison])


def test_what_an_installed_distribution_brought_names_it(host):
    assert (
        origin(host.build("sampler", "ddim"))
        == "mmseqdiff_samplers.ddim.DDIM, plugin 'samplers' of mmseqdiff-samplers 0.1.0,"
    )
