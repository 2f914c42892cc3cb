"""The audio codecs of transformers: continuous latents, one per hop.

    (1) z = encoder(x)         before the quantiser; of a signal cropped to whole hops
    (2) x̂ = decoder(z)         clipped to [−1, 1]; or of z through the first k stages of the quantiser
    (3) z = (encoder(x / s), log s)       EnCodec at 48 kHz: s is the root mean square of the clip

Whether a latent has seen more than its own hop and what lies before was measured, by changing stretches of the signal:

    model             hop    latents   causal
    Mimi              1920   12.5 Hz   yes
    EnCodec 24 kHz    320    75 Hz     but for the start: its border is the signal mirrored, so the first latents see ahead
    EnCodec 48 kHz    320    150 Hz    no: centred convolutions, norms over time, one loudness for the clip
    DAC               512    86 Hz     no: centred convolutions
"""

import logging
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import torch
import transformers
from jaxtyping import Float
from torch import Tensor, nn

from mmseqdiff.geometry import SoundGeometry
from mmseqdiff.layout import Track
from mmseqdiff.protocols import Codec
from mmseqdiff_huggingface.files import Pretrained, find, load, read_configuration

__all__ = ["TransformersAudio"]

Latents = Float[Tensor, "batch channel segment"]
STEM = "model"


@attrs.frozen(eq=False)
class EnCodec:
    """arXiv:2210.13438.

    Attributes:
        model: of transformers.
    """

    model: nn.Module

    @property
    def hop(self) -> int:
        """Samples of one latent."""
        return math.prod(self.model.config.upsampling_ratios)

    @property
    def stages(self) -> range:
        """How many stages of the quantiser can be used."""
        return range(1, len(self.model.quantizer.layers) + 1)

    @property
    def ahead(self) -> str:
        """What in the model looks ahead; empty for a causal one."""
        config = self.model.config
        found = {
            "centred convolutions": not config.use_causal_conv,
            "norms over time": config.norm_type == "time_group_norm",
            "one loudness for the clip": config.normalize,
            "borders that mirror the signal's start": config.use_causal_conv and config.pad_mode == "reflect",
        }
        return ", ".join(what for what, is_so in found.items() if is_so)

    def encode(self, waves: Float[Tensor, "batch side sample"]) -> Latents:
        """Eq. (1)."""
        return self.model.encoder(waves)

    def decode(self, latents: Latents) -> Float[Tensor, "batch side sample"]:
        """Eq. (2)."""
        return self.model.decoder(latents)

    def quantize(self, latents: Latents, stages: int) -> Latents:
        """The latents as so many stages leave them."""
        residual = latents
        for stage in self.model.quantizer.layers[:stages]:
            residual = residual - stage.decode(stage.encode(residual))
        return latents - residual


class Dac(EnCodec):
    """arXiv:2306.06546."""

    @property
    def hop(self) -> int:
        """Samples of one latent."""
        return math.prod(self.model.config.downsampling_ratios)

    @property
    def stages(self) -> range:
        """How many stages of the quantiser can be used."""
        return range(1, self.model.config.n_codebooks + 1)

    @property
    def ahead(self) -> str:
        """What in the model looks ahead."""
        return "centred convolutions"

    def quantize(self, latents: Latents, stages: int) -> Latents:
        """The latents as so many stages leave them."""
        return self.model.quantizer(latents, stages)[0]


class Mimi(EnCodec):
    """arXiv:2410.00037."""

    @property
    def hop(self) -> int:
        """Samples of one latent."""
        return math.prod(self.model.config.upsampling_ratios) * self.model.config.latent_stride

    @property
    def stages(self) -> range:
        """How many stages of the quantiser can be used: the semantic ones always are."""
        return range(self.model.config.num_semantic_quantizers, self.model.config.num_quantizers + 1)

    @property
    def ahead(self) -> str:
        """What in the model looks ahead; empty for a causal one."""
        config = self.model.config
        if not config.use_causal_conv:
            return "centred convolutions"
        return "borders that mirror the signal's start" if config.pad_mode == "reflect" else ""

    def encode(self, waves: Float[Tensor, "batch side sample"]) -> Latents:
        """Eq. (1)."""
        return self.model.encoder(waves).latents

    def decode(self, latents: Latents) -> Float[Tensor, "batch side sample"]:
        """Eq. (2)."""
        return self.model.decoder(latents).audio_values

    def quantize(self, latents: Latents, stages: int) -> Latents:
        """The latents as so many stages leave them."""
        return self.model.quantizer.decode(self.model.quantizer.encode(latents, stages).transpose(0, 1))


