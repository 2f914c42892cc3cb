"""SoundStream's adversaries (arXiv:2107.03312 §III-D, Fig. 4), and what both sides play for (Eq. 1 to 3).

    (1) wave       of the sound, and of it at a half and a quarter of its rate: MelGAN's grouped strided convolutions
    (2) STFT       of real and imaginary part, window 1024 and hop 256: six residual blocks of two-dimensional convolutions,
                   which divide time by 8 and the 512 frequencies by 64
    (3) adversary  mean_k ( mean max(0, 1 − D_k(x)) + mean max(0, 1 + D_k(x̂)) )     D_k has a logit for every stretch of time
    (4) codec      mean_k mean max(0, 1 − D_k(x̂))
    (5) features   mean_{k,l} mean |D_k^l(x) − D_k^l(x̂)|                             D_k^l is layer l's output

The hinge of (4) bounds what the codec can gain: −D(x̂) in its place has no lower bound, and training diverges with it. The
paper does not say where activations are; here a leaky ReLU of slope 0.2 follows every convolution but a block's last, whose
sum with the shortcut is activated. All weights are normalised (arXiv:1602.07868). On CPU all of it is float32, within autocast
too: strided convolutions of few channels come out wrong in bfloat16 there (layers.py).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

__all__ = ["Adversary", "StftDiscriminator", "WaveDiscriminator"]

Sounds = Float[Tensor, "batch sample"]

SLOPE = 0.2
WINDOW, HOP = 1024, 256
STRIDES = ((1, 2), (2, 2), (1, 2), (2, 2), (1, 2), (2, 2))
FACTORS = (2, 2, 1, 2, 1, 2)
POOLED = 3
"""Rates that there is a wave discriminator for, each half of the last."""


def activate(x: Tensor) -> Tensor:
    """A leaky ReLU."""
    return F.leaky_relu(x, SLOPE)


class WaveDiscriminator(nn.Module):
    """Eq. (1) at one rate. Widths are ``channels`` times 1, 4, 16, 64, 64, 64; a group is four channels wide."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        if channels % 4:
            raise ValueError(f"a wave discriminator's channels come in groups of four, got {channels}")
        widths = [channels * factor for factor in (1, 4, 16, 64, 64)]
        layers = [nn.Conv1d(1, channels, 15, padding=7)]
        layers += [nn.Conv1d(a, b, 41, stride=4, padding=20, groups=a // 4) for a, b in zip(widths, widths[1:])]
        layers += [nn.Conv1d(widths[-1], widths[-1], 5, padding=2), nn.Conv1d(widths[-1], 1, 3, padding=1)]
        self.layers = nn.ModuleList(map(weight_norm, layers))

    def forward(self, sounds: Sounds) -> list[Tensor]:
        """The output of every layer; the last is a logit for every 256 samples."""
        x, outputs = sounds[:, None], []
        for layer in self.layers:
            outputs.append(layer(x))
            x = activate(outputs[-1])
        return outputs


class Block(nn.Module):
    """Two convolutions, the second of which changes rate and width, and a shortcut that does so too."""

    def __init__(self, channels: int, out_channels: int, stride: tuple[int, int]) -> None:
        super().__init__()
        kernel = (stride[0] + 2, stride[1] + 2)
        self.first = weight_norm(nn.Conv2d(channels, channels, 3, padding=1))
        self.second = weight_norm(nn.Conv2d(channels, out_channels, kernel, stride, padding=1))
        self.shortcut = weight_norm(nn.Conv2d(channels, out_channels, 1, stride, bias=False))

    def forward(self, x: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch _ _ _"]:
        """``(B, channels, time, frequency)``, both divided by their strides, rounded down."""
        y = self.second(activate(self.first(x)))
        return y + self.shortcut(x)[:, :, : y.shape[2], : y.shape[3]]


class StftDiscriminator(nn.Module):
    """Eq. (2). Widths are ``channels`` times 1, 2, 4, 4, 8, 8, 16."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        layers: list[nn.Module] = [weight_norm(nn.Conv2d(2, channels, 7, padding=3))]
        for factor, stride in zip(FACTORS, STRIDES):
            layers.append(Block(channels, channels * factor, stride))
            channels *= factor
        layers.append(weight_norm(nn.Conv2d(channels, 1, (1, WINDOW // 2 // 64))))
        self.layers = nn.ModuleList(layers)

    def forward(self, sounds: Sounds) -> list[Tensor]:
        """The output of every layer; the last is a logit for every eight frames."""
        with torch.autocast(sounds.device.type, enabled=False):
            spectrum = torch.stft(
                sounds.float(), WINDOW, HOP, window=self.window, pad_mode="constant", return_complex=True
            )
        # The highest frequency is left out, so that there are as many as the strides divide. Copied into plain order: the
        # backward of a strided 1 x 1 convolution behind a permuted input crashes in PyTorch 2.13 on CPU.
        x, outputs = torch.view_as_real(spectrum[:, :-1]).permute(0, 3, 2, 1).contiguous(), []
        for layer in self.layers:
            outputs.append(layer(x))
            x = activate(outputs[-1])
        return outputs


class Adversary(nn.Module):
    """The four discriminators, and the terms of both sides, Eq. (3) to (5).

    Args:
        wave_channels: width of the first layer of those of the waveform.
        stft_channels: width of the first layer of that of the transform.
    """

    def __init__(self, wave_channels: int = 16, stft_channels: int = 32) -> None:
        super().__init__()
        self.waves = nn.ModuleList(WaveDiscriminator(wave_channels) for _ in range(POOLED))
        self.stft = StftDiscriminator(stft_channels)

    def forward(self, signal: Sounds, reconstruction: Sounds) -> dict[str, Tensor]:
        """The terms of both sides, without weights.

        Returns:
            ``adversarial`` and ``feature``, which reach ``reconstruction`` and none of the weights here, and
            ``adversary/hinge``, which reaches the weights alone.
        """
        fixed = {f"of.{name}": weight.detach() for name, weight in self.named_parameters()}
        with torch.autocast("cpu", enabled=False):
            real, fake = self.outputs(signal), self.outputs(reconstruction.detach())
            seen = torch.func.functional_call(_Outputs(self), fixed, (reconstruction,))
        count = len(real)
        differences = [(a.detach() - b).abs().mean() for x, y in zip(real, seen) for a, b in zip(x[:-1], y[:-1])]
        return {
            "adversarial": sum(F.relu(1 - y[-1]).mean() for y in seen) / count,
            "feature": sum(differences) / len(differences),
            "adversary/hinge": sum(F.relu(1 - x[-1]).mean() + F.relu(1 + y[-1]).mean() for x, y in zip(real, fake))
            / count,
        }

    def outputs(self, sounds: Sounds) -> Sequence[list[Tensor]]:
        """What every layer of every discriminator makes of sounds."""
        outputs, pooled = [], sounds
        for wave in self.waves:
            outputs.append(wave(pooled))
            pooled = F.avg_pool1d(pooled[:, None], 4, stride=2, padding=1, count_include_pad=False)[:, 0]
        return [*outputs, self.stft(sounds)]


class _Outputs(nn.Module):
    """:meth:`Adversary.outputs` as a module's forward, which is what ``functional_call`` calls."""

    def __init__(self, of: Adversary) -> None:
        super().__init__()
        self.of = of

    def forward(self, sounds: Sounds) -> Sequence[list[Tensor]]:
        return self.of.outputs(sounds)
