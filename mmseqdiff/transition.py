"""The forward process between two levels of every cell, in the numbers that samplers need.

With s <= t, for each cell (arXiv:2107.00630 App. A, at the cell's own levels):

    (1) alpha_{t|s} = alpha_t / alpha_s,   sigma²_{t|s} = sigma_t² − alpha²_{t|s} sigma_s²
    (2) posterior variance   sigma²_{t|s} sigma_s² / sigma_t²

For adjacent whole levels sigma²_{t|s} is the paper's beta_t and (2) its beta-tilde_t.
"""

from collections.abc import Callable

import attrs
import torch
from torch import Tensor

from mmseqdiff.layout import Layout
from mmseqdiff.protocols import Latents, Levels, NoiseSchedule
from mmseqdiff.timesteps import expand

__all__ = ["Transition", "combine"]


@attrs.frozen(eq=False)
class Transition:
    """Scales at t and s, elementwise. Where nothing moves the numbers are finite, and not meant to be used."""

    alpha_t: Levels
    sigma_t: Levels
    alpha_s: Levels
    sigma_s: Levels

    @classmethod
    def between(cls, schedule: NoiseSchedule, t: Levels, s: Levels) -> "Transition":
        """From level ``t`` to level ``s``."""
        return cls(schedule.alpha(t), schedule.sigma(t), schedule.alpha(s), schedule.sigma(s))

    @property
    def alpha_ts(self) -> Levels:
        """alpha_{t|s}, Eq. (1); alpha_s is 0 only where s = T, and then nothing moves."""
        return self.alpha_t / torch.where(self.alpha_s == 0, 1, self.alpha_s)

    @property
    def variance_ts(self) -> Levels:
        """sigma²_{t|s}, Eq. (1)."""
        return (self.sigma_t**2 - (self.alpha_ts * self.sigma_s) ** 2).clamp(min=0)

    @property
    def safe_variance_t(self) -> Levels:
        """sigma_t², or 1 where it is 0: there t = s = 0 and nothing moves."""
        return torch.where(self.sigma_t == 0, 1, self.sigma_t**2)

    @property
    def posterior_variance(self) -> Levels:
        """Eq. (2); 0 where s = 0."""
        return self.variance_ts * self.sigma_s**2 / self.safe_variance_t


def combine(
    layout: Layout, t: Levels, s: Levels, z: Latents, terms: list[tuple[Levels, Callable[[], Latents]]]
) -> dict[str, Tensor]:
    """Σ coefficient · latents for every cell that moves; the others are copied from ``z`` bit for bit.

    Each product has the dtype of its latents (a history may be finer than ``z``), the result that of ``z``.
    """
    parts = [(layout.split(coefficient), latents()) for coefficient, latents in terms]
    moved, stepped = layout.split(t != s), {}
    for name, old in z.items():
        new = sum(expand(coefficient[name], latents[name]) * latents[name] for coefficient, latents in parts)
        stepped[name] = torch.where(expand(moved[name], old), new.to(old.dtype), old)
    return stepped
