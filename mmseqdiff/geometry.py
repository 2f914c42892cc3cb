"""How the codecs of this field divide sound and video, for codecs to build on.

    (1) sound   latent n stands for samples [h n, h (n + 1)); samples after the last whole hop h are dropped
    (2) video   latent 0 stands for frame 0 alone, latent n > 0 for frames [1 + s (n − 1), 1 + s n);
                each of these latents has one token for every square of p × p pixels

(1) is SoundStream's (arXiv:2107.03312 §III-A), (2) that of causal video codecs since MAGVIT-v2 (arXiv:2310.05737 §3.2).
"""

from fractions import Fraction

import attrs

from mmseqdiff.layout import Track, uniform_edges

__all__ = ["SoundGeometry", "VideoGeometry"]


@attrs.frozen
class SoundGeometry:
    """Eq. (1).

    Attributes:
        hop: samples of one latent, h.
        sample_rate: samples a second.
        channels: numbers in one latent.
    """

    hop: int
    sample_rate: int
    channels: int

    def segments(self, length: int) -> int:
        """floor(length / h): 34,000 samples are 106 latents of 320, and the last 80 are dropped.

        Raises:
            ValueError: if the signal is shorter than one hop.
        """
        if length < self.hop:
            raise ValueError(f"{length} samples are too short for this codec: it needs {self.hop} samples or more")
        return length // self.hop

    def track(self, modality: str, shape: tuple[int, ...], rate: Fraction) -> Track:
        """Latent n lies at ``[n, n + 1) · h / rate`` seconds and is one token.

        Raises:
            ValueError: if the signal is shorter than one hop, or ``rate`` is not the sample rate.
        """
        if rate != self.sample_rate:
            raise ValueError(
                f"this codec takes {self.sample_rate} samples a second, not {rate}: set the modality's sample_rate to "
                f"{self.sample_rate}, or take a codec of {rate}"
            )
        edges = uniform_edges(self.segments(shape[0]), Fraction(rate) / self.hop)
        return Track(modality, edges, grid=(), channels=self.channels)


@attrs.frozen
class VideoGeometry:
    """Eq. (2).

    Attributes:
        stride: frames of every latent but the first, s.
        spatial_stride: rows, and columns, of pixels of one token, p.
        channels: numbers in one token.
        together: latents after the first that the codec takes together: their number must be a multiple of it.
    """

    stride: int
    spatial_stride: int
    channels: int
    together: int = 1

    def segments(self, length: int) -> int:
        """1 + n for 1 + s n frames, n a multiple of ``together``.

        Raises:
            ValueError: for other lengths.
        """
        step = self.stride * self.together
        if length < 1 or (length - 1) % step:
            below = max(1 + (length - 1) // step * step, 1)
            raise ValueError(
                f"{length} frames do not fit this codec, which takes 1 + {step} n of them: "
                f"the nearest are {below} and {below + step}"
            )
        return 1 + (length - 1) // self.stride

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tokens of a picture of this size.

        Raises:
            ValueError: if the picture's size is no multiple of p.
        """
        if height % self.spatial_stride or width % self.spatial_stride:
            raise ValueError(
                f"pictures of {height} x {width} do not fit this codec: both must be multiples of {self.spatial_stride}"
            )
        return height // self.spatial_stride, width // self.spatial_stride

    def track(self, modality: str, shape: tuple[int, ...], rate: Fraction) -> Track:
        """The first latent lasts one frame, the others s: edges 0, 1, 1 + s, 1 + 2 s … over ``rate``.

        Raises:
            ValueError: if the codec cannot take that number of frames or that size of pictures.
        """
        frames, height, width, _ = shape
        ends = [Fraction(1 + self.stride * n) / Fraction(rate) for n in range(self.segments(frames))]
        return Track(modality, (Fraction(0), *ends), self.grid(height, width), self.channels)
