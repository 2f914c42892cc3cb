"""MAGVIT-v2 (arXiv:2310.05737) as a codec: 1 + s n frames ↔ 1 + n latents, continuous, at any width.

    (1) z = encoder(x)         s = 4 frames, 8 rows and 8 columns become one latent of 8 numbers
    (2) x̂ = decoder(z)
    (3) loss = 5 · mean (x̂ − x)² + edge_weight · edges + motion_weight · motion       distances of losses.py
             + 0.1 · mean (P(x̂) − P(x))²                      P a perceptual network, where training has one
             + 0.1 · mean softplus(−D(x̂))                     D the adversary of discriminator.py, likewise

Latents are not quantised, as in W.A.L.T (arXiv:2312.06662) and AVDiT (arXiv:2405.13762 §4.1), unless ``quantized`` asks
for the bits of quantizer.py. The whole is causal: latent n
follows from frames 0 … s n, so a video's first frames, or a single picture, are a clip of their own. The widths, kernels,
borders and weights of the terms are those of the official code (google/praxis, ``layers/video``); edges, motion and the
noise are ours.
"""

from fractions import Fraction
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mmseqdiff import random
from mmseqdiff.geometry import VideoGeometry
from mmseqdiff.layout import Track
from mmseqdiff.protocols import Memory, StreamingCodec
from mmseqdiff.streaming import Past
from mmseqdiff_magvit2.discriminator import Adversary, Discriminator
from mmseqdiff_magvit2.inflation import inflate
from mmseqdiff_magvit2.losses import edge_distance, motion_distance
from mmseqdiff_magvit2.networks import Decoder, Encoder
from mmseqdiff_magvit2.quantizer import LookupFreeQuantizer

__all__ = ["PRESETS", "Magvit2"]

PRESETS = {
    "base": (128, 4),  # 375.8 million weights, and 61.3 of the adversary at 17 x 128 x 128
    "medium": (64, 2),  # 57.7 million
    "small": (32, 1),
    "tiny": (16, 1),  # trains on two processor cores
}
"""``channels`` and ``blocks`` by name."""

Pictures = Float[Tensor, "batch frame height width 3"]
LatentGrid = Float[Tensor, "batch segment row column channel"]


