"""A world in which everything is known: jointly Gaussian latents over any layout.

With z_0 ~ N(mu, C) and z_t = A z_0 + S epsilon, A = diag(alpha), S = diag(sigma) at every cell's own level:

    (1) E[z_0 | z_t] = mu + C A (A C A + S²)^{-1} (z_t − A mu)                 the optimal denoiser, for any matrix
    (2) z_0[free] | z_0[given] ~ N(mu_f + C_fg C_gg^{-1} (z_g − mu_g), C_ff − C_fg C_gg^{-1} C_gf)
    (3) Cov[z_0 | z_t] = C − C A (A C A + S²)^{-1} A C                         its diagonal is the Bayes risk of x0
    (4) z_t ~ N(A mu, A C A + S²)

Everything here is float64. It is the oracle against which policies, samplers, plans and guidance are held.
"""

import math

import attrs
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import Latents, NoiseSchedule
from mmseqdiff.testing.world import World, task_levels

__all__ = ["Conditional", "GaussianWorld"]


@attrs.frozen(eq=False)
class Conditional:
    """The distribution of the free coordinates given the others, Eq. (2): mean is ``offset + gain @ given``."""

    free: Bool[Tensor, " dimension"]
    gain: Float[Tensor, "free given"]
    offset: Float[Tensor, " free"]
    covariance: Float[Tensor, "free free"]

    def mean(self, z0: Float[Tensor, "batch dimension"]) -> Float[Tensor, "batch free"]:
        """The conditional mean, from the given coordinates of ``z0``."""
        return self.offset + z0[:, ~self.free] @ self.gain.T


def log_normal(residual: Float[Tensor, "batch d"], covariance: Float[Tensor, "#batch d d"]) -> Float[Tensor, " batch"]:
    """The log density of N(0, covariance) at each residual."""
    factor = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(factor, residual[:, :, None], upper=False)[:, :, 0]
    log_determinant = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -0.5 * (white.square().sum(-1) + log_determinant + residual.shape[-1] * math.log(2 * math.pi))


@attrs.frozen(eq=False)
class GaussianWorld(World):
    """Latents that are jointly Gaussian.

    Attributes:
        layout: the tracks.
        mean: ``(D,)``, flattened track by track, segment by segment.
        covariance: ``(D, D)``, positive definite.
    """

    layout: Layout
    mean: Float[Tensor, " dimension"]
    covariance: Float[Tensor, "dimension dimension"]

    @classmethod
    def random(cls, layout: Layout, seed: int = 0, coupling: float = 1.0) -> "GaussianWorld":
        """A world of unit-order variances; ``coupling`` scales how much its coordinates share, 0 makes them independent."""
        dimension = sum(torch.Size(track.shape).numel() for track in layout.tracks)
        keys = random.example_keys(seed, [0, 1])
        factors = random.normal(keys[:1], "factors", (dimension, dimension), torch.float64)[0] / dimension**0.5
        mean = random.normal(keys[1:], "mean", (dimension,), torch.float64)[0] / 2
        return cls(layout, mean, coupling * factors @ factors.T + 0.2 * torch.eye(dimension, dtype=torch.float64))

    def sample(self, keys: Int[Tensor, " batch"]) -> dict[str, Tensor]:
        """One draw per key."""
        noise = random.normal(keys, "gaussian world", self.mean.shape, torch.float64)
        return self.unflatten(self.mean + noise @ torch.linalg.cholesky(self.covariance).T)

    def _noisy(self, t: Float[Tensor, "batch modality segment"], schedule: NoiseSchedule) -> tuple[Tensor, Tensor]:
        """(alpha, A C A + S²)."""
        alpha, sigma = self.coordinates(schedule.alpha(t.double())), self.coordinates(schedule.sigma(t.double()))
        return alpha, alpha[:, :, None] * self.covariance * alpha[:, None, :] + torch.diag_embed(sigma**2)

    def _gain(self, t: Float[Tensor, "batch modality segment"], schedule: NoiseSchedule) -> tuple[Tensor, Tensor]:
        """(alpha, C A (A C A + S²)^{-1}) of Eq. (1); solved once for each different matrix of the batch."""
        matrices, which = torch.unique(t.double(), dim=0, return_inverse=True)
        alpha, noisy = self._noisy(matrices, schedule)
        cross = self.covariance * alpha[:, None, :]
        return alpha[which], torch.linalg.solve(noisy, cross.mT).mT[which]

    def posterior_mean(
        self, z: Latents, t: Float[Tensor, "batch modality segment"], schedule: NoiseSchedule
    ) -> dict[str, Tensor]:
        """E[z_0 | z_t], Eq. (1)."""
        alpha, gain = self._gain(t, schedule)
        residual = self.flatten(z) - alpha * self.mean
        return self.unflatten(self.mean + torch.einsum("bij,bj->bi", gain, residual))

    def posterior_covariance(
        self, t: Float[Tensor, "batch modality segment"], schedule: NoiseSchedule
    ) -> Float[Tensor, "batch dimension dimension"]:
        """Cov[z_0 | z_t], Eq. (3); it depends on the levels alone."""
        alpha, gain = self._gain(t, schedule)
        return self.covariance - gain @ (alpha[:, :, None] * self.covariance)

    def log_density(
        self, z: Latents, t: Float[Tensor, "batch modality segment"], schedule: NoiseSchedule
    ) -> Float[Tensor, " batch"]:
        """log p(z_t), Eq. (4)."""
        matrices, which = torch.unique(t.double(), dim=0, return_inverse=True)
        alpha, noisy = self._noisy(matrices, schedule)
        return log_normal(self.flatten(z) - alpha[which] * self.mean, noisy if len(noisy) == 1 else noisy[which])

    def bayes_risk(
        self, t: Float[Tensor, "batch modality segment"], schedule: NoiseSchedule, kind: str = "epsilon"
    ) -> Float[Tensor, "batch modality segment"]:
        """The least expected squared error of a prediction in every cell; 0 at level 0 and in padding.

        Args:
            t: the levels.
            schedule: the noise schedule.
            kind: of the prediction.
        """
        variance = self.posterior_covariance(t, schedule).diagonal(dim1=-2, dim2=-1)
        return self.risk_of_variance(variance, t, schedule, kind)

    def task_risk(
        self, given: Bool[Tensor, "modality segment"], level: float, schedule: NoiseSchedule, kind: str = "epsilon"
    ) -> Float[Tensor, " modality"]:
        """The Bayes risk of a task at one level, a mean over each modality's cells that are not given.

        It is the least that :func:`mmseqdiff.train.objective.conditional_loss` can be on average.
        """
        cells = self.bayes_risk(task_levels(self.layout, given, level), schedule, kind)
        return self.modality_means(cells, given)[0]

    def conditional(self, given: Bool[Tensor, "modality segment"]) -> Conditional:
        """What is not given, given the rest, Eq. (2)."""
        known = self.coordinates(given.double()) > 0
        free, c = ~known, self.covariance
        gain = (
            torch.linalg.solve(c[known][:, known], c[known][:, free]).mT
            if known.any()
            else c.new_zeros(int(free.sum()), 0)
        )
        covariance = c[free][:, free] - gain @ c[known][:, free]
        return Conditional(free, gain, self.mean[free] - gain @ self.mean[known], covariance)
