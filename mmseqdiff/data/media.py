"""Clips written as media files, whole or piece by piece, through PyAV."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import attrs
import av
import numpy as np
import torch
from av.video.reformatter import Interpolation
from jaxtyping import Float
from torch import Tensor

from mmseqdiff.data.files import replacing
from mmseqdiff.errors import MediaError
from mmseqdiff.protocols import MediaFormat

__all__ = ["FILTER", "ClipWriter", "clip_writer", "codecs_for", "write_clip"]

FILTER = Interpolation.LANCZOS | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
"""How pictures are resized, and colours brought to another resolution."""

_CODECS = {
    ".mp4": {"video": "libx264", "audio": "aac"},
    ".mov": {"video": "libx264", "audio": "aac"},
    ".mkv": {"video": "ffv1", "audio": "flac"},
    ".wav": {"audio": "pcm_s16le"},
    ".flac": {"audio": "flac"},
}
_AAC_RATES = frozenset({96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350})
"""Samples a second that AAC has."""


def write_clip(path: Path, signals: Mapping[str, Tensor], formats: Mapping[str, MediaFormat]) -> list[Path]:
    """Writes one clip, as :func:`clip_writer` does.

    Args:
        path: the file.
        signals: modality → signal ``(time, …)``; sound may have two channels, ``(time, 2)``.
        formats: modality → format, at least for each of ``signals``.

    Returns:
        The files written.

    Raises:
        MediaError: if the suffix is unknown or a file cannot be written; nothing partial is left.
    """
    with clip_writer(path, {name: formats[name] for name in signals}) as writer:
        writer.write(signals)
    return writer.files


def codecs_for(path: Path, formats: Mapping[str, MediaFormat]) -> dict[str, str]:
    """Stream → codec, for a file with this suffix and what is to be written to it; empty where nothing is a stream.

    Raises:
        MediaError: if there is none; the message says which suffixes have one.
    """
    kinds = {format.stream for format in formats.values() if format.stream is not None}
    rates = {format.rate for format in formats.values() if format.stream == "audio"}

    def fits(codecs: Mapping[str, str]) -> bool:
        return kinds <= codecs.keys() and (codecs.get("audio") != "aac" or rates <= _AAC_RATES)

    codecs = _CODECS.get(Path(path).suffix.lower(), {})
    if not fits(codecs):
        able = ", ".join(suffix for suffix, known in _CODECS.items() if fits(known)) or "none"
        what = " and ".join(sorted(kinds))
        if kinds <= codecs.keys():
            what += f" of {', '.join(map(str, sorted(rates)))} samples a second"
        raise MediaError(f"{path}: cannot write {what} to {Path(path).suffix!r}; use one of {able}")
    return {kind: codecs[kind] for kind in kinds}


@contextmanager
def clip_writer(path: Path, formats: Mapping[str, MediaFormat]) -> Iterator["ClipWriter"]:
    """Writes a clip piece by piece: every modality that has a stream into one file, every other into one beside it.

    ``.mp4`` and ``.mov`` get h264 and aac, which play everywhere; ``.mkv`` gets ffv1 and flac, which lose nothing but
    what 8-bit pictures and 16-bit sound cannot hold. Values outside the signals' ranges are clamped. The file gets its
    name when the block ends well; if not, nothing of it is left.

    Args:
        path: the file; its suffix says how it is coded. A modality without a stream goes to ``path`` with the
            modality's name as its suffix; its pieces are kept until the end.
        formats: modality → format, for each that will be written.

    Raises:
        MediaError: if the suffix is unknown, which is known before anything is written, or a file cannot be written.
    """
    path, codecs = Path(path), codecs_for(path, formats)
    if codecs:
        # Without a date and random identifiers the same signals make the same file, as far as the codecs do.
        options = {"fflags": "+bitexact"}
        with replacing(path, MediaError) as temporary, av.open(str(temporary), "w", options=options) as container:
            writer = ClipWriter(formats, codecs, container)
            yield writer
            writer.flush()
        writer.files.append(path)
    else:
        writer = ClipWriter(formats, codecs, None)
        yield writer
    for name, pieces in writer.beside.items():
        file = path.with_suffix(f".{name}")
        formats[name].write(file, torch.cat(pieces))
        writer.files.append(file)


@attrs.define(eq=False)
class ClipWriter:
    """What :func:`clip_writer` gives.

    Attributes:
        formats: modality → format.
        codecs: kind of stream → codec.
        container: the open file; None where no modality has a stream.
        files: the files written, when the block has ended.
    """

    formats: Mapping[str, MediaFormat]
    codecs: Mapping[str, str]
    container: av.container.OutputContainer | None
    files: list[Path] = attrs.field(factory=list)
    beside: dict[str, list[Tensor]] = attrs.field(factory=dict)
    _streams: dict[str, av.stream.Stream] = attrs.field(factory=dict)
    _written: Counter[str] = attrs.field(factory=Counter)

    def write(self, signals: Mapping[str, Tensor]) -> None:
        """The next piece of every modality: ``(time, …)``; sound may have two channels, ``(time, 2)``."""
        streamed = {name: signal for name, signal in signals.items() if self.formats[name].stream is not None}
        for name in signals.keys() - streamed.keys():
            self.beside.setdefault(name, []).append(signals[name])
        if not self._streams:  # every stream is declared before the first packet is written
            for name, signal in streamed.items():
                format = self.formats[name]
                declare = _video_stream if format.stream == "video" else _audio_stream
                self._streams[name] = declare(self.container, self.codecs[format.stream], format.rate, signal)
        for name, signal in streamed.items():
            format = self.formats[name]
            frames = _pictures if format.stream == "video" else _sounds
            for frame in frames(self.codecs[format.stream], format.rate, signal, self._written[name]):
                self.container.mux(self._streams[name].encode(frame))
            self._written[name] += len(signal)

    def flush(self) -> None:
        """What the encoders hold back."""
        for stream in self._streams.values():
            self.container.mux(stream.encode(None))


def _video_stream(container, codec: str, rate: Fraction, signal: Float[Tensor, "time height width 3"]):
    lossless = codec == "ffv1"
    stream = container.add_stream(codec, rate=rate, options={} if lossless else {"crf": "12", "preset": "medium"})
    _, height, width, _ = signal.shape
    even = 1 if lossless else 2  # yuv420p shares a colour among 2 x 2 pixels
    stream.height, stream.width = math.ceil(height / even) * even, math.ceil(width / even) * even
    stream.pix_fmt = "bgr0" if lossless else "yuv420p"
    stream.codec_context.time_base = 1 / rate
    if not lossless:
        stream.codec_context.colorspace = 1  # BT.709
        stream.codec_context.color_range = 1
    return stream


def _pictures(
    codec: str, rate: Fraction, signal: Float[Tensor, "time height width 3"], first: int
) -> Iterator[av.VideoFrame]:
    for n, picture in enumerate(signal, start=first):
        pixels = (picture.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        if codec != "ffv1":
            pixels = np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        if codec != "ffv1":
            frame = frame.reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG", interpolation=FILTER
            )
        frame.pts, frame.time_base = n, 1 / rate
        yield frame


def _audio_stream(container, codec: str, rate: Fraction, signal: Float[Tensor, "time ..."]):
    stream = container.add_stream(codec, rate=int(rate), layout="mono" if signal.ndim == 1 else "stereo")
    if codec == "aac":
        stream.bit_rate = min(192_000, 6 * int(rate))
    return stream


def _sounds(codec: str, rate: Fraction, signal: Float[Tensor, "time ..."], first: int) -> Iterator[av.AudioFrame]:
    if len(signal) == 0:
        return
    samples = signal.detach().cpu().clamp(-1, 1).to(torch.float32).reshape(len(signal), -1).numpy()
    if codec == "aac":
        values, format = np.ascontiguousarray(samples.T), "fltp"
    else:
        values, format = (samples * 32767).round().astype(np.int16).reshape(1, -1), "s16"
    frame = av.AudioFrame.from_ndarray(values, format=format, layout="mono" if signal.ndim == 1 else "stereo")
    frame.sample_rate, frame.pts, frame.time_base = int(rate), first, 1 / rate
    yield frame
