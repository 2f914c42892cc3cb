"""The network with its schedule, prediction kind and self-conditioning."""

import torch

from mmseqdiff.denoiser import NetworkDenoiser
from mmseqdiff.layout import Layout, Track, uniform_edges

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
