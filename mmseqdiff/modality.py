"""A modality: a codec, the media format that it reads and writes, and the statistics that normalise its latents.

    (1) normalise    z = (y − mean) / std         per channel, for raw latents y
    (2) denormalise  y = mean + std · z

The statistics are those of the training set's raw latents; they freeze when training starts. Without
statistics the latents stay raw.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from mmseqdiff.errors import MediaError, PluginError
from mmseqdiff.layout import Interval, Track
from mmseqdiff.origin import check_shape, origin
from mmseqdiff.protocols import Codec, MediaFormat, StreamingCodec

__all__ = ["Modality", "Statistics"]


@attrs.frozen(eq=False)
class Statistics:
    """Mean and standard deviation of every channel of a modality's raw latents.

    Attributes:
        mean: ``(channels,)``.
        std: ``(channels,)``, not negative.

    Raises:
        ValueError: if the shapes differ or a number is not finite.
    """

    mean: Float[Tensor, " channels"]
    std: Float[Tensor, " channels"]

    def __attrs_post_init__(self) -> None:
        if self.mean.shape != self.std.shape or self.mean.ndim != 1:
            raise ValueError(
                f"mean {tuple(self.mean.shape)} and std {tuple(self.std.shape)} must be equal: one number per channel"
            )
        if not (self.mean.isfinite().all() and self.std.isfinite().all() and (self.std >= 0).all()):
            raise ValueError("mean and std must be finite, and std not negative")

    @property
    def scale(self) -> Float[Tensor, " channels"]:
        """The divisor of Eq. (1): std, but 1 for a channel that is constant to rounding."""
        return torch.where(self.std > 1e-6 * self.mean.abs(), self.std, torch.ones_like(self.std))

    def normalise(self, raw: Float[Tensor, "*shape channels"]) -> Float[Tensor, "*shape channels"]:
        """Eq. (1)."""
        return (raw - self.mean.to(raw)) / self.scale.to(raw)

    def denormalise(self, latents: Float[Tensor, "*shape channels"]) -> Float[Tensor, "*shape channels"]:
        """Eq. (2)."""
        return self.mean.to(latents) + self.scale.to(latents) * latents


@attrs.frozen(eq=False)
class Modality:
    """One kind of sequence, all the way from files to normalised latents.

    Attributes:
        codec: latents ↔ signal.
        format: signal ↔ files.
        statistics: what normalises the latents; None leaves them raw.
    """

    codec: Codec
    format: MediaFormat
    statistics: Statistics | None = None

    def track(self, name: str, seconds: Fraction) -> Track:
        """Where the latents of a clip lie on the timeline.

        Raises:
            ValueError: if the codec cannot take a clip of that length.
        """
        return self.codec.track(name, self.format.shape(seconds), self.format.rate)

    def read(self, path: Path, start: Fraction, seconds: Fraction) -> Float[Tensor, "time ..."]:
        """The signal of ``[start, start + seconds)`` of a file.

        Raises:
            mmseqdiff.errors.MediaError: if the file cannot give it.
        """
        signal = self.format.read(path, start, seconds)
        check_shape(self.format, f"a signal of {path}", signal, self.format.shape(seconds))
        return signal

    @torch.no_grad()
    def encode_raw(
        self, signal: Float[Tensor, "batch time ..."], known: Sequence[Interval] | None = None
    ) -> Float[Tensor, "batch segment ..."]:
        """Raw latents of a signal, as the codec makes them; ``known`` as in :meth:`encode`.

        Raises:
            PluginError: if the latents do not have the shape of the codec's own track.
        """
        raw = self.codec.encode(signal if known is None else self.format.fill(signal, known))
        track = self.codec.track("latents", tuple(signal.shape[1:]), self.format.rate)
        check_shape(self.codec, "latents", raw, (len(signal), *track.shape))
        return raw

    @torch.no_grad()
    def encode(
        self, signal: Float[Tensor, "batch time ..."], known: Sequence[Interval] | None = None
    ) -> Float[Tensor, "batch segment ..."]:
        """Normalised latents of a signal.

        Args:
            signal: ``(B, time, …)`` in this modality's format.
            known: the stretches, in seconds, that may be read; the rest is overwritten before the codec sees it, so
                that nothing hidden leaks through its receptive field. None means all of it.
        """
        raw = self.encode_raw(signal, known)
        return raw if self.statistics is None else self.statistics.normalise(raw)

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "batch segment ..."]) -> Float[Tensor, "batch time ..."]:
        """The signal of normalised latents."""
        return self.codec.decode(latents if self.statistics is None else self.statistics.denormalise(latents))

    def encode_stream(
        self,
        path: Path,
        start: Fraction = Fraction(0),
        seconds: Fraction | None = None,
        *,
        chunk: Fraction = Fraction(2),
        device: str = "cpu",
    ) -> Iterator[Tensor]:
        """Normalised latents ``(1, segments, …)`` of a file of any length, chunk by chunk, in the memory of one chunk.

        Joined along the segments they are those of :meth:`encode`, to rounding. What does not fill a segment at the end is
        left out.

        Args:
            path: a media file.
            start: in seconds.
            seconds: how much; all that follows where None.
            chunk: about how many seconds at a time. The file is sought for each, so for files with rare key frames few long
                chunks are faster.
            device: where the codec is.

        Raises:
            PluginError: if the codec cannot stream.
            mmseqdiff.errors.MediaError: if the file cannot give it, or holds less than one segment.
        """
        codec, rate = self._streaming(), self.format.rate
        first, other = codec.segment_lengths
        length = self.format.shape(self.format.duration(path) - start if seconds is None else seconds)[0]
        if length < first:
            raise MediaError(f"{path} has {length} frames or samples to encode; the codec needs {first} at least")
        segments = 1 + (length - first) // other
        step = max(math.floor(chunk * rate / other), 1)
        state, begin = None, 0
        for done in range(0, segments, step):
            end = first + other * (min(done + step, segments) - 1)
            signal = self.read(path, start + begin / rate, (end - begin) / rate)
            with torch.no_grad():  # not around the yield: what is done with a chunk is not our business
                raw, state = codec.encode_chunk(signal[None].to(device), state)
            begin = end
            yield raw if self.statistics is None else self.statistics.normalise(raw)

    def decode_stream(self, latents: Iterable[Tensor]) -> Iterator[Tensor]:
        """The signal of normalised latents that come in chunks, in the memory of one chunk: joined, that of :meth:`decode`.

        Args:
            latents: ``(B, segments, …)`` each.

        Raises:
            PluginError: if the codec cannot stream.
        """
        codec, state = self._streaming(), None
        for chunk in latents:
            raw = chunk if self.statistics is None else self.statistics.denormalise(chunk)
            with torch.no_grad():
                signal, state = codec.decode_chunk(raw, state)
            yield signal

    def _streaming(self) -> StreamingCodec:
        if not isinstance(self.codec, StreamingCodec):
            raise PluginError(f"{origin(self.codec)} cannot stream: it has no encode_chunk and decode_chunk")
        return self.codec

    def with_statistics(self, statistics: Statistics | None) -> "Modality":
        """The same modality with other statistics."""
        return attrs.evolve(self, statistics=statistics)
