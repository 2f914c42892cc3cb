"""Causal layers of MAGVIT-v2 (arXiv:2310.05737 §3.2 and Fig. 8), for channels-last video ``(B, frames, height, width, channels)``.

    (1) causal convolution   y[i] = Σ_j w[j] · x[s i − (k − 1) + j], j < k: the last tap sees the newest frame.
                             Borders repeat the edge, in time (before the first frame only) as in space.
    (2) group norm           (x − mean) / sqrt(var + ε) with mean and variance of *one frame's* group of channels:
                             statistics over time would let later frames change earlier latents.
    (3) adaptive group norm  (2) · (1 + A z + a) + B z + b at every position, z the latent there (nearest-resized).
    (4) upsampling           convolution to s_t · s_h · s_w · C channels, depth to space, and the first s_t − 1 frames
                             dropped: 1 + n latent frames become 1 + s_t n. What conditions (3) is resized the same way.

By (1), (2) and (4) the first 1 + n latents are those of the first 1 + s_t n frames alone, and a still video has equal latents.

Layers that look back take a ``past``: None for a whole video, or the memory of a video that comes in chunks. Then (1) has the
past instead of the edge, and (4) drops frames of the first chunk only.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mmseqdiff.streaming import Past

__all__ = ["AdaptiveNorm", "CausalConv", "FrameNorm", "ResidualBlock", "Upsample", "depth_to_space", "resize_nearest"]

Video = Float[Tensor, "batch _ _ _ _"]
"""``(B, frames, height, width, channels)``; the sizes change from layer to layer."""

Stride = tuple[int, int, int]
"""Frames, rows, columns: of a stride, or of a kernel."""


def norm_groups(channels: int) -> int:
    """The number of groups to normalise: at most 32, of at least four channels each, and a divisor of ``channels``.

    With 128 channels and more these are the official 32. A group of one channel would erase that channel's level.
    """
    return max(groups for groups in range(1, 33) if channels % groups == 0 and (channels >= 4 * groups or groups == 1))


class CausalConv(nn.Conv3d):
    """A convolution that sees no later frame, Eq. (1)."""

    def forward(self, x: Video, past: Past | None = None) -> Video:
        """Frames ``f`` become ``1 + (f − 1) // stride``, those of a later chunk ``f // stride``; rows and columns are divided."""
        time, height, width = self.kernel_size
        front = time - 1
        if past is not None:
            x, front = past.join(x, x[:, :1].expand(-1, front, -1, -1, -1), dim=1, keep=time - self.stride[0]), 0
        borders = ((width - 1) // 2, width // 2, (height - 1) // 2, height // 2, front, 0)
        # The channels lie last in memory: this is torch's channels_last_3d format, its fastest on CPU and tensor cores.
        x = x.movedim(-1, 1)
        if any(borders):
            x = F.pad(x, borders, mode="replicate")
        return super().forward(x).movedim(1, -1)

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # On CPU PyTorch (2.13) gives a single small video to a fallback, up to 14 times slower than oneDNN, which it takes for two.
        if len(x) == 1 and x.dtype == torch.float32 and x.device.type == "cpu" and _onednn(x):
            return torch.mkldnn_convolution(x, weight, bias, self.padding, self.stride, self.dilation, self.groups)
        return super()._conv_forward(x, weight, bias)


def _onednn(x: Tensor) -> bool:
    """Whether oneDNN may be called by name: it knows tensors of numbers only, and no autocast."""
    return (
        type(x) is Tensor
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
    )


def normalise_frames(x: Video, groups: int, weight: Tensor | None = None, bias: Tensor | None = None) -> Video:
    """Eq. (2)."""
    frames = x.flatten(0, 1).movedim(-1, 1)
    return F.group_norm(frames, groups, weight, bias, eps=1e-6).movedim(1, -1).unflatten(0, x.shape[:2])


class FrameNorm(nn.Module):
    """Group normalisation of every frame by itself with a learned gain and bias, Eq. (2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.groups = norm_groups(channels)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Video) -> Video:
        """The normalised frames."""
        return normalise_frames(x, self.groups, self.weight, self.bias)


class AdaptiveNorm(nn.Module):
    """Group normalisation whose gain and bias follow from the latent at every position, Eq. (3)."""

    def __init__(self, channels: int, latent_channels: int, stride: Stride) -> None:
        super().__init__()
        self.groups, self.stride = norm_groups(channels), stride
        self.gain = nn.Linear(latent_channels, channels)
        self.bias = nn.Linear(latent_channels, channels)

    def forward(self, x: Video, z: Video, past: Past | None = None) -> Video:
        """The modulated frames.

        Args:
            x: what is normalised: ``stride`` times as many frames, rows and columns as ``z``, less ``stride[0] − 1`` frames.
            z: the latent.
            past: that of the chunk.
        """
        # A linear map at every position commutes with nearest-neighbour resizing and is cheaper before it.
        gain, bias = (
            drop_first(resize_nearest(value, self.stride), self.stride, past)
            for value in (1 + self.gain(z), self.bias(z))
        )
        return torch.addcmul(bias, normalise_frames(x, self.groups), gain)


class ResidualBlock(nn.Module):
    """Norm, swish, convolution, twice; the input is added (through a 1 × 1 × 1 convolution where the widths differ)."""

    def __init__(self, channels: int, out_channels: int, kernel: Stride) -> None:
        super().__init__()
        self.norm1 = FrameNorm(channels)
        self.conv1 = CausalConv(channels, out_channels, kernel, bias=False)
        self.norm2 = FrameNorm(out_channels)
        self.conv2 = CausalConv(out_channels, out_channels, kernel, bias=False)
        self.shortcut = nn.Identity()
        if channels != out_channels:
            self.shortcut = CausalConv(channels, out_channels, 1, bias=False)

    def forward(self, x: Video, past: Past | None = None) -> Video:
        """Frames of ``out_channels``."""
        y = self.conv1(F.silu(self.norm1(x)), past)
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(y)), past)


class Upsample(nn.Module):
    """Makes ``stride`` times as many frames, rows and columns, less the first ``stride[0] − 1`` frames, Eq. (4)."""

    def __init__(self, channels: int, kernel: Stride, stride: Stride) -> None:
        super().__init__()
        self.stride = stride
        self.conv = CausalConv(channels, channels * stride[0] * stride[1] * stride[2], kernel)

    def forward(self, x: Video, past: Past | None = None) -> Video:
        """``(B, f, h, w, C)`` → ``(B, s_t f − (s_t − 1), s_h h, s_w w, C)``; ``s_t f`` frames of a later chunk."""
        return drop_first(depth_to_space(self.conv(x, past), self.stride), self.stride, past)


def drop_first(x: Video, stride: Stride, past: Past | None) -> Video:
    """Without the first ``stride[0] − 1`` frames, unless they belong to a later chunk."""
    return x[:, stride[0] - 1 :] if past is None or past.first else x


def depth_to_space(x: Video, stride: Stride) -> Video:
    """Spreads channels, ordered (time, row, column, channel), over ``stride`` times as many frames, rows and columns."""
    batch, frames, height, width, _ = x.shape
    time, rows, columns = stride
    x = x.reshape(batch, frames, height, width, time, rows, columns, -1)
    return x.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(batch, frames * time, height * rows, width * columns, -1)


def resize_nearest(x: Video, stride: Stride) -> Video:
    """Repeats every position ``stride`` times."""
    time, rows, columns = stride
    x = x[:, :, None, :, None, :, None].expand(-1, -1, time, -1, rows, -1, columns, -1)
    return x.flatten(1, 2).flatten(2, 3).flatten(3, 4)
