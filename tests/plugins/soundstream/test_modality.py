"""The audio modality, built by the host as a recipe builds it."""

import subprocess
import sys
from fractions import Fraction

import torch

from mmseqdiff.data.audio import AudioFormat
from mmseqdiff.modality import Modality


def test_built_from_a_recipes_values(host):
    codec = {
        "name": "soundstream",
        "channels": 2,
        "latent_channels": 4,
        "strides": [2, 4, 5, 8],
        "waveform_weight": 1.5,
    }
    audio = host.build("modality", "audio", codec=codec, sample_rate=16000)
    assert isinstance(audio, Modality)
    assert audio.format == AudioFormat(Fraction(16000))
    assert audio.codec.waveform_weight == 1.5
    track = audio.track("audio", Fraction(17, 8))
    assert track.segments == 106
    assert audio.encode(torch.zeros(1, 34000)).shape == (1, *track.shape)


def test_the_plugins_module_imports_no_torch():
    code = "import sys, mmseqdiff_soundstream; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
