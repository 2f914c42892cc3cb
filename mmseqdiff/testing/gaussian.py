"""A world in which everything is known: jointly Gaussian latents over any layout.

With z_0 ~ N(mu, C) and z_t = A z_0 + S epsilon, A = diag(alpha), S = diag(sigma) at every cell's own level:

    (1) E[z_0 | z_t] = mu + C A (A C A + S²)^{-1} (z_t − A mu)                 the optimal denoiser, for any matrix
    (2) z_0[free] | z_0[given] ~ N(mu_f + C_fg C_gg^{-1} (z_g − mu_g), C_ff − C_fg C_gg^{-1} C_gf)
    (3) Cov[z_0 | z_t] = C − C A (A C A + S²)^{-1} A C                         its trace is the Bayes risk

Everything here is float64. It is the oracle against which policies, samplers, plans and guidance are held.
"""

import attrs
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.forward import Prediction, check_prediction_kind
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import Denoiser, Latents, NoiseSchedule

__all__ = ["Conditional", "GaussianDenoiser", "GaussianWorld"]


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


@attrs.frozen(eq=False)
class GaussianWorld:
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

    def flatten(self, latents: Latents) -> Float[Tensor, "batch dimension"]:
        """Latents as vectors."""
        return torch.cat([latents[name].flatten(1).double() for name in self.layout.modalities], dim=1)

    def unflatten(self, vectors: Float[Tensor, "batch dimension"]) -> dict[str, Tensor]:
        """Vectors as latents."""
        sizes = [torch.Size(track.shape).numel() for track in self.layout.tracks]
        parts = zip(self.layout.tracks, vectors.split(sizes, dim=1))
        return {track.modality: part.reshape(-1, *track.shape) for track, part in parts}

    def coordinates(self, matrix: Tensor) -> Tensor:
        """A number per cell ``(*, M, N)`` repeated for every coordinate: ``(*, D)``."""
        rows = self.layout.split(matrix)
        sizes = {track.modality: torch.Size(track.shape[1:]).numel() for track in self.layout.tracks}
        return torch.cat([rows[name].repeat_interleave(size, dim=-1) for name, size in sizes.items()], dim=-1)

    def sample(self, keys: Int[Tensor, " batch"]) -> dict[str, Tensor]:
        """One draw per key."""
        noise = random.normal(keys, "gaussian world", self.mean.shape, torch.float64)
        return self.unflatten(self.mean + noise @ torch.linalg.cholesky(self.covariance).T)

    def _gain(self, t: Float[Tensor, "batch modality segment"], schedule: NoiseSchedule) -> tuple[Tensor, Tensor]:
        """(alpha, C A (A C A + S²)^{-1}) of Eq. (1); solved once for each different matrix of the batch."""
        matrices, which = torch.unique(t.double(), dim=0, return_inverse=True)
        alpha, sigma = self.coordinates(schedule.alpha(matrices)), self.coordinates(schedule.sigma(matrices))
        noisy = alpha[:, :, None] * self.covariance * alpha[:, None, :] + torch.diag_embed(sigma**2)
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

    def denoiser(self, schedule: NoiseSchedule, kind: str = "x0") -> "GaussianDenoiser":
        """The optimal denoiser."""
        return GaussianDenoiser(self, schedule, kind)


@attrs.frozen(eq=False)
class GaussianDenoiser(Denoiser):
    """The world's optimal denoiser, Eq. (1), for any timestep matrix; it needs no self-condition and ignores it."""

    world: GaussianWorld
    schedule: NoiseSchedule
    kind: str = "x0"

    def __attrs_post_init__(self) -> None:
        check_prediction_kind(self.kind, self.schedule)

    @property
    def layout(self) -> Layout:
        """The world's."""
        return self.world.layout

    def __call__(
        self,
        z: Latents,
        t: Float[Tensor, "batch modality segment"],
        *,
        given: Bool[Tensor, "modality segment"] | None = None,
        keys: Int[Tensor, " batch"] | None = None,
        self_condition: Latents | None = None,
    ) -> Prediction:
        """The exact prediction at ``(z, t)``."""
        x0 = self.world.posterior_mean(z, t, self.schedule)
        return Prediction(value=x0, kind="x0", z=z, t=t, schedule=self.schedule, layout=self.layout).to(self.kind)
