"""Audio as the models see it: one channel at one sample rate, whatever the file holds."""

import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import attrs
import av
import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from mmseqdiff.data.media import write_clip
from mmseqdiff.data.stream import SLACK, MediaStream, open_stream
from mmseqdiff.layout import Interval
from mmseqdiff.protocols import MediaFormat

__all__ = ["AudioFormat"]

_MARGIN = Fraction(1, 20)
"""Seconds read on either side of a clip, for the resampling filter."""
_WARM_UP = Fraction(1, 4)
"""Seconds decoded before that: after a seek the first frames of most codecs are not right yet."""


@attrs.frozen
class AudioFormat(MediaFormat):
    """Mono sound ``(samples,)`` in [−1, 1].

    Attributes:
        rate: samples a second, a whole number.

    Raises:
        ValueError: if the rate is not a positive whole number.
    """

    rate: Fraction = attrs.field(converter=Fraction)
    stream = "audio"

    def __attrs_post_init__(self) -> None:
        if self.rate <= 0 or self.rate.denominator != 1:
            raise ValueError(f"an audio rate must be a positive whole number of samples a second, got {self.rate}")

    def shape(self, seconds: Fraction) -> tuple[int]:
        """``(samples,)`` of a sound that long; a sample that does not fit whole is not counted."""
        return (math.floor(seconds * self.rate),)

    def duration(self, path: Path) -> Fraction:
        """Where the sound of a file ends, in seconds from the file's start."""
        with open_stream(path, "audio") as stream:
            return stream.measure()

    def read(self, path: Path, start: Fraction, seconds: Fraction) -> Float[Tensor, " time"]:
        """The sound from ``start`` on, mixed to one channel and resampled; silent before the file's sound begins.

        Samples lie at whole multiples of ``1 / rate`` from the file's start, so overlapping clips agree (as far
        as the container's time stamps are exact; Matroska rounds them to milliseconds).

        Raises:
            mmseqdiff.errors.MediaError: if the file cannot give the clip; the message says why.
        """
        first, (count,) = round(start * self.rate), self.shape(seconds)
        with open_stream(path, "audio") as stream:
            stream.require(start, seconds)
            begin, source_rate, samples = _gather(stream, start, seconds, self.rate)
        resampled = _resample(samples, source_rate, int(self.rate))
        skipped = first - int(begin * self.rate)
        return torch.from_numpy(np.clip(resampled[skipped : skipped + count], -1, 1))

    def write(self, path: Path, signal: Float[Tensor, " time"]) -> None:
        """Writes a file that holds only this sound.

        Raises:
            mmseqdiff.errors.MediaError: if it cannot be written.
        """
        write_clip(path, {"audio": signal}, {"audio": self})

    def fill(self, signal: Float[Tensor, "batch time"], known: Sequence[Interval]) -> Float[Tensor, "batch time"]:
        """Every sample that does not lie in one of ``known`` is silenced."""
        filled = torch.zeros_like(signal)
        for left, right in known:
            inside = slice(max(math.ceil(left * self.rate), 0), max(math.floor(right * self.rate), 0))
            filled[:, inside] = signal[:, inside]
        return filled


def _gather(
    stream: MediaStream, start: Fraction, seconds: Fraction, rate: Fraction
) -> tuple[Fraction, int, Float32[np.ndarray, " time"]]:
    """The clip at the file's own rate, mono, with a margin on both sides; silent where the file has nothing.

    Returns:
        The time of the first sample (from 0 on a common multiple of both sample periods; it may be negative), the
        file's rate, and the samples.

    Raises:
        MediaError: if the stream ends before the clip does.
    """
    samples, position, end = None, None, Fraction(0)
    mixers: dict[tuple[str, str, int], av.AudioResampler] = {}  # broadcasts change their channels on the way
    for time, frame in stream.frames(max(start - _MARGIN - _WARM_UP, Fraction(0))):
        if samples is None:
            source_rate = frame.sample_rate
            common = math.gcd(source_rate, int(rate))
            begin = Fraction(math.floor((start - _MARGIN) * common), common)
            samples = np.zeros(math.ceil((start + seconds + _MARGIN - begin) * source_rate) + 1, dtype=np.float32)
        offset = round((time - begin) * source_rate)
        if position is None or abs(offset - position) > SLACK * source_rate:
            position = offset  # the first frame, or a gap; smaller steps are only rounded time stamps
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        # Whole-number output keeps swresample from making a mix louder than its loudest channel.
        mixer = mixers.setdefault(kind, av.AudioResampler("s32", "mono", source_rate))
        for part in mixer.resample(frame):
            values = part.to_ndarray()[0] / np.float32(2**31)
            left, right = max(position, 0), min(position + len(values), len(samples))
            if left < right:
                samples[left:right] = values[left - position : right - position]
            position += len(values)
        end = begin + Fraction(position, source_rate)
        if position >= len(samples):
            break
    if samples is None or end + SLACK < start + seconds:
        raise stream.ended(end, start, seconds)
    return begin, source_rate, samples


def _resample(samples: Float32[np.ndarray, " before"], source: int, target: int) -> Float32[np.ndarray, " after"]:
    """The same sound at another rate; sample 0 stays at its time."""
    frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = source, 0, Fraction(1, source)
    resampler = av.AudioResampler("fltp", "mono", target)
    parts = resampler.resample(frame) + ([] if source == target else resampler.resample(None))
    return np.concatenate([part.to_ndarray()[0] for part in parts])
