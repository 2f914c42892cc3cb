from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmseqdiff.data.audio import AudioFormat
from mmseqdiff.layout import Track, uniform_edges
from mmseqdiff.modality import Modality, Statistics
from mmseqdiff.protocols import Codec


class Blocks(torch.nn.Module):
    """Four samples are one latent of four channels, doubled; lengths are multiples of four."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(2.0))

    def segments(self, length):
        if length % 4:
            raise ValueError(f"a multiple of 4 samples is needed, not {length}")
        return length // 4

    def track(self, modality, shape, rate):
        return Track(modality, uniform_edges(self.segments(shape[0]), rate / 4), channels=4)

    def encode(self, signal):
        return self.gain * signal.unflatten(1, (-1, 4))

    def decode(self, latents):
        return (latents / self.gain).flatten(1)


STATISTICS = Statistics(torch.tensor([0.0, 1.0, -100.0, 3.0]), torch.tensor([1.0, 1e-3, 50.0, 0.0]))


def modality(statistics=None):
    assert isinstance(Blocks(), Codec)
    return Modality(Blocks(), AudioFormat(8), statistics)


def test_the_track_follows_from_format_and_codec():
    track = modality().track("hum", Fraction(3))
    assert (track.modality, track.shape) == ("hum", (6, 4))
    assert track.edges == uniform_edges(6, 2)
    with pytest.raises(ValueError, match="multiple of 4"):
        modality().track("hum", Fraction(5, 4))


def test_latents_are_raw_without_statistics_and_normalised_with_them():
    signal = torch.randn(2, 24, generator=torch.Generator().manual_seed(0))
    raw = 2 * signal.unflatten(1, (-1, 4))
    assert torch.equal(modality().encode(signal), raw)
    normalised = modality().with_statistics(STATISTICS)
    assert torch.equal(normalised.encode_raw(signal), raw)
    expected = torch.stack([raw[..., 0], (raw[..., 1] - 1) / 1e-3, (raw[..., 2] + 100) / 50, raw[..., 3] - 3], dim=-1)
    assert torch.allclose(normalised.encode(signal), expected)  # a constant channel is only shifted
    assert torch.allclose(normalised.decode(normalised.encode(signal)), signal, atol=1e-5)
    assert not normalised.encode(signal).requires_grad
    assert not normalised.decode(raw).requires_grad


def test_what_is_not_known_does_not_reach_the_codec():
    known = [(Fraction(1, 2), Fraction(1)), (Fraction(2), Fraction(5, 2))]
    signal = torch.randn(1, 24)
    other = torch.where((torch.arange(24) // 4 == 1) | (torch.arange(24) // 4 == 4), signal, torch.randn(1, 24))
    for encode in (modality().encode, modality().encode_raw):
        assert torch.equal(encode(signal, known), encode(other, known))
        assert not torch.equal(encode(signal), encode(other))
    assert not modality().encode(signal, []).any()


numbers = st.floats(-1e6, 1e6, width=32)


@settings(deadline=None)
@given(
    channels=st.lists(st.tuples(numbers, st.just(0.0) | st.floats(2**-20, 2**20, width=32)), min_size=1, max_size=5),
    seed=st.integers(0, 1000),
)
def test_normalising_is_undone_up_to_rounding(channels, seed):
    mean, std = torch.tensor(channels, dtype=torch.float32).unbind(1)
    statistics = Statistics(mean, std)
    z = torch.randn(3, 2, len(channels), generator=torch.Generator().manual_seed(seed))
    raw = mean + z * std
    normalised = statistics.normalise(raw)
    assert normalised.isfinite().all()
    assert ((statistics.denormalise(normalised) - raw).abs() <= 1e-6 * (mean.abs() + raw.abs() + std)).all()


def test_statistics_are_checked():
    with pytest.raises(ValueError, match="one number per channel"):
        Statistics(torch.zeros(2), torch.ones(3))
    with pytest.raises(ValueError, match="finite"):
        Statistics(torch.zeros(2), torch.tensor([1.0, float("nan")]))
    with pytest.raises(ValueError, match="not negative"):
        Statistics(torch.zeros(2), torch.tensor([1.0, -1.0]))
