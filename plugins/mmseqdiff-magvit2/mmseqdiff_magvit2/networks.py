"""MAGVIT-v2's encoder and decoder (arXiv:2310.05737 Fig. 8), at any width."""

from collections.abc import Sequence
from itertools import accumulate

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mmseqdiff.streaming import Past
from mmseqdiff_magvit2.layers import AdaptiveNorm, CausalConv, FrameNorm, ResidualBlock, Stride, Upsample, Video

__all__ = ["Decoder", "Encoder"]


class ResidualStack(nn.Sequential):
    """``blocks`` residual blocks; the first changes the width."""

    def __init__(self, channels: int, out_channels: int, blocks: int, kernel: Stride) -> None:
        widths = [channels] + [out_channels] * blocks
        super().__init__(*[ResidualBlock(a, b, kernel) for a, b in zip(widths, widths[1:])])

    def forward(self, x: Video, past: Past | None = None) -> Video:
        """Frames of ``out_channels``."""
        for block in self:
            x = block(x, past)
        return x


class Encoder(nn.Module):
    """Pictures to latents: a residual stack at every resolution, strided convolutions between them.

    Args:
        widths: channels at every resolution, finest first.
        blocks: residual blocks of one stack.
        latent_channels: channels of a latent.
        kernel: of the ordinary convolutions (frames, rows, columns).
        down_kernel: of the strided convolutions.
        strides: one fewer than ``widths``.
    """

    def __init__(
        self,
        widths: Sequence[int],
        blocks: int,
        latent_channels: int,
        kernel: Stride,
        down_kernel: Stride,
        strides: Sequence[Stride],
    ) -> None:
        super().__init__()
        self.input = CausalConv(3, widths[0], kernel, bias=False)
        inputs = [widths[0], *widths[:-1]]
        self.stacks = nn.ModuleList(ResidualStack(a, b, blocks, kernel) for a, b in zip(inputs, widths))
        self.downs = nn.ModuleList(CausalConv(w, w, down_kernel, stride) for w, stride in zip(widths, strides))
        self.middle = ResidualStack(widths[-1], widths[-1], blocks, kernel)
        self.norm = FrameNorm(widths[-1])
        self.output = CausalConv(widths[-1], latent_channels, 1)

    def forward(
        self, video: Float[Tensor, "batch frame height width 3"], past: Past | None = None
    ) -> Float[Tensor, "batch segment row column latent"]:
        """The latents of pictures in [0, 1]: of a whole video, or of the chunk that follows ``past``."""
        x = self.stacks[0](self.input(video, past), past)
        for down, stack in zip(self.downs, self.stacks[1:]):
            x = stack(down(x, past), past)
        return self.output(F.silu(self.norm(self.middle(x, past))))


class Decoder(nn.Module):
    """Latents to pictures: the encoder's mirror, with the latent shown again at every resolution.

    The arguments are :class:`Encoder`'s, but for the strided convolutions, which upsamplers replace.
    """

    def __init__(
        self, widths: Sequence[int], blocks: int, latent_channels: int, kernel: Stride, strides: Sequence[Stride]
    ) -> None:
        super().__init__()
        widths, strides = widths[::-1], strides[::-1]
        self.input = CausalConv(latent_channels, widths[0], kernel)
        self.middle = ResidualStack(widths[0], widths[0], blocks, kernel)
        inputs = [widths[0], *widths[:-1]]
        sizes = accumulate(strides, lambda a, b: (a[0] * b[0], a[1] * b[1], a[2] * b[2]), initial=(1, 1, 1))
        self.norms = nn.ModuleList(AdaptiveNorm(w, latent_channels, size) for w, size in zip(inputs, sizes))
        self.stacks = nn.ModuleList(ResidualStack(a, b, blocks, kernel) for a, b in zip(inputs, widths))
        self.ups = nn.ModuleList(Upsample(w, kernel, stride) for w, stride in zip(widths, strides))
        self.norm = FrameNorm(widths[-1])
        self.output = CausalConv(widths[-1], 3, kernel)

    def forward(
        self, z: Float[Tensor, "batch segment row column latent"], past: Past | None = None
    ) -> Float[Tensor, "batch frame height width 3"]:
        """Pictures of latents, not clipped: of all there are, or of those that follow ``past``."""
        x = self.middle(self.input(z, past), past)
        for n, (norm, stack) in enumerate(zip(self.norms, self.stacks)):
            x = stack(norm(x, z, past), past)
            if n < len(self.ups):
                x = self.ups[n](x, past)
        return self.output(F.silu(self.norm(x)), past)