class Magvit2(nn.Module, StreamingCodec):
    """The video codec. A signal is ``(B, frames, height, width, 3)`` in [0, 1].

    Args:
        preset: ``channels`` and ``blocks`` by name, one of :data:`PRESETS`, where these do not say.
        channels: width of the first layer.
        multipliers: the width at every resolution over ``channels``, finest first; the picture is halved between two.
        blocks: residual blocks at every resolution, and in the middle.
        latent_channels: numbers in one latent position.
        temporal_downsample: where the picture is halved, whether the frame rate is too; one fewer than ``multipliers``.
        kernel: of the strided convolutions, in every axis; the others are 3 × 3 × 3.
        temporal: False makes every kernel and stride in time 1: a codec of single pictures, to be inflated.
        reconstruction_weight: of the squared error in the training loss.
        edge_weight: of the distance of picture gradients in it.
        motion_weight: of the distance of changes from frame to frame in it; single frames have none.
        latent_noise: Gaussian noise on the latents in training, relative to each channel's own standard deviation, so
            that the decoder forgives a generated latent its errors.
        quantized: whether latents are bits, −1 or 1; the paper has 18 ``latent_channels`` of them.
        entropy_weight: of the bits' entropy term.
        commitment_weight: of the bits' commitment term.
        perceptual_weight: of the distance of perceptual features, where training has such a network.
        adversarial_weight: of the codec's term against the adversary, where training has one.
        gradient_weight: of the adversary's gradient penalty.
        lecam_weight: of the adversary's LeCam term.
        discriminator_channels: width of the adversary's first layer; ``channels`` where None.
        discriminator_multipliers: the width of each of its blocks over that; every block halves frames, rows and columns.

    Raises:
        ValueError: if ``temporal_downsample`` has the wrong length, there is no such preset, or quantised latents are to
            have noise.
    """

    causal = True

    def __init__(
        self,
        *,
        preset: str = "base",
        channels: int | None = None,
        multipliers: tuple[int, ...] = (1, 2, 2, 4),
        blocks: int | None = None,
        latent_channels: int = 8,
        temporal_downsample: tuple[bool, ...] = (False, True, True),
        kernel: int = 4,
        temporal: bool = True,
        reconstruction_weight: float = 5.0,
        edge_weight: float = 0.0,
        motion_weight: float = 0.0,
        latent_noise: float = 0.0,
        quantized: bool = False,
        entropy_weight: float = 0.1,
        commitment_weight: float = 0.25,
        perceptual_weight: float = 0.1,
        adversarial_weight: float = 0.1,
        gradient_weight: float = 10.0,
        lecam_weight: float = 0.001,
        discriminator_channels: int | None = None,
        discriminator_multipliers: tuple[int, ...] = (2, 4, 4, 4, 4),
    ) -> None:
        super().__init__()
        if preset not in PRESETS:
            raise ValueError(f"there is no preset {preset!r}; known: {', '.join(PRESETS)}")
        if quantized and latent_noise:
            raise ValueError("latent_noise is for continuous latents; quantised ones are bits")
        channels, blocks = (
            size if given is None else given for given, size in zip((channels, blocks), PRESETS[preset])
        )
        if len(temporal_downsample) != len(multipliers) - 1:
            raise ValueError(
                f"temporal_downsample needs one entry between every two of the {len(multipliers)} multipliers, "
                f"got {len(temporal_downsample)}"
            )
        stride = 2 ** sum(temporal_downsample) if temporal else 1
        self.geometry = VideoGeometry(stride, 2 ** len(temporal_downsample), latent_channels)
        self.segment_lengths = 1, stride
        self.reconstruction_weight, self.edge_weight = reconstruction_weight, edge_weight
        self.motion_weight, self.latent_noise = motion_weight, latent_noise
        self.perceptual_weight, self.adversarial_weight = perceptual_weight, adversarial_weight
        self.quantizer = LookupFreeQuantizer(entropy_weight, commitment_weight) if quantized else None
        self._adversary = partial(Adversary, gradient_weight=gradient_weight, lecam_weight=lecam_weight)
        self._discriminator = partial(
            Discriminator, channels=discriminator_channels or channels, multipliers=discriminator_multipliers
        )

        self._image_codec = partial(
            Magvit2,
            channels=channels,
            multipliers=multipliers,
            blocks=blocks,
            latent_channels=latent_channels,
            temporal_downsample=temporal_downsample,
            kernel=kernel,
            temporal=False,
            reconstruction_weight=reconstruction_weight,
            edge_weight=edge_weight,
            latent_noise=latent_noise,
            quantized=quantized,
            entropy_weight=entropy_weight,
            commitment_weight=commitment_weight,
            perceptual_weight=perceptual_weight,
        )

        widths = [channels * multiplier for multiplier in multipliers]
        strides = [(2 if temporal and halved else 1, 2, 2) for halved in temporal_downsample]
        small, large = ((3, 3, 3), (kernel, kernel, kernel)) if temporal else ((1, 3, 3), (1, kernel, kernel))
        self.encoder = Encoder(widths, blocks, latent_channels, small, large, strides)
        self.decoder = Decoder(widths, blocks, latent_channels, small, strides)

    def segments(self, length: int) -> int:
        """1 + n for 1 + s n frames.

        Raises:
            ValueError: for other lengths.
        """
        return self.geometry.segments(length)

    def track(self, modality: str, shape: tuple[int, ...], rate: Fraction) -> Track:
        """That of :class:`mmseqdiff.geometry.VideoGeometry`."""
        return self.geometry.track(modality, shape, rate)

    def encode(self, signal: Pictures) -> LatentGrid:
        """Latents, Eq. (1).

        Raises:
            ValueError: if the codec cannot take that number of frames or that size of pictures.
        """
        return self._quantised(self._latents(signal))

    def _latents(self, signal: Pictures) -> LatentGrid:
        """Eq. (1) before any quantiser."""
        self.segments(signal.shape[1])
        self.geometry.grid(*signal.shape[2:4])
        return self.encoder(signal)

    def decode(self, latents: LatentGrid) -> Pictures:
        """Pictures of latents, Eq. (2), clipped to [0, 1]; where latents are bits, of the nearest bits."""
        return self.decoder(self._quantised(latents)).clamp(0, 1)

    def _quantised(self, latents: LatentGrid) -> LatentGrid:
        return latents if self.quantizer is None else self.quantizer.quantise(latents)

    def encode_chunk(self, chunk: Pictures, state: Memory | None = None) -> tuple[LatentGrid, Memory]:
        """Latents of the next frames, and the state after them: 1 + s n frames the first time, s n every other.

        Raises:
            ValueError: if the codec cannot take that number of frames or that size of pictures, or the state is not of
                a chunk like this.
        """
        frames, stride = chunk.shape[1], self.geometry.stride
        if state is None:
            self.segments(frames)
        elif frames < 1 or frames % stride:
            raise ValueError(
                f"a chunk of {frames} frames does not fit this codec: after the first chunk, of 1 + {stride} n frames, "
                f"it takes multiples of {stride}"
            )
        self.geometry.grid(*chunk.shape[2:4])
        past = Past(state)
        return self._quantised(self.encoder(chunk, past)), past.state()

    def decode_chunk(self, latents: LatentGrid, state: Memory | None = None) -> tuple[Pictures, Memory]:
        """Pictures of the next latents, and the state after them: 1 + s n frames the first time, s n every other.

        Raises:
            ValueError: if there is no latent, or the state is not of latents like these.
        """
        if not latents.shape[1]:
            raise ValueError("a chunk needs a latent at least")
        past, latents = Past(state), self._quantised(latents)
        return self.decoder(latents, past).clamp(0, 1), past.state()

    def adversary(self, shape: tuple[int, ...]) -> Adversary:
        """An untrained adversary for clips of ``(frames, height, width, 3)``."""
        return self._adversary(self._discriminator(shape[:3]))

    def training_loss(
        self,
        signal: Pictures,
        keys: Int[Tensor, " batch"],
        *,
        adversary: nn.Module | None = None,
        perceptual: nn.Module | None = None,
    ) -> dict[str, Tensor]:
        """The terms of Eq. (3), weighted: their sum is what to minimise. Pictures are not clipped here.

        Args:
            signal: a batch of clips.
            keys: one per example; the latents' noise follows from them.
            adversary: from :meth:`adversary`.
            perceptual: a :class:`mmseqdiff.protocols.Perceptual`.

        Returns:
            ``reconstruction``; ``edge``, ``motion``, ``commitment`` and ``entropy``, ``perceptual``, and ``adversarial``
            where there are such terms and they have a weight; and the adversary's own.
        """
        latents, quantization = self._latents(signal), {}
        if self.quantizer is not None:
            latents, quantization = self.quantizer(latents)
        if self.latent_noise:
            noise = random.normal(keys, "latent_noise", latents.shape[1:], latents.dtype)
            # The spread stays in the graph: noise that grows with the latents cannot be escaped by growing them.
            latents = latents + self.latent_noise * latents.std((0, 1, 2, 3)) * noise
        reconstruction = self.decoder(latents).to(signal.dtype)
        terms = {"reconstruction": self.reconstruction_weight * (reconstruction - signal).square().mean()}
        if self.edge_weight:
            terms["edge"] = self.edge_weight * edge_distance(signal, reconstruction)
        if self.motion_weight and signal.shape[1] > 1:
            terms["motion"] = self.motion_weight * motion_distance(signal, reconstruction)
        terms |= quantization
        if perceptual is not None and self.perceptual_weight:
            with torch.no_grad():
                seen = perceptual(signal)
            terms["perceptual"] = self.perceptual_weight * (perceptual(reconstruction) - seen).square().mean()
        if adversary is not None:
            terms["adversarial"] = self.adversarial_weight * adversary.deceived(reconstruction)
            terms |= adversary(signal, reconstruction)
        return terms

    def image_codec(self) -> "Magvit2":
        """An untrained codec of single pictures that :meth:`inflate_from` takes: cheaper to train, so trained first."""
        return self._image_codec()

    def inflate_from(self, image_codec: "Magvit2") -> None:
        """Takes the weights of :meth:`image_codec`: single pictures and still videos are then coded as it codes them.

        Raises:
            ValueError: if the two differ in blocks or widths.
        """
        inflate(image_codec, self)
