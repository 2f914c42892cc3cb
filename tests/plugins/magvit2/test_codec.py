"""MAGVIT-v2's promises: sizes, causality in both directions, still video, lengths."""

import copy
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseqdiff_magvit2 import layers
from mmseqdiff_magvit2.codec import Magvit2
from torch import nn

from mmseqdiff import random
from mmseqdiff.testing.strategies import keys


def codec(**parameters):
    torch.manual_seed(0)
    model = Magvit2(**{"channels": 8, "blocks": 1, "latent_channels": 3, **parameters}).double()
    with torch.no_grad():
        for weight in model.parameters():  # so that no gain is one and no bias zero
            weight += 0.1 * torch.randn_like(weight)
    return model.requires_grad_(False)


def clip(frames=9, batch=1, height=16, width=8):
    return torch.rand(batch, frames, height, width, 3, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize(
    ("parameters", "encoder", "decoder"),
    [
        ({}, 150.3, 225.5),
        ({"kernel": 3}, 144.9, 225.5),
        ({"channels": 64}, 37.6, 56.4),
        ({"channels": 64, "blocks": 2}, 19.4, 38.3),
    ],
)
def test_parameter_counts_are_the_official_ones(parameters, encoder, decoder):
    with torch.device("meta"):
        model = Magvit2(**parameters)
    millions = [sum(weight.numel() for weight in part.parameters()) / 1e6 for part in (model.encoder, model.decoder)]
    assert millions == pytest.approx([encoder, decoder], abs=0.05)


MODELS = {kernel: codec(kernel=kernel) for kernel in (3, 4)}


@pytest.mark.parametrize("kernel", [3, 4])
@pytest.mark.parametrize("latents", [1, 2, 3, 4])
def test_first_frames_give_first_latents_and_the_other_way_round(kernel, latents):
    model, x = MODELS[kernel], clip(13)
    frames = 1 + 4 * (latents - 1)
    z = model.encode(x)
    torch.testing.assert_close(model.encode(x[:, :frames]), z[:, :latents], rtol=0, atol=1e-10)
    y = model.decoder(z)
    assert y.shape == x.shape
    torch.testing.assert_close(model.decoder(z[:, :latents]), y[:, :frames], rtol=0, atol=1e-10)


def test_a_norm_over_time_would_break_the_promise_of_first_latents(monkeypatch):
    def norm_over_time(x, groups, weight=None, bias=None):
        return F.group_norm(x.movedim(-1, 1), groups, weight, bias, eps=1e-6).movedim(1, -1)

    monkeypatch.setattr(layers, "normalise_frames", norm_over_time)
    x = clip(13)
    assert (MODELS[4].encode(x[:, :5]) - MODELS[4].encode(x)[:, :2]).abs().max() > 1e-3


def test_a_latent_depends_on_its_own_last_frame_and_on_no_later_one():
    x = clip(9).requires_grad_()
    z = MODELS[4].encode(x)
    for n in range(3):
        (gradient,) = torch.autograd.grad(z[:, n].square().sum(), x, retain_graph=True)
        reach = gradient.abs().amax((0, 2, 3, 4))
        assert reach[4 * n] > 0
        assert torch.equal(reach[4 * n + 1 :], torch.zeros(8 - 4 * n).double())


def test_padding_in_the_middle_of_time_would_let_a_latent_see_later_frames(monkeypatch):
    def symmetric(self, x, past=None):
        time, height, width = self.kernel_size
        borders = ((width - 1) // 2, width // 2, (height - 1) // 2, height // 2, (time - 1) // 2, time // 2)
        return nn.Conv3d.forward(self, F.pad(x.movedim(-1, 1), borders, mode="replicate")).movedim(1, -1)

    monkeypatch.setattr(layers.CausalConv, "forward", symmetric)
    x = clip(9).requires_grad_()
    (gradient,) = torch.autograd.grad(MODELS[4].encode(x)[:, 1].square().sum(), x)
    assert gradient[:, 5:].abs().max() > 1e-6


def test_one_latent_is_shown_as_its_last_sub_frame_at_every_upsampler():
    model, seen = MODELS[4], []
    hooks = [
        up.register_forward_hook(lambda up, inputs, y: seen.append((up, inputs[0], y))) for up in model.decoder.ups
    ]
    model.decoder(MODELS[4].encode(clip(1)))
    for hook in hooks:
        hook.remove()
    assert [up.stride[0] for up, _, _ in seen] == [2, 2, 1]
    for up, x, y in seen:
        raw = layers.depth_to_space(up.conv(x), up.stride)
        assert torch.equal(y, raw[:, -1:])
        assert up.stride[0] == 1 or (y - raw[:, :1]).abs().max() > 1e-3


def test_keeping_the_first_frame_and_dropping_the_second_passes_every_test_of_prefixes_and_fails_that(monkeypatch):
    def other(self, x, past=None):
        y = layers.depth_to_space(self.conv(x), self.stride)
        return y if self.stride[0] == 1 else torch.cat([y[:, :1], y[:, 2:]], dim=1)

    model, z = MODELS[4], MODELS[4].encode(clip(9))
    right = model.decoder(z[:, :1])
    monkeypatch.setattr(layers.Upsample, "forward", other)
    y = model.decoder(z)
    torch.testing.assert_close(model.decoder(z[:, :2]), y[:, :5], rtol=0, atol=1e-10)
    torch.testing.assert_close(model.decoder(z[:, :1]), y[:, :1], rtol=0, atol=1e-10)
    assert (y[:, :1] - right).abs().max() > 1e-3


def test_a_still_video_has_equal_latents():
    z = MODELS[4].encode(clip(1).expand(-1, 13, -1, -1, -1))
    assert (z - z[:, :1]).abs().max() < 1e-12


def test_padding_with_zeros_would_break_the_promise_of_still_video(monkeypatch):
    pad = F.pad
    monkeypatch.setattr(F, "pad", lambda x, borders, mode: pad(x, borders))
    z = MODELS[4].encode(clip(1).expand(-1, 13, -1, -1, -1))
    assert (z - z[:, :1]).abs().max() > 1e-3


@given(length=st.integers(-3, 40))
def test_lengths_are_one_and_a_multiple_of_four(length):
    model = MODELS[4]
    if length >= 1 and length % 4 == 1:
        assert model.segments(length) == (length + 3) // 4
    else:
        below = max(1, (length - 1) // 4 * 4 + 1)
        with pytest.raises(ValueError, match=f"nearest are {below} and {below + 4}"):
            model.segments(length)


def test_the_clip_of_the_paper_lies_on_the_timeline_as_the_paper_says():
    with torch.device("meta"):
        track = Magvit2(channels=8).track("video", (17, 128, 128, 3), Fraction(8))
    assert track.edges == tuple(Fraction(n, 8) for n in (0, 1, 5, 9, 13, 17))
    assert track.shape == (5, 16, 16, 8)


def test_pictures_and_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="60 x 64 .* multiples of 8"):
        MODELS[4].track("video", (17, 60, 64, 3), Fraction(8))
    with pytest.raises(ValueError, match="one entry between"):
        Magvit2(channels=8, blocks=1, temporal_downsample=(True, True))
    with pytest.raises(ValueError, match="16 x 12 .* multiples of 8"):
        MODELS[4].encode(clip(1, height=16, width=12))
    with pytest.raises(ValueError, match="nearest are 5 and 9"):
        MODELS[4].encode(clip(8))


def test_decoded_pictures_are_clipped_and_the_training_loss_sees_them_unclipped():
    model, x = codec(), torch.zeros(1, 1, 16, 8, 3).double()
    model.decoder.output.weight.zero_()
    model.decoder.output.bias.fill_(-2.0)
    assert torch.equal(model.decode(model.encode(x)), x)
    terms = model.training_loss(x, torch.tensor([0]))
    assert {name: float(term) for name, term in terms.items()} == {"reconstruction": 5 * 4.0}


def test_edges_have_a_weight_and_shade_does_not_count_as_one():
    model, x = codec(edge_weight=3.0), torch.zeros(1, 1, 16, 8, 3).double()
    x[:, :, :, 4:] = 1  # one upright edge in seven differences of columns
    model.decoder.output.weight.zero_()
    terms = model.training_loss(x, torch.tensor([0]))
    assert float(terms["edge"]) == pytest.approx(3 * (1 / 7) / 2)


def test_motion_has_a_weight_and_what_stands_still_does_not_count_as_one():
    model = codec(motion_weight=3.0)
    model.decoder.output.weight.zero_()
    still, moving = (torch.full((1, 5, 8, 8, 3), 0.7).double() for _ in range(2))
    moving[:, 2:] = 0.2  # one change of a half in four
    terms = [model.training_loss(x, torch.tensor([0])) for x in (still, moving)]
    assert [float(term["motion"]) for term in terms] == pytest.approx([0, 3 * 0.5 / 4])
    assert "motion" not in model.training_loss(still[:, :1], torch.tensor([0]))  # one frame does not move


@settings(max_examples=5)
@given(drawn=keys(2))
def test_latent_noise_follows_from_the_keys_and_scales_with_the_latents(drawn):
    model, x = codec(latent_noise=0.3), clip(5, batch=2)
    terms = model.training_loss(x, drawn)
    z = model.encode(x)
    noise = random.normal(drawn, "latent_noise", z.shape[1:], z.dtype)
    expected = 5 * (model.decoder(z + 0.3 * z.std((0, 1, 2, 3)) * noise) - x).square().mean()
    torch.testing.assert_close(terms["reconstruction"], expected)
    assert not torch.equal(expected, 5 * (model.decoder(z) - x).square().mean())


def test_a_few_steps_of_training_lower_the_loss_and_every_weight_takes_part():
    model = copy.deepcopy(MODELS[4]).requires_grad_(True).float()
    optimiser, x = torch.optim.Adam(model.parameters(), lr=2e-3), clip(5).float()
    losses = []
    for _ in range(10):
        optimiser.zero_grad()
        loss = sum(model.training_loss(x, torch.tensor([0])).values())
        loss.backward()
        losses.append(loss.item())
        optimiser.step()
    assert losses[-1] < 0.6 * losses[0]
    assert all(weight.grad.abs().max() > 0 for weight in model.parameters())
