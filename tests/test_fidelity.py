"""How near a reconstruction is to its signal, in numbers whose values are known."""

import math

import pytest
import torch
from encoding import Numbers
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mmseqdiff import random
from mmseqdiff.data.audio import AudioFormat
from mmseqdiff.data.video import VideoFormat
from mmseqdiff.fidelity import fidelity

VIDEO, AUDIO = VideoFormat(rate=8, height=16, width=24), AudioFormat(rate=16000)


class Peak(nn.Module):
    """A codec of nothing that reports something of its own, of a batch."""

    def reconstruction_quality(self, signal, reconstruction):
        assert len(signal) == len(reconstruction) == 1
        return {"peak": reconstruction.flatten(1).amax(1)}


CODEC = Peak()


def pictures(frames=3, seed=0):
    return torch.rand(frames, 16, 24, 3, generator=torch.Generator().manual_seed(seed))


@given(error=st.floats(1e-3, 0.3))
def test_a_constant_error_has_the_decibels_of_its_square(error):
    x = pictures() * 0.5
    assert fidelity(CODEC, VIDEO, x, x + error)["psnr"] == pytest.approx(-20 * math.log10(error), abs=1e-3)


def test_similarity_of_flat_pictures_is_that_of_their_brightness():
    """Where nothing varies, the structure's part is 1: (2 a b + c) / (a² + b² + c), c = 0.01²."""
    a, b = 0.3, 0.6
    found = fidelity(CODEC, VIDEO, torch.full((2, 16, 24, 3), a), torch.full((2, 16, 24, 3), b))["ssim"]
    assert found == pytest.approx(
        (2 * a * b + 1e-4) / (a * a + b * b + 1e-4), abs=1e-3
    )  # it is computed in float32, as a difference of squares
    x = pictures()
    assert fidelity(CODEC, VIDEO, x, x)["ssim"] == pytest.approx(1, abs=1e-5)
    assert fidelity(CODEC, VIDEO, x, pictures(seed=1))["ssim"] < 0.5


@given(gain=st.floats(0.2, 5), decibels=st.floats(-10, 30))
def test_distortion_knows_neither_gain_nor_offset(gain, decibels):
    x, noise = random.normal(random.example_keys(0, range(2)), "sound", (4000,), torch.float64)
    x, noise = x - x.mean(), noise - noise.mean()
    noise = noise - x * (noise @ x) / (x @ x)
    noise = noise * x.norm() / noise.norm() * 10 ** (-decibels / 20)
    assert fidelity(CODEC, AUDIO, x, gain * (x + noise) + 0.3)["si_sdr"] == pytest.approx(decibels, abs=1e-3)


def test_where_nothing_is_lost_decibels_are_a_number():
    assert fidelity(CODEC, VIDEO, pictures(), pictures())["psnr"] == 150


def test_pictures_smaller_than_the_window_have_no_similarity():
    x = pictures()[:, :5]
    assert set(fidelity(CODEC, VIDEO, x, x / 2)) == {"psnr", "peak"}


def test_what_a_codec_reports_itself_stands_beside_the_formats():
    x = torch.tensor([0.0, 0.1, 0.2, 0.4])
    assert fidelity(CODEC, Numbers(), x, x + 0.5) == pytest.approx({"mse": 0.25, "peak": 0.9})
    assert list(fidelity(CODEC, AUDIO, x, x / 2)) == ["si_sdr", "peak"]


class Stern(nn.Module):
    def reconstruction_quality(self, signal, reconstruction):
        return {"si_sdr": torch.tensor([-1.0])}


def test_a_codecs_own_number_takes_the_place_of_one_of_the_same_name():
    assert fidelity(Stern(), AUDIO, torch.ones(4), torch.ones(4)) == {"si_sdr": -1.0}
