"""The conditional loss in a world where it is known in closed form."""

import pytest
import torch
from mmseqdiff_noise.schedules import linear

from mmseqdiff import random
from mmseqdiff.evaluate.conditional import conditional_losses
from mmseqdiff.evaluate.paired import PairedTest
from mmseqdiff.layout import Layout, Track
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.timesteps import expand

LAYOUT = Layout([Track("video", [0, 1, 2], (2,), 2), Track("audio", [0, "1/2", 1, "3/2", 2], (), 2)])
CLIPS = 96
LEVELS = (300.0, 700.0)
KEYS = random.example_keys(0, range(CLIPS))
GIVEN = LAYOUT.stack({"video": torch.tensor([True, False]), "audio": torch.ones(4, dtype=torch.bool)})


def losses(coupling, **changed):
    world = GaussianWorld.random(LAYOUT, seed=3, coupling=coupling)
    z0 = world.sample(random.fold(KEYS, "clips"))
    schedule = linear()
    denoiser = changed.pop("denoiser", world.denoiser(schedule))
    own, other = conditional_losses(denoiser, z0, changed.pop("conditions", z0), GIVEN, LEVELS, KEYS, **changed)
    return world, schedule, z0, own, other


def test_a_model_that_uses_its_condition_is_found_out_and_its_loss_is_the_bayes_risk():
    world, schedule, _, own, other = losses(coupling=2.0)
    for k, level in enumerate(LEVELS):
        assert PairedTest(own[:, k].tolist(), other[:, k].tolist(), "lower").p_value < 1e-6
        t = torch.where(LAYOUT.valid & ~GIVEN, level, 0.0).double()[None]
        free = world.coordinates((LAYOUT.valid & ~GIVEN).double()) > 0
        risk = world.posterior_covariance(t, schedule)[0].diagonal()[free].mean()
        assert own[:, k].mean().item() == pytest.approx(risk.item(), rel=0.2)


def test_a_model_whose_condition_says_nothing_is_not_found_significant():
    _, _, _, own, other = losses(coupling=0.0)
    assert (own - other).abs().max() < 1e-5
    assert PairedTest(own.mean(1).tolist(), other.mean(1).tolist(), "lower").p_value > 0.05


def test_given_cells_come_from_the_conditions_and_only_these():
    world = GaussianWorld.random(LAYOUT, seed=3, coupling=2.0)
    z0 = world.sample(random.fold(KEYS, "clips"))
    shown = []

    class Spy(type(world.denoiser(linear()))):
        def __call__(self, z, t, **options):
            shown.append((z, options["keys"]))
            return super().__call__(z, t, **options)

    conditions = {
        name: torch.full_like(values, 7.0) + torch.arange(CLIPS).reshape(-1, *(1,) * (values.ndim - 1))
        for name, values in z0.items()
    }
    losses(coupling=2.0, denoiser=Spy(world, linear()), conditions=conditions, batch_size=CLIPS)
    for n, (z, _) in enumerate(shown):
        clip = torch.arange(CLIPS) if n % 4 < 2 else torch.arange(CLIPS).roll(-1)
        for name, cells in LAYOUT.split(GIVEN).items():
            expected = (7.0 + clip).double().reshape(-1, *(1,) * (z[name].ndim - 1)).expand_as(z[name])
            mask = expand(cells[None].double(), z[name]).expand_as(z[name]) > 0
            assert torch.equal(z[name].double()[mask], expected[mask])
            assert not (z[name].double() == expected)[~mask].any()


def test_batches_change_nothing():
    *_, own, other = losses(coupling=1.0)
    *_, again, likewise = losses(coupling=1.0, batch_size=40)
    torch.testing.assert_close(own, again)
    torch.testing.assert_close(other, likewise)