MODELS: dict[str, tuple[str, type[EnCodec]]] = {
    "encodec": ("EncodecModel", EnCodec),
    "dac": ("DacModel", Dac),
    "mimi": ("MimiModel", Mimi),
}
"""``model_type`` → the class in transformers, and what is different about it here."""


class TransformersAudio(Pretrained, Codec):
    """A pretrained audio codec. A signal is ``(B, samples)`` in [−1, 1], at the model's own sample rate.

    Args:
        model: a folder of files, or ``hub:OWNER/NAME[/SUBFOLDER][@REVISION]``; only a name of the latter kind is ever
            downloaded. Which codec it is stands in its ``config.json``.
        quantizers: stages of the codec's quantiser that latents go through before they are decoded; 0 for none. What is
            encoded is continuous either way.

    Raises:
        ValueError: if there is no such model, it is none of those that are known here, its weights are missing, a pickle,
            or do not fit, or it has not so many stages.
    """

    def __init__(self, model: str, *, quantizers: int = 0) -> None:
        folder = find(model, STEM)
        configuration = read_configuration(folder, "model_type", list(MODELS))
        name, kind = MODELS[configuration["model_type"]]
        super().__init__(_load(getattr(transformers, name), folder), configuration)
        self.parts = kind(self.model)
        config = self.model.config
        self.sides = getattr(config, "audio_channels", 1)
        self.normalize = getattr(config, "normalize", False)
        self.geometry = SoundGeometry(self.parts.hop, config.sampling_rate, config.hidden_size + self.normalize)
        if quantizers and quantizers not in self.parts.stages:
            first, last = self.parts.stages[0], self.parts.stages[-1]
            raise ValueError(f"quantizers must be 0 for none, or lie in {first} … {last} for {name}, got {quantizers}")
        self.quantizers = quantizers
        if not self.causal:
            logging.getLogger(__name__).warning("%s is not causal: %s look ahead", name, self.parts.ahead)

    @property
    def causal(self) -> bool:
        """Whether the model is."""
        return not self.parts.ahead

    def segments(self, length: int) -> int:
        """floor(length / hop).

        Raises:
            ValueError: if the signal is shorter than one hop.
        """
        return self.geometry.segments(length)

    def track(self, modality: str, shape: tuple[int, ...], rate: Fraction) -> Track:
        """That of :class:`mmseqdiff.geometry.SoundGeometry`."""
        return self.geometry.track(modality, shape, rate)

    def encode(self, signal: Float[Tensor, "batch sample"]) -> Float[Tensor, "batch segment channel"]:
        """Continuous latents, Eq. (1) or (3)."""
        signal = signal[:, : self.geometry.hop * self.segments(signal.shape[1])]
        if not self.normalize:
            return self._encode(signal)
        scale = signal.square().mean(1, keepdim=True).sqrt() + 1e-8
        latents = self._encode(signal / scale)
        loudness = scale.log()[:, None].expand(-1, latents.shape[1], -1)
        return torch.cat([latents, loudness], dim=2)

    def decode(self, latents: Float[Tensor, "batch segment channel"]) -> Float[Tensor, "batch sample"]:
        """The waveform, Eq. (2) or (3), the loudness being the mean over all latents; at most ``hop`` samples for each."""
        length = self.geometry.hop * latents.shape[1]
        if not self.normalize:
            return self._decode(latents)[:, :length].clamp(-1, 1)
        scale = latents[..., -1].mean(1, keepdim=True).exp()
        return (self._decode(latents[..., :-1])[:, :length] * scale).clamp(-1, 1)

    def _encode(self, signal: Float[Tensor, "batch sample"]) -> Float[Tensor, "batch segment channel"]:
        return self.parts.encode(signal[:, None].expand(-1, self.sides, -1)).transpose(1, 2)

    def _decode(self, latents: Float[Tensor, "batch segment channel"]) -> Float[Tensor, "batch sample"]:
        latents = latents.transpose(1, 2)
        if self.quantizers:
            latents = self.parts.quantize(latents, self.quantizers)
        return self.parts.decode(latents).mean(1)


def _load(kind: Any, folder: Path) -> nn.Module:
    return load(
        folder,
        STEM,
        lambda: kind(kind.config_class.from_pretrained(folder, local_files_only=True)),
        lambda: kind.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        ),
    )
