"""Recordings of any length, chunk by chunk: the latents of the whole, in the memory of a little of it."""

import json
import math
import wave
from fractions import Fraction

import memory
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmseqdiff.errors import MediaError, PluginError
from mmseqdiff.modality import Modality, Statistics

SOUND = {"name": "soundstream", "sample_rate": 8000, "channels": 1, "latent_channels": 2}
VIDEO = {"name": "magvit2", "channels": 4, "blocks": 1, "multipliers": [1, 1, 1, 1], "latent_channels": 2}


def write_sound(path, seconds, rate=8000):
    """A sound that is different everywhere, written second by second."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        generator = np.random.default_rng(0)
        for _ in range(math.ceil(seconds)):
            file.writeframes(generator.integers(-(2**14), 2**14, rate, dtype=np.int16).tobytes())
    return path


@pytest.fixture(scope="module")
def sound(host, tmp_path_factory):
    torch.manual_seed(0)
    made = host.build("modality", "audio", codec=SOUND, sample_rate=8000)
    return made.with_statistics(Statistics(torch.tensor([0.1, -0.1]), torch.tensor([0.5, 2.0])))


@pytest.fixture(scope="module")
def video(host):
    torch.manual_seed(0)
    return host.build("modality", "video", codec=VIDEO, frame_rate="8", height=16, width=16)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return write_sound(tmp_path_factory.mktemp("sound") / "sound.wav", 5)


@settings(max_examples=5)
@given(
    chunk=st.sampled_from([Fraction(1, 100), Fraction(1, 3), Fraction(2), Fraction(9)]), start=st.sampled_from([0, 1])
)
def test_a_file_in_chunks_has_the_latents_and_the_signal_of_the_whole(sound, recording, chunk, start):
    start, seconds = Fraction(start, 3), Fraction(10, 3)
    signal = sound.read(recording, start, seconds)[None]
    parts = list(sound.encode_stream(recording, start, seconds, chunk=chunk))
    latents = torch.cat(parts, dim=1)
    assert not latents.requires_grad
    torch.testing.assert_close(latents, sound.encode(signal), rtol=0, atol=1e-5)
    for _ in sound.encode_stream(recording, start, seconds, chunk=chunk):
        assert torch.is_grad_enabled()
    assert len(parts) == math.ceil(latents.shape[1] / max(1, int(chunk * 25)))
    joined = torch.cat(list(sound.decode_stream(parts)), dim=1)
    torch.testing.assert_close(joined, sound.decode(latents), rtol=0, atol=1e-5)


def test_all_of_a_file_but_what_fills_no_segment(sound, video, host, recording, tmp_path):
    assert sum(part.shape[1] for part in sound.encode_stream(recording)) == 5 * 8000 // 320
    frames = torch.rand(16, 16, 16, 3, generator=torch.Generator().manual_seed(1))
    video.format.write(tmp_path / "video.mkv", frames)
    expected = video.encode(video.format.read(tmp_path / "video.mkv", Fraction(0), Fraction(13, 8))[None])
    found = torch.cat(list(video.encode_stream(tmp_path / "video.mkv", chunk=Fraction(1, 2))), dim=1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)  # 1 + 4 · 3 of 16 frames


def test_what_cannot_be_streamed_is_refused(sound, recording, tmp_path):
    with pytest.raises(MediaError, match="has 319 frames or samples to encode; the codec needs 320 at least"):
        next(sound.encode_stream(recording, seconds=Fraction(319, 8000)))
    with pytest.raises(MediaError, match="too short"):
        list(sound.encode_stream(recording, seconds=Fraction(6)))

    class Whole(torch.nn.Module):
        def encode(self, signal):
            return signal

    with pytest.raises(PluginError, match="Whole cannot stream: it has no encode_chunk"):
        next(Modality(Whole(), sound.format).encode_stream(recording))
    with pytest.raises(PluginError, match="cannot stream"):
        next(Modality(Whole(), sound.format).decode_stream([torch.zeros(1, 1, 1)]))


PEAK = """
import json, sys, torch
from pathlib import Path
from mmseqdiff import load_plugins
torch.set_num_threads(1)
kind, parameters, file = sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3])
modality = load_plugins().build("modality", kind, **parameters)
segments, time = 0, 0
def latents():
    global segments
    for part in modality.encode_stream(file):
        segments += part.shape[1]
        yield part
for signal in modality.decode_stream(latents()):
    time += signal.shape[1]
print(segments, time)
"""


def measure(kind, parameters, file):
    printed, peak = memory.run(PEAK, kind, json.dumps(parameters), file)
    return [*map(int, printed.split()), peak]


@pytest.mark.slow
def test_an_hour_of_sound_takes_the_memory_of_ten_seconds(tmp_path):
    parameters = {"codec": {**SOUND, "strides": [8, 5, 4, 2]}, "sample_rate": 8000}
    ten, hour = (
        measure("audio", parameters, write_sound(tmp_path / f"{seconds}.wav", seconds)) for seconds in (10, 3600)
    )
    assert hour[:2] == [90_000, 28_800_000]
    assert hour[2] < 1.05 * ten[2]


@pytest.mark.slow
def test_a_minute_of_video_takes_the_memory_of_ten_seconds(video, tmp_path):
    found = []
    for frames in (81, 481):
        clip = torch.rand(frames, 64, 64, 3, generator=torch.Generator().manual_seed(1))
        file = tmp_path / f"{frames}.mkv"
        video.format.write(file, clip)
        found.append(measure("video", {"codec": VIDEO, "frame_rate": "8", "height": 64, "width": 64}, file))
    assert found[1][:2] == [121, 481]
    assert found[1][2] < 1.05 * found[0][2]
