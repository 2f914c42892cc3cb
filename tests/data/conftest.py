"""Media files of every odd kind, made on the spot."""

import resource
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest


def numbered(n, size=64):
    """A picture that says its number in base 16: the left half the ones, the right half the sixteens."""
    picture = np.empty((size, size, 3), dtype=np.uint8)
    picture[:, : size // 2] = 16 * (n % 16) + 8
    picture[:, size // 2 :] = 16 * (n // 16) + 8
    return picture


def numbers_in(video):
    """The numbers of pictures made by :func:`numbered`, from a signal ``(frames, height, width, 3)``."""
    grey = (video[..., 0] * 255).round().int()
    middle, quarter = video.shape[1] // 2, video.shape[2] // 4
    return (grey[:, middle, quarter] // 16 + 16 * (grey[:, middle, 3 * quarter] // 16)).tolist()


class Maker:
    """Writes media files: ``make(name, pictures=…, sound=…)``."""

    numbered = staticmethod(numbered)
    numbers_in = staticmethod(numbers_in)

    def __init__(self, folder):
        self.folder = folder

    def __call__(
        self,
        name,
        pictures=None,
        times=None,
        sound=None,
        sound_rate=48000,
        sound_start=Fraction(0),
        layout="mono",
        video_codec="libx264",
        audio_codec="aac",
        options=None,
        pixel_aspect=None,
        faststart=False,
    ) -> Path:
        """Writes ``pictures`` shown from ``times`` (seconds) on and ``sound`` ``(channels, samples)``, if given."""
        path = self.folder / name
        with av.open(str(path), "w", options={"movflags": "faststart"} if faststart else {}) as container:
            if pictures is not None:
                video = container.add_stream(video_codec, rate=1000, options={"crf": "8", **(options or {})})
                video.height, video.width = pictures[0].shape[:2]
                video.pix_fmt = "bgr0" if video_codec == "ffv1" else "yuv420p"
                video.codec_context.time_base = Fraction(1, 90000)
                if pixel_aspect:
                    video.codec_context.sample_aspect_ratio = pixel_aspect
            if sound is not None:
                audio = container.add_stream(audio_codec, rate=sound_rate, layout=layout)
            if pictures is not None:
                stamps = [round(time * 90000) for time in times]
                lengths = dict(zip(stamps, np.diff([*stamps, 2 * stamps[-1] - stamps[-2]]).tolist()))
                for picture, stamp in [*zip(pictures, stamps), (None, None)]:
                    frame = None
                    if picture is not None:
                        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                        frame.pts, frame.time_base = stamp, Fraction(1, 90000)
                    for packet in video.encode(frame):
                        packet.duration = lengths[packet.pts]
                        container.mux(packet)
            if sound is not None:
                self._sound(container, audio, np.asarray(sound, dtype=np.float32), sound_rate, sound_start, layout)
        return path

    def _sound(self, container, stream, sound, rate, start, layout):
        planar = {"aac": "fltp", "flac": "s16", "pcm_s16le": "s16", "libmp3lame": "fltp"}[stream.codec_context.name]
        if planar == "s16":
            sound = np.ascontiguousarray((sound * 32767).round().astype(np.int16).T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(sound, format=planar, layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, round(start * rate), Fraction(1, rate)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

    @staticmethod
    def rotate(path, matrix):
        """Writes a display matrix (a, b, c, d) into the header of an mp4's first track."""
        content = bytearray(path.read_bytes())
        at = content.index(b"tkhd") + 4 + 4 + 20 + 16
        a, b, c, d = (round(value * 65536) for value in matrix)
        content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
        path.write_bytes(content)
        return path


@pytest.fixture
def make(tmp_path):
    return Maker(tmp_path)


@pytest.fixture
def full_disk():
    """Files cannot grow beyond 4 KiB, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
