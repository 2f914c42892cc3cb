"""The network with its schedule, prediction kind and self-conditioning."""

import torch

from mmseqdiff.assembly import Assembly
from mmseqdiff.denoiser import NetworkDenoiser
from mmseqdiff.forward import normal_latents
from mmseqdiff.layout import Layout, Track, uniform_edges
from mmseqdiff.testing.tiny import tiny_recipe

LAYOUT = Layout([Track("a", uniform_edges(3, 1), (), 2)])


def test_the_network_sees_estimates_within_the_limit_and_none_as_none(host):
    seen = []

    def backbone(z, t, *, self_condition=None):
        seen.append(self_condition)
        return z

    denoiser = NetworkDenoiser(backbone, host.build("schedule", "linear"), LAYOUT, "v", 4.0)
    z, t = {"a": torch.zeros(1, 3, 2)}, torch.full((1, 1, 3), 1000.0)
    estimate = torch.tensor([[[-157.0, -4.0], [0.0, 3.9], [4.1, float("inf")]]])
    denoiser(z, t)
    denoiser(z, t, self_condition={"a": estimate})
    assert seen[0] is None
    assert seen[1]["a"].tolist() == [[[-4.0, -4.0], [0.0, torch.tensor(3.9).item()], [4.0, 4.0]]]


def test_a_network_that_was_trained_without_estimates_sees_none(host):
    torch.manual_seed(0)
    for rate, blind in ((0, True), (0.5, False)):
        made = Assembly.from_recipe(tiny_recipe(host, f"training.self_condition_rate={rate}"), host).denoiser
        z, t = normal_latents(made.layout, torch.arange(2), "z"), torch.full((2, made.layout.M, made.layout.N), 500.0)
        with torch.no_grad():
            for weight in made.backbone.parameters():  # the last layer starts at zero
                weight.normal_()
            plain, hinted = (made(z, t, self_condition=hint).value for hint in (None, z))
        assert all(torch.equal(plain[name], hinted[name]) for name in z) == blind
