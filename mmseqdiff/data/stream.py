"""One stream of a media file, through PyAV: its decoded frames with exact times, and clear words where it fails.

Time zero of a file is the start of whichever comes first, its picture or its sound, so that both stay in step even
where one begins later. All times are exact fractions of a second from there.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import attrs
import av
import av.error
from av.stream import Disposition

from mmseqdiff.errors import MediaError

__all__ = ["SLACK", "MediaStream", "in_seconds", "open_stream"]

GUESSED = frozenset({"aac"})
"""FFmpeg's names of formats that have no header: it guesses their length from the bit rate of the first packets."""
SLACK = Fraction(1, 50)
"""Seconds by which a stream may end early, or its time stamps jitter, without that being called a fault."""


def in_seconds(time: Fraction) -> str:
    """A time for an error message."""
    return f"{float(time):.3f}".rstrip("0").rstrip(".") + " s"


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns what PyAV and the file system raise while reading into one clear line."""
    try:
        yield
    except FileNotFoundError:
        raise MediaError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise MediaError(f"{path} is a folder; a media file was expected") from None
    except PermissionError:
        raise MediaError(f"{path} may not be read: permission denied") from None
    except (av.error.FFmpegError, OSError) as error:
        raise MediaError(
            f"{path} cannot be decoded: it is not media, or it is truncated or corrupt ({error.strerror or error})"
        ) from None


@attrs.define
class MediaStream:
    """The first stream of one kind in an open file.

    Attributes:
        path: the file.
        kind: ``"video"`` or ``"audio"``.
        container: the open file.
        stream: the stream.
    """

    path: Path
    kind: str
    container: av.container.InputContainer = attrs.field(init=False)
    stream: av.stream.Stream = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._open()

    def _open(self) -> None:
        if self.path.is_file() and self.path.stat().st_size == 0:
            raise MediaError(f"{self.path} is empty: it has zero bytes")
        self.container = av.open(str(self.path))
        streams = self._streams(self.kind)
        if not streams:
            self.close()
            raise MediaError(f"{self.path} has no {self.kind} track")
        self.stream = streams[0]

    def close(self) -> None:
        """Closes the file."""
        self.container.close()

    def _streams(self, kind: str) -> list[av.stream.Stream]:
        """The streams of a kind, without cover pictures, which are stored as video."""
        return [s for s in self.container.streams if s.type == kind and not s.disposition & Disposition.attached_pic]

    @property
    def origin(self) -> Fraction:
        """Time zero of the file, on its own clock."""
        streams = self._streams("video") + self._streams("audio")
        return min((s.start_time * s.time_base for s in streams if s.start_time is not None), default=Fraction(0))

    @property
    def stop(self) -> Fraction | None:
        """Where the stream ends according to the file's header; None if that says nothing."""
        if self.stream.duration is None or self.container.format.name in GUESSED:
            return None
        return ((self.stream.start_time or 0) + self.stream.duration) * self.stream.time_base - self.origin

    @property
    def rounding(self) -> Fraction:
        """By so much a time stamp may be off, in seconds: containers round them, Matroska to milliseconds."""
        return min(self.stream.time_base, Fraction(1, 1000)) / 2

    def measure(self) -> Fraction:
        """Where the stream ends; without a word in the header every packet is read (but none decoded)."""
        if self.stop is not None:
            return self.stop
        ends = (
            packet.pts + (packet.duration or 0)
            for packet in self.container.demux(self.stream)
            if packet.pts is not None
        )
        return max(ends, default=0) * self.stream.time_base - self.origin

    def too_short(self, stop: Fraction, start: Fraction, seconds: Fraction) -> MediaError:
        """The error for a stream that ends at ``stop``, before the clip does."""
        return MediaError(
            f"{self.path} is too short: its {self.kind} is {in_seconds(stop)} long, but a clip of "
            f"{in_seconds(seconds)} from {in_seconds(start)} on needs {in_seconds(start + seconds)}"
        )

    def require(self, start: Fraction, seconds: Fraction) -> None:
        """Checks a clip against the header.

        Raises:
            MediaError: if the start is negative or the stream is said to end before the clip does.
        """
        if start < 0:
            raise MediaError(f"{self.path}: a clip cannot start at {in_seconds(start)}, before the file does")
        if self.stop is not None and self.stop + SLACK < start + seconds:
            raise self.too_short(self.stop, start, seconds)

    def ended(self, stop: Fraction, start: Fraction, seconds: Fraction) -> MediaError:
        """The error for a stream whose last frame ended at ``stop``, before the clip did."""
        if self.stop is None:
            return self.too_short(stop, start, seconds)
        return MediaError(
            f"{self.path} is truncated: its header says that the {self.kind} is {in_seconds(self.stop)} long, "
            f"but it ends at {in_seconds(stop)}"
        )

    def frames(self, begin: Fraction) -> Iterator[tuple[Fraction, av.frame.Frame]]:
        """``(time, frame)`` in the order of presentation, from a key frame at or before ``begin`` on.

        Raises:
            MediaError: at the first damaged packet or frame.
        """
        for earlier in (Fraction(0), Fraction(10)):  # an index kept in decoding order can lead past ``begin``
            if begin <= earlier:
                break
            frames = self._decode_from(begin - earlier)
            first = next(frames, None)
            if first is not None and first[0] <= begin:
                yield first
                yield from frames
                return
        if begin > 0:  # no seeking, or none that helps: from the file's start
            self.close()
            self._open()
        yield from self._decode()

    def _decode_from(self, time: Fraction) -> Iterator[tuple[Fraction, av.frame.Frame]]:
        try:
            self.container.seek(math.floor((time + self.origin) / self.stream.time_base), stream=self.stream)
        except av.error.FFmpegError:
            return
        yield from self._decode()

    def _decode(self) -> Iterator[tuple[Fraction, av.frame.Frame]]:
        time = Fraction(0)
        for packet in self.container.demux(self.stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                raise self._damaged(time) from None
            if packet.is_corrupt or any(frame.is_corrupt for frame in frames):
                raise self._damaged(time)
            for frame in frames:
                stamp = self._stamp(frame)
                if stamp is not None:
                    time = stamp * frame.time_base - self.origin
                yield time, frame
                time += self.frame_length(frame)

    def _stamp(self, frame: av.frame.Frame) -> int | None:
        """When a frame is presented, in the stream's time base; None means right after the last one."""
        if self.kind == "video" and self.container.format.name == "avi":  # AVI knows no time of presentation
            return None if frame.dts is None else frame.dts - self.stream.codec_context.has_b_frames
        return frame.pts if frame.pts is not None else frame.dts

    def _damaged(self, time: Fraction) -> MediaError:
        return MediaError(f"{self.path} is truncated or corrupt: its {self.kind} is damaged at {in_seconds(time)}")

    def frame_length(self, frame: av.frame.Frame) -> Fraction:
        """How long a frame is shown or sounds, in seconds, as far as the file says."""
        if self.kind == "audio":
            return Fraction(frame.samples, frame.sample_rate)
        if frame.duration:
            return frame.duration * frame.time_base
        return 1 / self.stream.average_rate if self.stream.average_rate else Fraction(0)


@contextmanager
def open_stream(path: Path, kind: str) -> Iterator[MediaStream]:
    """Opens the first stream of a kind.

    Args:
        path: a media file.
        kind: ``"video"`` or ``"audio"``.

    Raises:
        MediaError: if the file is missing, empty, not media, damaged, or has no such stream; also for whatever PyAV
            raises inside the ``with`` block.
    """
    with _explained(path):
        stream = MediaStream(Path(path), kind)
        try:
            yield stream
        finally:
            stream.close()
