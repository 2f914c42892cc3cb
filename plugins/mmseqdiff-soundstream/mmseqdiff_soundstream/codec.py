"""SoundStream (arXiv:2107.03312): a causal convolutional autoencoder of waveforms, at any width.

    (1) z = encoder(x)           one latent per hop of prod(strides) samples; latent i sees samples 0 … hop·(i+1) − 1
    (2) x̂ = decoder(z)           hop·(i+1) samples from the latents 0 … i

Latents are continuous: AVDiT (arXiv:2405.13762 §4.1) diffuses them as they leave the encoder. The quantiser is
optional, and where there is one the decoder is trained on both quantised and continuous latents.

The training loss is the paper's Eq. 6, λ_adv = 1, λ_feat = 100 and λ_rec = 1, with the quantiser's commitment:

    (3) loss = mel distance + 1 · hinge + 100 · features      losses.py, discriminators.py; the last two where training has
                                                              an adversary

A distance of waveforms and the latents' noise are ours.
"""

import math
from fractions import Fraction
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mmseqdiff import random
from mmseqdiff.geometry import SoundGeometry
from mmseqdiff.layout import Track
from mmseqdiff.protocols import Memory, StreamingCodec
from mmseqdiff.streaming import Past
from mmseqdiff_soundstream.discriminators import HOP, Adversary
from mmseqdiff_soundstream.layers import Decoder, Encoder
from mmseqdiff_soundstream.losses import MelDistance
from mmseqdiff_soundstream.quantizer import ResidualQuantizer

__all__ = ["SoundStream"]


