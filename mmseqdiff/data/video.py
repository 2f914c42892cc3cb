"""Video as the models see it: pictures of one size at one rate, whatever the file holds."""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import attrs
import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from jaxtyping import Float, UInt8
from torch import Tensor

from mmseqdiff.data.media import FILTER, write_clip
from mmseqdiff.data.stream import SLACK, open_stream
from mmseqdiff.layout import Interval
from mmseqdiff.protocols import MediaFormat

__all__ = ["VideoFormat"]

ROUNDING = Fraction(1, 1000)
"""Seconds. Containers round time stamps, durations and edit lists to milliseconds, Matroska each of them."""


@attrs.frozen
class VideoFormat(MediaFormat):
    """RGB video ``(frames, height, width, 3)`` in [0, 1].

    Attributes:
        rate: frames a second.
        height: rows of pixels.
        width: columns of pixels.

    Raises:
        ValueError: if one of them is not positive.
    """

    rate: Fraction = attrs.field(converter=Fraction)
    height: int
    width: int
    stream = "video"

    def __attrs_post_init__(self) -> None:
        if min(self.rate, self.height, self.width) <= 0:
            raise ValueError(
                f"a video needs a positive rate and size, got {self.rate} a second, {self.height} x {self.width}"
            )

    def shape(self, seconds: Fraction) -> tuple[int, int, int, int]:
        """``(frames, height, width, 3)`` of a video that long; a frame that does not fit whole is not counted."""
        return math.floor(seconds * self.rate), self.height, self.width, 3

    def duration(self, path: Path) -> Fraction:
        """Where the video of a file ends, in seconds from the file's start; a millisecond makes no frame less."""
        with open_stream(path, "video") as stream:
            stop = stream.measure()
        return max(stop, math.floor((stop + ROUNDING) * self.rate) / self.rate)

    def read(self, path: Path, start: Fraction, seconds: Fraction) -> Float[Tensor, "time height width 3"]:
        """The frames shown at ``start + n / rate``, cropped in the centre to the aspect and resized.

        A frame is shown from its own time stamp to the next frame's, so a variable frame rate is honoured, as are the
        rotation and the pixel aspect that a file states. Before a video's first frame that frame is shown.

        Raises:
            mmseqdiff.errors.MediaError: if the file cannot give the clip; the message says why.
        """
        count = self.shape(seconds)[0]
        pixels = np.empty(self.shape(seconds), dtype=np.uint8)
        with open_stream(path, "video") as stream:
            stream.require(start, seconds)
            show = partial(self._show, pixels, VideoReformatter(), stream.stream.sample_aspect_ratio or Fraction(1))
            done, shown, end = 0, None, Fraction(0)
            for time, frame in stream.frames(start):
                done = show(done, shown, time - stream.rounding - start)
                if done == count:
                    break
                shown, end = frame, time + stream.frame_length(frame)
            done = show(done, shown, end + SLACK - start)
            if done < count:
                raise stream.ended(end, start, seconds)
        return torch.from_numpy(pixels).to(torch.float32) / 255

    def _show(
        self,
        pixels: UInt8[np.ndarray, "time height width 3"],
        scaler: VideoReformatter,
        aspect: Fraction,
        done: int,
        shown: av.VideoFrame | None,
        until: Fraction,
    ) -> int:
        """Copies the frame ``shown`` to every instant from ``done`` on and before ``until``; returns the next instant."""
        stop = min(math.ceil(until * self.rate), len(pixels))
        if shown is None or stop <= done:
            return done
        pixels[done:stop] = self._picture(scaler, aspect, shown)
        return stop

    def _picture(
        self, scaler: VideoReformatter, aspect: Fraction, frame: av.VideoFrame
    ) -> UInt8[np.ndarray, "height width 3"]:
        """One frame, upright, in this size; ``aspect`` is the width of its pixels over their height."""
        turns = round(frame.rotation / 90) % 4
        height, width = (self.width, self.height) if turns % 2 else (self.height, self.width)
        shown_width = frame.width * aspect
        scale = max(Fraction(height, frame.height), width / shown_width)
        rows, columns = max(height, round(frame.height * scale)), max(width, round(shown_width * scale))
        scaled = scaler.reformat(frame, columns, rows, "rgb24", interpolation=FILTER, threads=1).to_ndarray()
        top, left = (rows - height) // 2, (columns - width) // 2
        return np.rot90(scaled[top : top + height, left : left + width], turns)

    def write(self, path: Path, signal: Float[Tensor, "time height width 3"]) -> None:
        """Writes a file that holds only this video.

        Raises:
            mmseqdiff.errors.MediaError: if it cannot be written.
        """
        write_clip(path, {"video": signal}, {"video": self})

    def fill(
        self, signal: Float[Tensor, "batch time height width 3"], known: Sequence[Interval]
    ) -> Float[Tensor, "batch time height width 3"]:
        """Every frame that does not lie in one of ``known`` becomes the nearest that does, the earlier of two.

        With nothing known the video is black.
        """
        count = signal.shape[1]
        seen = sorted({n for left, right in known for n in _whole(left, right, self.rate, count)})
        if not seen:
            return torch.zeros_like(signal)
        nearest = [min(seen, key=lambda other: (abs(other - n), other)) for n in range(count)]
        return signal[:, nearest]


def _whole(left: Fraction, right: Fraction, rate: Fraction, count: int) -> range:
    """The frames whose whole duration lies in ``[left, right)``."""
    return range(max(math.ceil(left * rate), 0), min(math.floor(right * rate), count))
