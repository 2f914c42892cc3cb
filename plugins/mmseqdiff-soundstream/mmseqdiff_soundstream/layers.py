"""The causal convolutions that SoundStream is made of (arXiv:2107.03312 §III-A, III-B; Fig. 3).

Tensors are channels-first here: ``(batch, channels, time)``. A convolution of kernel k and dilation d pads d(k − 1)
zeros on the left and none on the right. Changes of rate by s have kernel 2s, which is two blocks of s samples:

    (1) y_i = Σ_{j < s} W_j x_{s(i−1)+j} + W_{s+j} x_{si+j}      down: the block before, and this block whole
    (2) y_{si+j} = W_j x_i + W_{s+j} x_{i−1}                     up: the transpose, without its last s outputs

In (1) s zeros stand for the block before the first, so that y_i sees x_0 … x_{s(i+1)−1} and nothing later; in (2) an
output sees no later input. Both are computed as convolutions of kernel 2 over blocks folded into channels: equal to
strided ones, but those come out plainly wrong in bfloat16 from oneDNN's AMX kernels for fewer than 32 channels
(PyTorch 2.13, Conv1d(24, 48, 8, stride=4)).

A sound may also come in chunks: then a layer has the ``past`` of its chunk instead of zeros.

Weights start normal with variance 1 / fan-in, biases at 0, so that without any normalisation a sound arrives at the
other end with its own size. What a residual unit adds starts smaller, and the waveform smaller still.
"""

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mmseqdiff.streaming import Past

__all__ = ["CausalConv", "Decoder", "Downsampling", "Encoder", "ResidualUnit", "Upsampling"]

DILATIONS = (1, 3, 9)
UNIT_GAIN = 0.3
WAVEFORM_GAIN = 0.1


def _after(x: Float[Tensor, "batch channel time"], zeros: int, keep: int, past: Past | None) -> Tensor:
    """``x`` after so many zeros, or after the last ``keep`` positions that this layer saw in the chunk before."""
    if past is None:
        return functional.pad(x, (zeros, 0))
    return past.join(x, x.new_zeros(*x.shape[:2], zeros), dim=2, keep=keep)


def _start(convolution: nn.Conv1d | nn.ConvTranspose1d, fan_in: int, gain: float = 1.0) -> None:
    nn.init.normal_(convolution.weight, std=gain / math.sqrt(fan_in))
    nn.init.zeros_(convolution.bias)


class CausalConv(nn.Conv1d):
    """A convolution that sees the past only; as many positions out as in.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        kernel: k.
        dilation: d.
        gain: size of what comes out over the size of what goes in, at the start.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, dilation: int = 1, gain: float = 1.0
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, dilation=dilation)
        self.left = dilation * (kernel - 1)
        _start(self, in_channels * kernel, gain)

    def forward(
        self, x: Float[Tensor, "batch channel time"], past: Past | None = None
    ) -> Float[Tensor, "batch channel_out time"]:
        """The convolution of ``x``, padded with zeros before its start."""
        return super().forward(_after(x, self.left, self.left, past) if self.left else x)


class Downsampling(nn.Conv1d):
    """Eq. (1): s·L positions in, L out. The weight is that of ``Conv1d(…, 2s, stride=s)``."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(in_channels, out_channels, 2 * stride, stride=stride)
        _start(self, in_channels * 2 * stride)

    def forward(
        self, x: Float[Tensor, "batch channel time"], past: Past | None = None
    ) -> Float[Tensor, "batch channel_out time_out"]:
        """``x`` at one ``stride``-th of its rate."""
        (stride,) = self.stride
        blocks = self._fold(_after(x, stride, stride, past))
        return functional.conv1d(blocks, self._fold(self.weight), self.bias)

    def _fold(self, x: Float[Tensor, "row channel time"]) -> Float[Tensor, "row channel_stride block"]:
        return x.unflatten(-1, (-1, self.stride[0])).transpose(2, 3).flatten(1, 2)


class Upsampling(nn.ConvTranspose1d):
    """Eq. (2): L positions in, s·L out. The weight is that of ``ConvTranspose1d(…, 2s, stride=s)``."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(in_channels, out_channels, 2 * stride, stride=stride)
        _start(self, in_channels * 2)  # an output is made of two blocks' taps

    def forward(
        self, x: Float[Tensor, "batch channel time"], past: Past | None = None
    ) -> Float[Tensor, "batch channel_out time_out"]:
        """``x`` at ``stride`` times its rate."""
        taps = self.weight.unflatten(-1, (2, self.stride[0])).flip(2)  # (in, out, block, j), the block before first
        blocks = functional.conv1d(_after(x, 1, 1, past), taps.permute(1, 3, 0, 2).flatten(0, 1))
        return blocks.unflatten(1, (-1, self.stride[0])).transpose(2, 3).flatten(2) + self.bias[:, None]


class ResidualUnit(nn.Module):
    """x + conv_1(ELU(conv_7(ELU(x)))), the wide kernel dilated; ELU comes first and there is no normalisation."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.wide = CausalConv(channels, channels, 7, dilation=dilation)
        self.narrow = CausalConv(channels, channels, 1, gain=UNIT_GAIN)

    def forward(
        self, x: Float[Tensor, "batch channel time"], past: Past | None = None
    ) -> Float[Tensor, "batch channel time"]:
        """``x`` and what the unit adds to it."""
        return x + self.narrow(functional.elu(self.wide(functional.elu(x), past)))


def _units(channels: int) -> list[nn.Module]:
    return [ResidualUnit(channels, dilation) for dilation in DILATIONS]


class CausalSequence(nn.Sequential):
    """Causal layers one after the other."""

    def forward(
        self, x: Float[Tensor, "batch channel time"], past: Past | None = None
    ) -> Float[Tensor, "batch channel_out time_out"]:
        """What the last layer makes of a whole sequence, or of the chunk that follows ``past``."""
        for layer in self:
            x = layer(x) if isinstance(layer, nn.ELU) else layer(x, past)
        return x


class Encoder(CausalSequence):
    """Waveform ``(B, 1, samples)`` → latents ``(B, latent_channels, samples / hop)``, with no activation at the end.

    Channels double at every stride, from ``channels`` on.
    """

    def __init__(self, channels: int, latent_channels: int, strides: Sequence[int]) -> None:
        layers: list[nn.Module] = [CausalConv(1, channels, 7)]
        for stride in strides:
            layers += [*_units(channels), nn.ELU(), Downsampling(channels, 2 * channels, stride)]
            channels *= 2
        super().__init__(*layers, nn.ELU(), CausalConv(channels, latent_channels, 3))


class Decoder(CausalSequence):
    """Latents ``(B, latent_channels, segments)`` → waveform ``(B, 1, hop · segments)``: the encoder's mirror image."""

    def __init__(self, channels: int, latent_channels: int, strides: Sequence[int]) -> None:
        channels *= 2 ** len(strides)
        layers: list[nn.Module] = [CausalConv(latent_channels, channels, 7)]
        for stride in reversed(strides):
            layers += [nn.ELU(), Upsampling(channels, channels // 2, stride), *_units(channels // 2)]
            channels //= 2
        super().__init__(*layers, nn.ELU(), CausalConv(channels, 1, 7, gain=WAVEFORM_GAIN))
