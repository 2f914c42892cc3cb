"""The mel distance."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmseqdiff_soundstream.losses import SCALES, MelDistance, mel_filters
from scipy.signal import get_window

from mmseqdiff import random


def sounds(batch=2, samples=4000, seed=0):
    return 0.1 * random.normal(random.example_keys(seed, range(batch)), "sound", (samples,))


def test_no_filter_is_empty():
    distance = MelDistance(16000)
    for scale in SCALES:
        assert (distance.get_buffer(f"filters_{scale}").sum(0) > 0).all()
    # without zero-padding the shortest windows have empty ones
    assert [int((mel_filters(scale, 64, 16000).sum(0) == 0).sum()) for scale in (64, 128, 256)] == [20, 7, 1]


@given(rate=st.integers(8000, 48000), mels=st.integers(8, 80))
def test_neighbouring_filters_sum_to_one(rate, mels):
    filters = mel_filters(2048, mels, rate)
    total, peak = filters.sum(-1), filters.argmax(0)
    assert torch.equal(peak, peak.sort().values)
    torch.testing.assert_close(total[peak[0] + 1 : peak[-1]], torch.ones(peak[-1] - peak[0] - 1))
    assert total[0] == 0


@pytest.mark.parametrize("scale", [64, 512, 2048])
def test_spectrogram_is_that_of_numpy(scale):
    x = sounds(1)[0].double().numpy()
    points, hop = max(512, scale), scale // 4
    mel = lambda f: 2595 * math.log10(1 + f / 700)
    marks = np.linspace(0, mel(8000), 66)
    heights = [
        np.interp(mel(8000 * k / (points // 2)), marks[i : i + 3], [0, 1, 0])
        for k in range(points // 2 + 1)
        for i in range(64)
    ]
    padded = np.pad(x, scale // 2)
    frames = np.stack([padded[at : at + scale] for at in range(0, len(x) + 1, hop)]) * get_window("hann", scale)
    expected = np.abs(np.fft.rfft(frames, points)) @ np.reshape(heights, (-1, 64))
    found = MelDistance(16000).spectrogram(torch.from_numpy(x)[None].float(), scale)[0]
    # Filters are straight lines in hertz and the oracle's in mel: that is all that differs.
    assert found.shape == expected.shape
    assert np.abs(found.numpy() - expected).max() < 0.02 * expected.max()


def test_equal_sounds_have_distance_zero_and_no_gradient():
    x, y = sounds(), sounds().requires_grad_()
    distance = MelDistance(16000)(x, y)
    assert torch.equal(distance, torch.zeros(2))
    distance.sum().backward()
    assert torch.equal(y.grad, torch.zeros_like(x))


def test_distance_is_the_formula_and_each_examples_own():
    x, y = sounds(), sounds(seed=1)
    distance = MelDistance(16000)
    expected = 0.0
    for s in SCALES:
        a, b = (distance.spectrogram(sound[:1], s)[0].double().clamp(min=0.01) for sound in (x, y))
        frames = zip(a, b)
        expected += np.mean(
            [(p - q).abs().sum() + (s / 2) ** 0.5 * (p / q).log().square().sum() ** 0.5 for p, q in frames]
        )
    found = distance(x, y)
    assert found[0].item() == pytest.approx(expected, rel=1e-4)
    assert found[1].item() == pytest.approx(distance(x[1:], y[1:]).item(), rel=1e-5)
