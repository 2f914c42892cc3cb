"""Every layer against its definition, written out."""

import itertools

import pytest
import torch
from mmseqdiff_magvit2.layers import AdaptiveNorm, CausalConv, FrameNorm, Upsample, depth_to_space, norm_groups
from torch._subclasses import FakeTensorMode

DOUBLE = torch.float64


def video(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


@pytest.mark.parametrize(("kernel", "stride"), [((3, 3, 3), (1, 1, 1)), ((4, 4, 4), (2, 2, 2)), ((4, 4, 4), (1, 2, 2))])
def test_a_causal_convolution_sees_edges_and_no_later_frame(kernel, stride):
    conv, x = CausalConv(2, 3, kernel, stride).to(DOUBLE), video(1, 5, 4, 6, 2)
    y = conv(x)
    assert y.shape == (1, 1 + 4 // stride[0], 4 // stride[1], 6 // stride[2], 3)
    for i, row, column in itertools.product(*map(range, y.shape[1:4])):
        expected = conv.bias.clone()
        for a, b, c in itertools.product(*map(range, kernel)):
            t = max(i * stride[0] - (kernel[0] - 1) + a, 0)
            r = min(max(row * stride[1] - (kernel[1] - 1) // 2 + b, 0), 3)
            q = min(max(column * stride[2] - (kernel[2] - 1) // 2 + c, 0), 5)
            expected = expected + conv.weight[:, :, a, b, c] @ x[0, t, r, q]
        torch.testing.assert_close(y[0, i, row, column], expected)


@pytest.mark.parametrize(
    ("channels", "groups"), [(128, 32), (256, 32), (512, 32), (64, 16), (24, 6), (16, 4), (8, 2), (3, 1)]
)
def test_norm_groups_are_the_official_ones_and_never_single_channels(channels, groups):
    assert norm_groups(channels) == groups


def test_a_norm_has_the_statistics_of_one_frame():
    x = 3 + video(2, 3, 4, 5, 8) * torch.arange(1, 4, dtype=DOUBLE)[:, None, None, None]
    y = FrameNorm(8).to(DOUBLE)(x).unflatten(-1, (2, 4))
    torch.testing.assert_close(y.mean((2, 3, 5)), torch.zeros(2, 3, 2, dtype=DOUBLE))
    torch.testing.assert_close(y.var((2, 3, 5), correction=0), torch.ones(2, 3, 2, dtype=DOUBLE), rtol=0, atol=1e-5)


def test_an_adaptive_norm_is_modulated_by_the_latent_of_its_own_place_and_time():
    norm, z = AdaptiveNorm(8, 3, (2, 2, 2)).to(DOUBLE), video(1, 3, 2, 2, 3)
    x = video(1, 5, 4, 4, 8, seed=1)  # two frames a latent, the first of which is dropped
    y = norm(x, z)
    plain = FrameNorm(8).to(DOUBLE)(x)
    for frame, row, column in itertools.product(range(5), range(4), range(4)):
        place = z[0, (frame + 1) // 2, row // 2, column // 2]
        expected = plain[0, frame, row, column] * (1 + norm.gain(place)) + norm.bias(place)
        torch.testing.assert_close(y[0, frame, row, column], expected)


def test_depth_to_space_reads_channels_as_time_row_column_channel():
    x = video(1, 2, 3, 2, 24)
    y = depth_to_space(x, (2, 2, 2))
    for frame, row, column, channel in itertools.product(range(4), range(6), range(4), range(3)):
        index = ((frame % 2 * 2 + row % 2) * 2 + column % 2) * 3 + channel
        assert y[0, frame, row, column, channel] == x[0, frame // 2, row // 2, column // 2, index]


@pytest.mark.parametrize("stride", [(2, 2, 2), (4, 2, 2), (1, 2, 2)])
def test_upsampling_drops_the_first_frames_and_so_shows_one_latent_as_its_last(stride):
    up, x = Upsample(4, (3, 3, 3), stride).to(DOUBLE), video(2, 3, 2, 3, 4)
    raw = depth_to_space(up.conv(x), stride)
    assert torch.equal(up(x), raw[:, stride[0] - 1 :])
    single = up(x[:, :1])
    assert single.shape[1] == 1
    torch.testing.assert_close(single[:, 0], raw[:, stride[0] - 1])
    # Dropping the last frames instead would pass every test of lengths and prefixes.
    assert stride[0] == 1 or not torch.allclose(single[:, 0], raw[:, 0])


@pytest.mark.parametrize("bias", [True, False])
def test_one_small_video_is_convolved_and_differentiated_as_one_of_two(bias):
    """PyTorch convolves a batch of two by oneDNN and one by a slow fallback, which is not used."""
    conv = CausalConv(3, 4, (3, 3, 3), (2, 2, 2), bias=bias)
    one = video(1, 5, 6, 4, 3).float().requires_grad_()
    two = one.detach().repeat(2, 1, 1, 1, 1).requires_grad_()
    torch.testing.assert_close(conv(one), conv(two)[:1])
    weights = list(conv.parameters())
    found = torch.autograd.grad(conv(one).square().sum(), [one, *weights])
    expected = torch.autograd.grad(conv(two).square().sum() / 2, [two, *weights])
    torch.testing.assert_close(found, [2 * expected[0][:1], *expected[1:]])
    if torch.backends.mkldnn.is_available():
        assert "Mkldnn" in type(conv(one).grad_fn.next_functions[0][0]).__name__ + type(conv(one).grad_fn).__name__


def test_what_is_no_plain_float32_video_on_a_cpu_is_convolved_as_ever():
    conv, x = CausalConv(3, 4, (3, 3, 3)), video(1, 5, 6, 4, 3).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert conv(x).dtype == torch.bfloat16
    with FakeTensorMode() as mode:
        fake = mode.from_tensor(x)
        assert CausalConv(3, 4, (3, 3, 3))(fake).shape == (1, 5, 6, 4, 4)
    assert conv.to("meta")(x.to("meta")).shape == (1, 5, 6, 4, 4)
    assert CausalConv(3, 4, (3, 3, 3)).to(DOUBLE)(x.to(DOUBLE)).dtype == DOUBLE
