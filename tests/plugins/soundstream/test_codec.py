"""Laws of the codec: causality, lengths, time, and its size at the published widths."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmseqdiff_soundstream.codec import SoundStream
from mmseqdiff_soundstream.layers import CausalConv, Downsampling, Upsampling
from torch.nn import functional

from mmseqdiff import protocols, random
from mmseqdiff.layout import Layout, Track

HOP = 320
FIELD = 5314  # samples that one latent sees
SEGMENTS = 24  # a little more than the field


def codec(**parameters) -> SoundStream:
    """A tiny codec in float64."""
    torch.manual_seed(0)
    return SoundStream(**{"channels": 2, "latent_channels": 3, **parameters}).double()


def sound(segments: int, batch: int = 1, seed: int = 1) -> torch.Tensor:
    return random.uniform(random.example_keys(seed, range(batch)), "sound", (segments * HOP,)) - 0.5


def influence(output: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """The places in the first example of ``source`` that ``output`` depends on."""
    (gradient,) = torch.autograd.grad(output.sum(), source, retain_graph=True)
    return gradient[0].reshape(source.shape[1], -1).abs().sum(-1).nonzero().flatten()


@pytest.mark.parametrize(
    ("channels", "latent_channels", "millions"),
    [
        (64, 1024, (21.5, 25.7, 47.2)),
        (32, 1024, (6.2, 8.3, 14.4)),
        (32, 512, (5.4, 6.4, 11.8)),
        (16, 256, (1.3, 1.6, 3.0)),
    ],
)
def test_parameters_at_published_widths(channels, latent_channels, millions):
    with torch.device("meta"):
        made = SoundStream(channels, latent_channels)
    counts = [sum(weight.numel() for weight in part.parameters()) for part in (made.encoder, made.decoder, made)]
    assert tuple(round(count / 1e6, 1) for count in counts) == millions


def test_is_a_codec():
    assert isinstance(codec(), protocols.Codec)


def test_a_prefix_has_the_prefix_of_the_latents_and_back():
    made, whole = codec(), sound(SEGMENTS)
    latents = made.encode(whole)
    waveform = made.decode(latents)
    for segments in (1, 2, 7, 23):
        torch.testing.assert_close(made.encode(whole[:, : segments * HOP]), latents[:, :segments], rtol=0, atol=1e-12)
        torch.testing.assert_close(
            made.decode(latents[:, :segments]), waveform[:, : segments * HOP], rtol=0, atol=1e-12
        )


def test_with_symmetric_padding_prefixes_differ(monkeypatch):
    def symmetric(self, x, past=None):
        return torch.nn.Conv1d.forward(self, functional.pad(x, (self.left // 2, self.left - self.left // 2)))

    monkeypatch.setattr(CausalConv, "forward", symmetric)
    made, whole = codec(), sound(SEGMENTS)
    latents = made.encode(whole)
    assert (made.encode(whole[:, : 7 * HOP]) - latents[:, :7]).abs().max() > 1e-6
    assert (made.decode(latents[:, :7]) - made.decode(latents)[:, : 7 * HOP]).abs().max() > 1e-6


def test_a_latent_sees_its_own_block_whole_and_nothing_later():
    whole = sound(SEGMENTS).requires_grad_()
    latents = codec().encode(whole)
    for segment in (0, 1, 20):
        seen = influence(latents[:, segment], whole)
        assert seen[-1] == HOP * (segment + 1) - 1
        assert seen[0] == max(0, HOP * (segment + 1) - FIELD)


def test_padded_by_kernel_less_one_a_latent_misses_the_rest_of_its_block(monkeypatch):
    def early(self, x, past):
        stride = self.stride[0]
        return functional.conv1d(functional.pad(x, (2 * stride - 1, 0)), self.weight, self.bias, stride)

    monkeypatch.setattr(Downsampling, "forward", early)
    whole = sound(SEGMENTS).requires_grad_()
    assert influence(codec().encode(whole)[:, 3], whole)[-1] == HOP * 3


def test_a_sample_sees_at_most_21_latents_and_none_later():
    made = codec()
    latents = made.encode(sound(40)).detach().requires_grad_()
    seen = influence(made.decode(latents)[:, 30 * HOP : 31 * HOP], latents)
    assert seen[-1] == 30
    assert 10 < 31 - seen[0] <= 21


def test_a_shift_by_a_hop_shifts_the_latents_by_one_after_17_frames():
    made, whole = codec(), sound(SEGMENTS)
    latents, later = made.encode(whole), made.encode(torch.cat([sound(1, seed=2), whole], dim=1))[:, 1:]
    torch.testing.assert_close(later[:, 17:], latents[:, 17:], rtol=0, atol=1e-12)
    assert (later[:, :16] - latents[:, :16]).abs().amax((0, 2)).min() > 0
    half = made.encode(torch.cat([sound(1, seed=2)[:, : HOP // 2], whole], dim=1))[:, 1:]
    assert (half[:, 17:] - latents[:, 17:-1]).abs().max() > 1e-3, "only whole hops are shifts of the latents"


@pytest.mark.parametrize("stride", [1, 2, 5, 8])
def test_changes_of_rate_are_strided_convolutions(stride):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 7 * stride, dtype=torch.float64)
    down, up = Downsampling(3, 4, stride).double(), Upsampling(3, 4, stride).double()
    strided = functional.conv1d(functional.pad(x, (stride, 0)), down.weight, down.bias, stride)
    torch.testing.assert_close(down(x), strided, rtol=0, atol=1e-12)
    spread = functional.conv_transpose1d(x, up.weight, up.bias, stride)[..., : stride * x.shape[-1]]
    torch.testing.assert_close(up(x), spread, rtol=0, atol=1e-12)


@pytest.mark.parametrize("channels", [8, 12, 16, 24])
def test_bfloat16_is_only_rounding(channels):
    torch.manual_seed(0)
    made, x = SoundStream(channels, 8), torch.randn(2, 4 * HOP)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = made.encode(x).float()
    exact = made.encode(x)
    assert (rounded - exact).norm() < 0.05 * (exact - exact.mean()).norm()


@given(length=st.integers(HOP, 12 * HOP), seed=st.integers(0, 9))
def test_lengths_are_whole_hops_and_the_rest_is_not_read(length, seed):
    made = codec(channels=1)
    whole = sound(12, seed=seed)[:, :length]
    latents = made.encode(whole)
    assert latents.shape == (1, length // HOP, 3) == (1, made.segments(length), 3)
    assert made.decode(latents).shape == (1, length // HOP * HOP)
    whole[:, length // HOP * HOP :] = 1
    assert torch.equal(made.encode(whole), latents)


def test_less_than_a_hop_is_refused():
    for refuses in (lambda: codec().segments(319), lambda: codec().encode(torch.zeros(1, 319, dtype=torch.float64))):
        with pytest.raises(ValueError, match="319 samples are too short .* 320 samples or more"):
            refuses()


def test_the_track_of_the_papers_clip():
    track = codec().track("audio", (34000,), Fraction(16000))
    assert track.segments == 106
    assert track.edges == tuple(Fraction(n, 50) for n in range(107))
    assert (track.grid, track.channels) == ((), 3)
    video = Track("video", [Fraction(0), *(Fraction(1 + 4 * n, 8) for n in range(5))])
    blocks = Layout([video, track]).correspondence()[1].bincount()
    assert blocks.tolist() == [6, 25, 25, 25, 25]


def test_other_strides_make_other_hops():
    made = codec(strides=(2, 3), sample_rate=600)
    assert made.encode(sound(1)).shape == (1, 320 // 6, 3)
    assert made.track("audio", (600,), Fraction(600)).edges[1] == Fraction(1, 100)


def test_the_waveform_is_clipped_but_the_latents_are_free():
    made = codec()
    assert made.decode(1e4 * torch.randn(1, 5, 3, dtype=torch.float64)).abs().max() == 1
    latents = made.encode(sound(3))
    made.encoder[-1].bias.data -= 5  # an activation after the last convolution would bend this
    torch.testing.assert_close(made.encode(sound(3)), latents - 5)


def test_requantising():
    made, whole = codec(quantizers=2, codebook_size=4), sound(20, batch=2)
    made.training_loss(whole, random.example_keys(0, range(2)))
    latents = made.encode(whole)
    nearest = made.quantizer.decode(made.quantizer.encode(latents))
    assert torch.equal(made.decode(latents, requantize=True), made.decode(nearest))
    with pytest.raises(ValueError, match="quantizers = 0"):
        codec().decode(latents, requantize=True)


def test_sound_of_another_rate_is_refused():
    """Its mel filters would stand at wrong frequencies, and nothing would say so."""
    with pytest.raises(ValueError, match="takes 16000 samples a second, not 24000"):
        codec().track("audio", (48000,), Fraction(24000))
