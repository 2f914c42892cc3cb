"""The video autoencoders of diffusers as codecs: 1 + r n frames ↔ 1 + n latents.

    (1) z = mean of q(z | 2 x − 1)        raw: the model's scaling_factor, latents_mean and latents_std are not applied
    (2) x̂ = (decoder(z) + 1) / 2          clipped to [0, 1]

In all of them the first latent stands for the first frame alone and each further one for r frames. Whether a latent has
seen later frames than these was measured, by changing single frames and latents:

    model        encoder  decoder   what looks ahead
    Magvit       causal   causal
    Wan          causal   causal
    LTX          causal   not       the decoder's convolutions are centred
    CogVideoX    not      not       group norms over windows of 8 frames, 2 latents
    Hunyuan      not      not       group norms over the whole clip
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import diffusers
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmseqdiff.geometry import VideoGeometry
from mmseqdiff.layout import Track
from mmseqdiff.protocols import Codec
from mmseqdiff_huggingface.files import Pretrained, find, load, read_configuration

__all__ = ["DiffusersVideo"]

Pictures = Float[Tensor, "batch frame height width 3"]
LatentGrid = Float[Tensor, "batch segment row column channel"]
STEM = "diffusion_pytorch_model"


@attrs.frozen
class Geometry(VideoGeometry):
    """How a model divides a clip, and whether it looks ahead in it.

    Attributes:
        ahead: what in the model looks ahead; empty for a causal one.
    """

    ahead: str = ""


def _magvit(model: nn.Module) -> Geometry:
    config, stride = model.config, model.temporal_compression_ratio
    # Without norms per picture they see the 4 frames that are encoded at a time: one latent's, or several.
    ahead = "" if config.spatial_group_norm or stride == 4 else "group norms over windows of 4 frames"
    return Geometry(stride, model.spatial_compression_ratio, config.latent_channels, ahead=ahead)


def _ltx(model: nn.Module) -> Geometry:
    config = model.config
    if not config.encoder_causal:
        raise ValueError(
            "an AutoencoderKLLTXVideo whose encoder_causal is false has no latent of the first frame alone"
        )
    ahead = "" if config.decoder_causal else "the decoder's centred convolutions"
    return Geometry(
        model.temporal_compression_ratio, model.spatial_compression_ratio, config.latent_channels, ahead=ahead
    )


def _cogvideox(model: nn.Module) -> Geometry:
    config = model.config
    # Two latents are decoded at a time, the first with them: of an even number every latent would give r frames.
    return Geometry(
        int(config.temporal_compression_ratio),
        2 ** (len(config.block_out_channels) - 1),
        config.latent_channels,
        together=model.num_latent_frames_batch_size,
        ahead="group norms over windows of 8 frames, and of 2 latents",
    )


def _wan(model: nn.Module) -> Geometry:
    config, stride = model.config, 2 ** sum(model.config.temperal_downsample)
    if stride != 4:
        raise ValueError(
            f"an AutoencoderKLWan always encodes 4 frames at a time, but this one makes 1 latent of {stride}"
        )
    return Geometry(stride, (config.patch_size or 1) * 2 ** (len(config.dim_mult) - 1), config.z_dim)


def _hunyuan(model: nn.Module) -> Geometry:
    config = model.config
    ahead = "group norms over the whole clip"
    return Geometry(
        config.temporal_compression_ratio, config.spatial_compression_ratio, config.latent_channels, ahead=ahead
    )


MODELS: dict[str, Callable[[nn.Module], Geometry]] = {
    "AutoencoderKLMagvit": _magvit,
    "AutoencoderKLLTXVideo": _ltx,
    "AutoencoderKLCogVideoX": _cogvideox,
    "AutoencoderKLWan": _wan,
    "AutoencoderKLHunyuanVideo": _hunyuan,
}


class DiffusersVideo(Pretrained, Codec):
    """A pretrained video codec. A signal is ``(B, frames, height, width, 3)`` in [0, 1].

    Args:
        model: a folder of files, or ``hub:OWNER/NAME[/SUBFOLDER][@REVISION]``; only a name of the latter kind is ever
            downloaded. Which autoencoder it is stands in its ``config.json``.

    Raises:
        ValueError: if there is no such model, it is none of those that are known here, or its weights are missing, a
            pickle, or do not fit.
    """

    def __init__(self, model: str) -> None:
        folder = find(model, STEM)
        configuration = read_configuration(folder, "_class_name", list(MODELS))
        name = configuration["_class_name"]
        super().__init__(_load(getattr(diffusers, name), folder, configuration), configuration)
        self.geometry = MODELS[name](self.model)
        if not self.causal:
            logging.getLogger(__name__).warning("%s is not causal: %s look ahead", name, self.geometry.ahead)

    @property
    def causal(self) -> bool:
        """Whether both encoder and decoder are: LTX's encoder alone is."""
        return not self.geometry.ahead

    def segments(self, length: int) -> int:
        """1 + n for 1 + r n frames; of some models n must be even.

        Raises:
            ValueError: for other lengths.
        """
        return self.geometry.segments(length)

    def track(self, modality: str, shape: tuple[int, ...], rate: Fraction) -> Track:
        """That of :class:`mmseqdiff.geometry.VideoGeometry`."""
        return self.geometry.track(modality, shape, rate)

    def encode(self, signal: Pictures) -> LatentGrid:
        """Latents, Eq. (1): the posterior's mean, never a sample.

        Raises:
            ValueError: if the codec cannot take that number of frames or that size of pictures.
        """
        expected = (self.segments(signal.shape[1]), *self.geometry.grid(*signal.shape[2:4]), self.geometry.channels)
        latents = self.model.encode(2 * signal.movedim(-1, 1) - 1).latent_dist.mode().movedim(1, -1)
        if latents.shape[1:] != expected:
            raise ValueError(f"the model gave latents of {tuple(latents.shape[1:])}, expected {expected}")
        return latents

    def decode(self, latents: LatentGrid) -> Pictures:
        """Pictures of latents, Eq. (2)."""
        extra, config = {}, self.model.config
        if getattr(config, "timestep_conditioning", False):  # LTX's decoder can also denoise a little: here it does not
            extra["temb"] = latents.new_zeros(len(latents))
        # The noise that some of LTX's decoders add is the same at every call, and for every example.
        noisy = any(getattr(config, "decoder_inject_noise", ()))
        with _fixed_noise(latents.device) if noisy else nullcontext():
            pictures = self.model.decode(latents.movedim(-1, 1), **extra).sample
        return ((pictures.movedim(1, -1) + 1) / 2).clamp(0, 1)


def _load(kind: Any, folder: Path, configuration: dict[str, Any]) -> nn.Module:
    return load(
        folder,
        STEM,
        lambda: kind.from_config(configuration),
        lambda: kind.from_pretrained(
            folder,
            torch_dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
        ),
    )


@contextmanager
def _fixed_noise(device: torch.device) -> Iterator[None]:
    """PyTorch's generators at seed 0 inside, and afterwards as they were before."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        yield