class SoundStream(nn.Module, StreamingCodec):
    """The audio codec. A signal is ``(B, samples)`` in [−1, 1], its latents ``(B, samples // hop, latent_channels)``.

    Args:
        channels: width of the first layer; it doubles at every stride. AVDiT's 1024 latent channels are 64 · 16.
        latent_channels: numbers in one latent.
        strides: of the encoder's blocks; their product is the hop, 320 samples by default.
        quantizers: stages of the residual quantiser; 0 for none.
        codebook_size: codes of one stage.
        quantized_probability: the part of the examples that the decoder sees quantised in training.
        latent_noise: Gaussian noise on the latents in training, relative to each channel's own standard deviation, so
            that the decoder forgives a generated latent its errors.
        sample_rate: samples a second of every signal; the mel distance is made for it.
        mel_weight: of the multi-scale mel distance.
        waveform_weight: of the mean absolute difference of the waveforms.
        commitment_weight: of the quantiser's commitment loss.
        adversarial_weight: of the codec's hinge against the adversary, where training has one.
        feature_weight: of the distance of the adversary's features, likewise.
        wave_channels: width of the first layer of the adversary's wave discriminators.
        stft_channels: width of the first layer of its discriminator of the transform.
    """

    causal = True

    def __init__(
        self,
        channels: int = 64,
        latent_channels: int = 1024,
        strides: tuple[int, ...] = (2, 4, 5, 8),
        *,
        quantizers: int = 0,
        codebook_size: int = 1024,
        quantized_probability: float = 0.5,
        latent_noise: float = 0.0,
        sample_rate: int = 16000,
        mel_weight: float = 1.0,
        waveform_weight: float = 0.0,
        commitment_weight: float = 1.0,
        adversarial_weight: float = 1.0,
        feature_weight: float = 100.0,
        wave_channels: int = 16,
        stft_channels: int = 32,
    ) -> None:
        super().__init__()
        self.geometry = SoundGeometry(math.prod(strides), sample_rate, latent_channels)
        self.segment_lengths = self.geometry.hop, self.geometry.hop
        self.quantized_probability, self.latent_noise = quantized_probability, latent_noise
        self.mel_weight, self.waveform_weight, self.commitment_weight = mel_weight, waveform_weight, commitment_weight
        self.adversarial_weight, self.feature_weight = adversarial_weight, feature_weight
        self._adversary = partial(Adversary, wave_channels, stft_channels)
        self.encoder = Encoder(channels, latent_channels, strides)
        self.decoder = Decoder(channels, latent_channels, strides)
        self.quantizer = ResidualQuantizer(latent_channels, quantizers, codebook_size) if quantizers else None
        self.mel_distance = MelDistance(sample_rate)

    def segments(self, length: int) -> int:
        """floor(length / hop).

        Raises:
            ValueError: if the signal is shorter than one hop.
        """
        return self.geometry.segments(length)

    def track(self, modality: str, shape: tuple[int, ...], rate: Fraction) -> Track:
        """That of :class:`mmseqdiff.geometry.SoundGeometry`."""
        return self.geometry.track(modality, shape, rate)

    def crop(self, signal: Float[Tensor, "batch sample"]) -> Float[Tensor, "batch sample_cropped"]:
        """The signal without the samples after its last whole hop."""
        return signal[:, : self.geometry.hop * self.segments(signal.shape[1])]

    def encode(self, signal: Float[Tensor, "batch sample"]) -> Float[Tensor, "batch segment channel"]:
        """Continuous latents, Eq. (1), of the signal cropped to whole hops."""
        return self.encoder(self.crop(signal)[:, None]).transpose(1, 2)

    def decode(
        self, latents: Float[Tensor, "batch segment channel"], *, requantize: bool = False
    ) -> Float[Tensor, "batch sample"]:
        """The waveform, Eq. (2): ``hop`` samples for every latent, clipped to [−1, 1].

        Args:
            latents: from :meth:`encode`, or generated.
            requantize: decode the nearest quantised latents instead.

        Raises:
            ValueError: if ``requantize`` is asked of a codec without a quantiser.
        """
        if requantize:
            if self.quantizer is None:
                raise ValueError("this codec has no quantiser to requantise with: it was built with quantizers = 0")
            latents = self.quantizer.decode(self.quantizer.encode(latents))
        return self._waveform(latents).clamp(-1, 1)

    def encode_chunk(
        self, chunk: Float[Tensor, "batch sample"], state: Memory | None = None
    ) -> tuple[Float[Tensor, "batch segment channel"], Memory]:
        """Latents of the next samples, and the state after them. Nothing is cropped.

        Raises:
            ValueError: if the samples are no whole hops, or the state is not of a chunk like this.
        """
        samples = chunk.shape[1]
        if samples < 1 or samples % self.geometry.hop:
            raise ValueError(
                f"a chunk of {samples} samples does not fit this codec: it takes multiples of {self.geometry.hop}"
            )
        past = Past(state)
        return self.encoder(chunk[:, None], past).transpose(1, 2), past.state()

    def decode_chunk(
        self, latents: Float[Tensor, "batch segment channel"], state: Memory | None = None
    ) -> tuple[Float[Tensor, "batch sample"], Memory]:
        """The waveform of the next latents, and the state after them.

        Raises:
            ValueError: if there is no latent, or the state is not of latents like these.
        """
        if not latents.shape[1]:
            raise ValueError("a chunk needs a latent at least")
        past = Past(state)
        return self.decoder(latents.transpose(1, 2), past)[:, 0].clamp(-1, 1), past.state()

    def _waveform(self, latents: Float[Tensor, "batch segment channel"]) -> Float[Tensor, "batch sample"]:
        return self.decoder(latents.transpose(1, 2))[:, 0]

    def adversary(self, shape: tuple[int, ...]) -> Adversary:
        """An untrained adversary for sounds of ``(samples,)``.

        Raises:
            ValueError: if they are so short that the discriminator of the transform has no logit.
        """
        if self.geometry.hop * self.segments(shape[0]) < 7 * HOP:
            raise ValueError(f"{shape[0]} samples are too short for the adversary: it needs {7 * HOP} samples or more")
        return self._adversary()

    def training_loss(
        self, signal: Float[Tensor, "batch sample"], keys: Int[Tensor, " batch"], *, adversary: nn.Module | None = None
    ) -> dict[str, Tensor]:
        """The terms of the training loss, weighted: their sum is what to minimise.

        Args:
            signal: a batch of crops.
            keys: one per example; every random choice follows from them.
            adversary: from :meth:`adversary`.

        Returns:
            ``mel`` and ``waveform``, ``commitment`` where there is a quantiser, and ``adversarial``, ``feature`` and the
            adversary's own ``adversary/hinge`` where there is one.
        """
        signal = self.crop(signal)
        latents, terms = self.encode(signal), {}
        if self.quantizer is not None:
            quantized, commitment = self.quantizer(latents, keys)
            chosen = random.uniform(keys, "quantized") < self.quantized_probability
            latents = torch.where(chosen[:, None, None], quantized, latents)
            terms["commitment"] = self.commitment_weight * commitment
        if self.latent_noise:
            noise = random.normal(keys, "latent_noise", latents.shape[1:], latents.dtype)
            # The spread stays in the graph: noise that grows with the latents cannot be escaped by growing them.
            latents = latents + self.latent_noise * latents.std((0, 1)) * noise
        reconstruction = self._waveform(latents).to(signal.dtype)
        terms["mel"] = self.mel_weight * self.mel_distance(signal, reconstruction).mean()
        terms["waveform"] = self.waveform_weight * (signal - reconstruction).abs().mean()
        if adversary is not None:
            played = adversary(signal, reconstruction)
            terms["adversarial"] = self.adversarial_weight * played["adversarial"]
            terms["feature"] = self.feature_weight * played["feature"]
            terms["adversary/hinge"] = played["adversary/hinge"]
        return terms

    def reconstruction_quality(
        self, signal: Float[Tensor, "batch sample"], reconstruction: Float[Tensor, "batch sample"]
    ) -> dict[str, Tensor]:
        """``mel``, the multi-scale mel distance of every clip."""
        return {"mel": self.mel_distance(signal, reconstruction)}
