"""MAGVIT-v2's adversary: a 3-D StyleGAN discriminator (arXiv:2310.05737 Fig. 8, App. A.2), and what both sides play for.

    (1) blur       y[i] = ¼ x[2i − 1] + ½ x[2i] + ¼ x[2i + 1] in frames, rows and columns, zero outside: halves each, rounded up
                   (where a size is even, the three taps lie one further on)
    (2) block      y = ( a(conv₃(blur(a(conv₃(x))))) + conv₁(blur(x)) ) / √2              a leaky ReLU of slope 0.2
    (3) D(x)       a(conv₃) · five blocks · a(conv₃) · a(linear of everything) · linear: one logit a clip
    (4) codec      mean softplus(−D(x̂))                                                  non-saturating
    (5) adversary  mean softplus(−D(x)) + mean softplus(D(x̂)) + γ mean |∇_x D(x)|²        R1 (arXiv:1801.04406), without its ½
                   + λ ( mean relu(D(x) − e_x̂)² + mean relu(e_x − D(x̂))² )                LeCam (arXiv:2104.03310)
    (6) averages   e_x ← 0.999 e_x + 0.001 mean D(x), and e_x̂ likewise; (5) sees them as they were before the batch

Nothing here is causal, and nothing is normalised. Padding is with zeros. Weights start by Glorot's uniform rule. On CPU all
of it is float32, within autocast too: PyTorch 2.13's bfloat16 gradient of a Conv3d's weights is plainly wrong there for some
sizes, 2 x 4 x 4 among them, at every width.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Adversary", "Discriminator", "blur"]

Pictures = Float[Tensor, "batch frame height width 3"]
Features = Float[Tensor, "batch _ _ _ _"]
"""``(B, channels, frames, height, width)``; the sizes change from layer to layer."""

SLOPE = 0.2
DECAY = 0.999


def activate(x: Tensor) -> Tensor:
    """The a of Eq. (2) and (3)."""
    return F.leaky_relu(x, SLOPE)


def blur(x: Features) -> Features:
    """Eq. (1), axis by axis: sums of slices, because a depthwise strided convolution is slow, twice differentiated above all."""
    for axis in (2, 3, 4):
        x = x.movedim(axis, -1)
        half = (x.shape[-1] + 1) // 2
        missing = 2 * half + 1 - x.shape[-1]  # the taps that lie outside: one for an even size, two for an odd one
        x = F.pad(x, (missing // 2, missing - missing // 2))
        left, middle, right = (x[..., start : start + 2 * half - 1 : 2] for start in range(3))
        x = ((left + 2 * middle + right) / 4).movedim(-1, axis)
    return x


class Block(nn.Module):
    """Eq. (2)."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv3d(channels, out_channels, 1, bias=False)

    def forward(self, x: Features) -> Features:
        """Half as many frames, rows and columns of ``out_channels``."""
        y = activate(self.conv2(blur(activate(self.conv1(x)))))
        return (y + self.shortcut(blur(x))) / 2**0.5


class Discriminator(nn.Module):
    """Eq. (3): one logit for every clip.

    Args:
        shape: of a clip: frames, rows and columns.
        channels: width of the first layer.
        multipliers: the width of every block over ``channels``.
    """

    def __init__(
        self, shape: tuple[int, int, int], channels: int = 128, multipliers: Sequence[int] = (2, 4, 4, 4, 4)
    ) -> None:
        super().__init__()
        widths = [channels, *(channels * multiplier for multiplier in multipliers)]
        self.input = nn.Conv3d(3, channels, 3, padding=1)
        self.blocks = nn.Sequential(*[Block(a, b) for a, b in zip(widths, widths[1:])])
        self.last = nn.Conv3d(widths[-1], widths[-1], 3, padding=1)
        places = 1
        for size in shape:
            places *= -(-size // 2 ** len(multipliers))
        self.hidden, self.output = nn.Linear(widths[-1] * places, widths[-1]), nn.Linear(widths[-1], 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, clips: Pictures) -> Float[Tensor, " batch"]:
        """Logits: the higher, the more like a clip that nobody has coded."""
        x = self.blocks(activate(self.input(clips.movedim(-1, 1))))
        return self.output(activate(self.hidden(activate(self.last(x)).flatten(1))))[:, 0]


class Adversary(nn.Module):
    """A discriminator, and the terms of both sides. With micro-batches the averages of Eq. (6) move with each of them.

    Args:
        discriminator: D.
        gradient_weight: γ of Eq. (5).
        lecam_weight: λ of Eq. (5).
    """

    real: Float[Tensor, ""]
    fake: Float[Tensor, ""]

    def __init__(self, discriminator: nn.Module, gradient_weight: float = 10.0, lecam_weight: float = 0.001) -> None:
        super().__init__()
        self.discriminator, self.gradient_weight, self.lecam_weight = discriminator, gradient_weight, lecam_weight
        self.register_buffer("real", torch.zeros(()))
        self.register_buffer("fake", torch.zeros(()))

    def deceived(self, reconstruction: Pictures) -> Float[Tensor, ""]:
        """The codec's term, Eq. (4). No weight of the discriminator gets a gradient from it."""
        fixed = {name: weight.detach() for name, weight in self.discriminator.named_parameters()}
        with torch.autocast("cpu", enabled=False):
            return F.softplus(-torch.func.functional_call(self.discriminator, fixed, (reconstruction,))).mean()

    def forward(self, signal: Pictures, reconstruction: Pictures) -> dict[str, Tensor]:
        """The adversary's terms, Eq. (5), weighted; no gradient leaves it.

        Returns:
            ``adversary/logistic``, ``adversary/gradient`` and ``adversary/lecam``, the last two where they have a weight.
        """
        signal = signal.detach().requires_grad_(self.gradient_weight > 0)
        with torch.autocast("cpu", enabled=False):
            real, fake = self.discriminator(signal), self.discriminator(reconstruction.detach())
        terms = {"adversary/logistic": F.softplus(-real).mean() + F.softplus(fake).mean()}
        if self.gradient_weight:
            with torch.autocast("cpu", enabled=False):
                (slope,) = torch.autograd.grad(real.sum(), signal, create_graph=True)
            terms["adversary/gradient"] = self.gradient_weight * slope.flatten(1).square().sum(1).mean()
        if self.lecam_weight:
            distance = F.relu(real - self.fake).square().mean() + F.relu(self.real - fake).square().mean()
            terms["adversary/lecam"] = self.lecam_weight * distance
        if self.training:
            self.real.lerp_(real.detach().mean().to(self.real), 1 - DECAY)  # Eq. (6)
            self.fake.lerp_(fake.detach().mean().to(self.fake), 1 - DECAY)
        return terms
