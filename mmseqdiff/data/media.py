"""Clips written as media files, through PyAV."""

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.video.reformatter import Interpolation
from jaxtyping import Float
from torch import Tensor

from mmseqdiff.data.files import replacing
from mmseqdiff.errors import MediaError
from mmseqdiff.protocols import MediaFormat

__all__ = ["FILTER", "write_clip"]

FILTER = Interpolation.LANCZOS | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
"""How pictures are resized, and colours brought to another resolution."""

_CODECS = {
    ".mp4": {"video": "libx264", "audio": "aac"},
    ".mov": {"video": "libx264", "audio": "aac"},
    ".mkv": {"video": "ffv1", "audio": "flac"},
    ".wav": {"audio": "pcm_s16le"},
    ".flac": {"audio": "flac"},
}


def write_clip(path: Path, signals: Mapping[str, Tensor], formats: Mapping[str, MediaFormat]) -> list[Path]:
    """Writes one clip: every modality that has a stream into one file, every other into a file of its own beside it.

    ``.mp4`` and ``.mov`` get h264 and aac, which play everywhere; ``.mkv`` gets ffv1 and flac, which lose nothing but
    what 8-bit pictures and 16-bit sound cannot hold. Values outside the signals' ranges are clamped.

    Args:
        path: the file; its suffix says how it is coded. A modality without a stream goes to ``path`` with the
            modality's name as its suffix.
        signals: modality → signal ``(time, …)``.
        formats: modality → format, at least for each of ``signals``.

    Returns:
        The files written.

    Raises:
        MediaError: if the suffix is unknown or a file cannot be written; nothing partial is left.
    """
    path, written = Path(path), []
    streams = {name: signal for name, signal in signals.items() if formats[name].stream is not None}
    if streams:
        kinds = {formats[name].stream for name in streams}
        codecs = _CODECS.get(path.suffix.lower(), {})
        if not kinds <= codecs.keys():
            able = ", ".join(suffix for suffix, known in _CODECS.items() if kinds <= known.keys())
            raise MediaError(
                f"{path}: cannot write {' and '.join(sorted(kinds))} to {path.suffix!r}; use one of {able}"
            )
        with replacing(path, MediaError) as temporary, av.open(str(temporary), "w") as container:
            _mux(container, [(codecs[formats[name].stream], formats[name], signal) for name, signal in streams.items()])
        written.append(path)
    for name in signals.keys() - streams.keys():
        beside = path.with_suffix(f".{name}")
        formats[name].write(beside, signals[name])
        written.append(beside)
    return written


def _mux(container: av.container.OutputContainer, tracks: list[tuple[str, MediaFormat, Tensor]]) -> None:
    encoders = []
    for codec, format, signal in tracks:  # every stream is declared before the first packet is written
        declare, frames = (_video_stream, _pictures) if format.stream == "video" else (_audio_stream, _sounds)
        encoders.append((declare(container, codec, format.rate, signal), frames(codec, format.rate, signal)))
    for stream, frames in encoders:
        for frame in frames:
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


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


def _pictures(codec: str, rate: Fraction, signal: Float[Tensor, "time height width 3"]) -> Iterator[av.VideoFrame]:
    for n, picture in enumerate(signal):
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


def _audio_stream(container, codec: str, rate: Fraction, signal: Float[Tensor, " time"]):
    stream = container.add_stream(codec, rate=int(rate), layout="mono")
    if codec == "aac":
        stream.bit_rate = min(192_000, 6 * int(rate))
    return stream


def _sounds(codec: str, rate: Fraction, signal: Float[Tensor, " time"]) -> Iterator[av.AudioFrame]:
    samples = signal.detach().cpu().clamp(-1, 1).to(torch.float32).numpy()
    if codec == "aac":
        values, format = samples, "fltp"
    else:
        values, format = (samples * 32767).round().astype(np.int16), "s16"
    frame = av.AudioFrame.from_ndarray(values[None], format=format, layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = int(rate), 0, 1 / rate
    yield frame
