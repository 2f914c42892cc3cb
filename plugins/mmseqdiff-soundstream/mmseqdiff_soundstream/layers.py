"""The causal convolutions that SoundStream is made of (arXiv:2107.03312 §III-A, III-B; Fig. 3).

With kernel k, stride s and dilation d, position i of a convolution's output sees its input up to (1), so a strided
stack sees every block of samples whole and nothing after it. A transposed convolution spreads input i over k outputs
from s·i on; cutting what lies beyond s·L, as in (2), leaves outputs that see no later input.

    (1) y_i = f(x_0 … x_{s(i+1)−1})        by d(k − 1) − (s − 1) zeros on the left, none on the right
    (2) y_0 … y_{sL−1}                     by cutting the last k − s outputs

Tensors are channels-first here: ``(batch, channels, time)``.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["CausalConv", "CausalUpsampling", "Decoder", "Encoder", "ResidualUnit"]

DILATIONS = (1, 3, 9)


class CausalConv(nn.Conv1d):
    """A convolution that sees the past only, Eq. (1): L positions in, floor(L / stride) out."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel, stride=stride, dilation=dilation)
        self.left = dilation * (kernel - 1) - (stride - 1)

    def forward(self, x: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch channel_out time_out"]:
        """The convolution of ``x``, padded with zeros before its start."""
        return super().forward(functional.pad(x, (self.left, 0)))


class CausalUpsampling(nn.ConvTranspose1d):
    """A transposed convolution of kernel 2s that sees the past only, Eq. (2): L positions in, s·L out."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(in_channels, out_channels, 2 * stride, stride=stride)

    def forward(self, x: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch channel_out time_out"]:
        """``x`` at ``stride`` times its rate."""
        return super().forward(x)[..., : self.stride[0] * x.shape[-1]]


class ResidualUnit(nn.Module):
    """x + conv_1(ELU(conv_7(ELU(x)))), the wide kernel dilated; ELU comes first and there is no normalisation."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.wide = CausalConv(channels, channels, 7, dilation=dilation)
        self.narrow = CausalConv(channels, channels, 1)

    def forward(self, x: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch channel time"]:
        """``x`` and what the unit adds to it."""
        return x + self.narrow(functional.elu(self.wide(functional.elu(x))))


def _units(channels: int) -> list[nn.Module]:
    return [ResidualUnit(channels, dilation) for dilation in DILATIONS]


class Encoder(nn.Sequential):
    """Waveform ``(B, 1, samples)`` → latents ``(B, latent_channels, samples / hop)``, with no activation at the end.

    Channels double at every stride, from ``channels`` on.
    """

    def __init__(self, channels: int, latent_channels: int, strides: Sequence[int]) -> None:
        layers: list[nn.Module] = [CausalConv(1, channels, 7)]
        for stride in strides:
            layers += [*_units(channels), nn.ELU(), CausalConv(channels, 2 * channels, 2 * stride, stride=stride)]
            channels *= 2
        super().__init__(*layers, nn.ELU(), CausalConv(channels, latent_channels, 3))


class Decoder(nn.Sequential):
    """Latents ``(B, latent_channels, segments)`` → waveform ``(B, 1, hop · segments)``: the encoder's mirror image."""

    def __init__(self, channels: int, latent_channels: int, strides: Sequence[int]) -> None:
        channels *= 2 ** len(strides)
        layers: list[nn.Module] = [CausalConv(latent_channels, channels, 7)]
        for stride in reversed(strides):
            layers += [nn.ELU(), CausalUpsampling(channels, channels // 2, stride), *_units(channels // 2)]
            channels //= 2
        super().__init__(*layers, nn.ELU(), CausalConv(channels, 1, 7))
