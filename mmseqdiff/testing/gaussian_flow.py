"""The probability flow of a Gaussian world in closed form, where all free cells share a level.

What is free, given clean cells, is N(mu, U Λ Uᵀ). Along dz/d(level) of the exact denoiser every eigenvector keeps to
itself, and its share of z keeps its number of standard deviations from the mean (arXiv:2206.00364 App. B.3 for one):

    (1) z_s = alpha_s mu + U sqrt((alpha_s² Λ + sigma_s²) / (alpha_t² Λ + sigma_t²)) Uᵀ (z_t − alpha_t mu)

At s = 0 it ends in a draw of N(mu, U Λ Uᵀ), exactly if z_t was one of N(alpha_t mu, alpha_t² U Λ Uᵀ + sigma_t²).
"""

from functools import cached_property

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from mmseqdiff.protocols import NoiseSchedule
from mmseqdiff.testing.gaussian import Conditional

__all__ = ["GaussianFlow"]

Vectors = Float[Tensor, "batch free"]


@attrs.define(eq=False)
class GaussianFlow:
    """The exact flow of the free coordinates, from any level to any lower one.

    Attributes:
        mean: ``(D_free,)`` of the clean latents, given what is given.
        covariance: ``(D_free, D_free)`` of them.
        schedule: the noise schedule.
    """

    mean: Float[Tensor, " free"]
    covariance: Float[Tensor, "free free"]
    schedule: NoiseSchedule

    @classmethod
    def of(
        cls, conditional: Conditional, z0: Float[Tensor, "one dimension"], schedule: NoiseSchedule
    ) -> "GaussianFlow":
        """The flow of what is free, given the other coordinates of one clean ``z0``."""
        return cls(conditional.mean(z0)[0], conditional.covariance, schedule)

    @cached_property
    def _eigen(self) -> tuple[Float[Tensor, " free"], Float[Tensor, "free free"]]:
        values, vectors = torch.linalg.eigh(self.covariance)
        return values, vectors

    def _scales(self, level: float) -> tuple[Tensor, Tensor]:
        t = torch.tensor(level, dtype=torch.float64)
        return self.schedule.alpha(t), self.schedule.sigma(t)

    def mean_at(self, level: float) -> Float[Tensor, " free"]:
        """The mean of the noisy latents at a level."""
        return self._scales(level)[0] * self.mean

    def factor_at(self, level: float) -> Float[Tensor, "free free"]:
        """F with F Fᵀ the covariance of the noisy latents at a level."""
        (alpha, sigma), (values, vectors) = self._scales(level), self._eigen
        return vectors * (alpha**2 * values + sigma**2).sqrt()

    def move(self, z: Vectors, t: float, s: float) -> Vectors:
        """From level ``t`` to level ``s``, Eq. (1)."""
        (alpha, sigma), (values, vectors) = self._scales(t), self._eigen
        deviations = (z - self.mean_at(t)) @ (vectors / (alpha**2 * values + sigma**2).sqrt())
        return self.mean_at(s) + deviations @ self.factor_at(s).T

    def denoise(self, z: Vectors, t: float) -> Vectors:
        """E[z_0 | z_t] of the free coordinates: where a sampler of order 1 lands when it steps from ``t`` to 0."""
        (alpha, sigma), (values, vectors) = self._scales(t), self._eigen
        gain = alpha * values / (alpha**2 * values + sigma**2)
        return self.mean + (z - self.mean_at(t)) @ vectors * gain @ vectors.T
