from fractions import Fraction

import numpy as np
import pytest
import scipy.signal
import torch

from mmseqdiff.data.audio import AudioFormat
from mmseqdiff.protocols import MediaFormat

SPEECH = AudioFormat(16000)


def tone(seconds, rate, hertz=440.0, volume=0.5):
    return volume * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def pulses(seconds, rate, at):
    """Smooth clicks of 2 ms at these times."""
    time = np.arange(round(seconds * rate)) / rate
    return sum(0.8 * np.exp(-0.5 * ((time - float(t)) / 0.0005) ** 2) for t in at)


def test_implements_the_protocol():
    assert isinstance(SPEECH, MediaFormat)
    assert SPEECH.shape(Fraction(17, 8)) == (34000,)
    with pytest.raises(ValueError, match="whole number"):
        AudioFormat(Fraction(44100, 8))


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize(("name", "codec"), [("a.wav", "pcm_s16le"), ("a.mp4", "aac"), ("a.mkv", "flac")])
def test_a_click_lands_at_the_right_sample(make, rate, name, codec):
    at = [Fraction(1, 2), Fraction(5, 4), Fraction(9, 4), Fraction(37, 16)]
    path = make(name, sound=pulses(3, rate, at)[None], sound_rate=rate, audio_codec=codec)
    stamps = 8 if name.endswith("mkv") else 0  # half a millisecond, to which Matroska rounds
    for start in (Fraction(0), Fraction(1, 3), Fraction(2)):
        sound = SPEECH.read(path, start, Fraction(4, 5)).numpy()
        assert len(sound) == 12800
        wanted = [round((t - start) * 16000) for t in at if 0 <= t - start < Fraction(4, 5)]
        found, _ = scipy.signal.find_peaks(sound, height=0.4, distance=300)
        assert len(found) == len(wanted)
        assert np.abs(found - wanted).max(initial=0) <= 1 + stamps


@pytest.mark.parametrize("rate", [11025, 22050, 44100, 48000])
def test_resampling_keeps_a_tone_and_its_phase(make, rate):
    path = make("tone.wav", sound=tone(2, rate, hertz=1000)[None], sound_rate=rate, audio_codec="pcm_s16le")
    sound = SPEECH.read(path, Fraction(1, 2), Fraction(1)).numpy()
    expected = 0.5 * np.sin(2 * np.pi * 1000 * (8000 + np.arange(16000)) / 16000)
    assert np.abs(sound - expected).max() < 2e-3


def test_what_lies_above_half_the_rate_is_gone(make):
    path = make("high.wav", sound=tone(1, 48000, hertz=12000)[None], sound_rate=48000, audio_codec="pcm_s16le")
    assert SPEECH.read(path, Fraction(1, 4), Fraction(1, 2)).abs().max() < 2e-3


@pytest.mark.parametrize("codec", ["pcm_s16le", "aac"])
def test_overlapping_clips_agree(make, codec):
    sound = tone(2, 44100) + tone(2, 44100, hertz=1313, volume=0.3)  # aac codes noise as random numbers
    path = make({"aac": "n.mp4"}.get(codec, "n.wav"), sound=sound[None], sound_rate=44100, audio_codec=codec)
    whole = SPEECH.read(path, Fraction(0), Fraction(2))
    part = SPEECH.read(path, Fraction(17, 16), Fraction(3, 4))
    assert torch.allclose(part, whole[17000:29000], atol=1e-4)


def test_channels_are_mixed_without_getting_louder(make):
    left = tone(1, 48000)
    for name, sound, expected in [
        ("same.wav", [left, left], left),
        ("one.wav", [left, 0 * left], left / 2),
        ("opposite.wav", [left, -left], 0 * left),
    ]:
        path = make(name, sound=sound, layout="stereo", audio_codec="pcm_s16le")
        mixed = SPEECH.read(path, Fraction(0), Fraction(1)).numpy()
        assert np.abs(mixed - expected[::3])[100:-100].max() < 2e-3
    surround = [0 * left, 0 * left, left, 0 * left, 0 * left, 0 * left]  # speech in the centre
    path = make("surround.mp4", sound=surround, layout="5.1")
    mixed = SPEECH.read(path, Fraction(0), Fraction(1)).numpy()[800:-800]
    assert np.corrcoef(mixed, left[::3][800:-800])[0, 1] > 0.999
    assert 0.1 < np.abs(mixed).max() <= 0.5
    path = make("loud.mp4", sound=[2 * left] * 6, layout="5.1")
    assert SPEECH.read(path, Fraction(0), Fraction(1)).abs().max() <= 1


def test_sound_that_starts_later_than_the_picture_stays_in_step(make):
    picture = [make.numbered(n) for n in range(50)]
    path = make(
        "late.mp4",
        picture,
        [Fraction(n, 25) for n in range(50)],
        sound=pulses(1.5, 48000, [Fraction(1, 4)])[None],
        sound_start=Fraction(1, 2),
    )
    sound = SPEECH.read(path, Fraction(0), Fraction(1))
    assert sound[:7200].abs().max() < 1e-3  # silent until the sound begins
    millisecond = 16  # an mp4 says in whole milliseconds how late a stream starts
    assert int(sound.argmax()) == pytest.approx(12000, abs=millisecond)
    assert int(SPEECH.read(path, Fraction(5, 8), Fraction(1)).argmax()) == pytest.approx(2000, abs=millisecond)


def test_the_padding_of_aac_is_cropped(make):
    path = make("padded.mp4", sound=tone(1.01, 16000)[None], sound_rate=16000)
    assert SPEECH.duration(path) == Fraction(101, 100)
    assert SPEECH.read(path, Fraction(0), Fraction(101, 100)).shape == (16160,)


@pytest.mark.parametrize(("suffix", "tolerance"), [(".wav", 1e-4), (".mkv", 1e-4), (".flac", 1e-4), (".mp4", 2e-2)])
def test_what_is_written_is_read(tmp_path, suffix, tolerance):
    signal = torch.from_numpy(tone(1, 16000)).float()
    SPEECH.write(tmp_path / f"out{suffix}", signal)
    again = SPEECH.read(tmp_path / f"out{suffix}", Fraction(0), Fraction(1))
    assert (again - signal)[2000:-50].abs().max() < tolerance


def test_fill_silences_everything_unknown():
    format = AudioFormat(10)
    signal = torch.ones(2, 20)
    known = [(Fraction(3, 10), Fraction(1, 2)), (Fraction(55, 100), Fraction(85, 100)), (Fraction(19, 10), Fraction(5))]
    filled = format.fill(signal, known)[1]
    # Samples 3, 4; then 6 and 7, the only ones whose tenth of a second lies in [0.55, 0.85); then 19.
    assert filled.nonzero().flatten().tolist() == [3, 4, 6, 7, 19]
    assert not format.fill(signal, []).any()
