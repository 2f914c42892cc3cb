"""A world with several modes in which everything is known: a mixture of Gaussians over any layout.

With z_0 ~ Σ_k w_k N(mu_k, C_k), every quantity is that of the components (:mod:`mmseqdiff.testing.gaussian`), weighted by how
likely each made what is seen:

    (1) r_k(z_t) ∝ w_k p_k(z_t)                                       the responsibilities
    (2) E[z_0 | z_t] = Σ_k r_k m_k                                      m_k = E_k[z_0 | z_t]
    (3) Cov[z_0 | z_t] = Σ_k r_k (P_k + m_k m_kᵀ) − (Σ_k r_k m_k)(…)ᵀ    P_k = Cov_k[z_0 | z_t]
    (4) z_0[free] | z_0[given] ~ Σ_k r_k(z_g) N_k(free | z_g)           again a mixture, its weights those of (1) at z_g

(1) is computed from logarithms, so that no weight underflows. Unlike in one Gaussian, (3) depends on z_t: the Bayes risk is
the mean of its diagonal over draws, which has a standard error.
"""

import attrs
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.forward import ForwardProcess, normal_latents
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import Latents, NoiseSchedule
from mmseqdiff.testing.gaussian import Conditional, GaussianWorld, log_normal
from mmseqdiff.testing.world import World, task_levels

__all__ = ["GaussianMixtureWorld", "MixtureConditional", "RiskEstimate"]


@attrs.frozen(eq=False)
class RiskEstimate:
    """A Bayes risk that was estimated from draws.

    Attributes:
        value: ``(M,)``.
        standard_error: ``(M,)``, of ``value``.
    """

    value: Float[Tensor, " modality"]
    standard_error: Float[Tensor, " modality"]


@attrs.frozen(eq=False)
class MixtureConditional:
    """The distribution of the free coordinates given the others, Eq. (4).

    Attributes:
        world: the mixture.
        given: the cells that are given.
        components: every Gaussian's own conditional distribution.
    """

    world: "GaussianMixtureWorld"
    given: Bool[Tensor, "modality segment"]
    components: tuple[Conditional, ...]

    @property
    def free(self) -> Bool[Tensor, " dimension"]:
        """The coordinates that are not given."""
        return self.components[0].free

    def weights(self, z0: Float[Tensor, "batch dimension"]) -> Float[Tensor, "batch component"]:
        """r_k(z_g), from the given coordinates of ``z0``."""
        known = ~self.free
        likelihoods = [
            log_normal(z0[:, known] - one.mean[known], one.covariance[known][:, known][None])
            for one in self.world.components
        ]
        return torch.softmax(self.world.log_weights + torch.stack(likelihoods, dim=-1), dim=-1)

    def mean(self, z0: Float[Tensor, "batch dimension"]) -> Float[Tensor, "batch free"]:
        """The conditional mean, from the given coordinates of ``z0``."""
        means = torch.stack([one.mean(z0) for one in self.components], dim=1)
        return torch.einsum("bk,bkf->bf", self.weights(z0), means)

    def covariance(self, z0: Float[Tensor, "batch dimension"]) -> Float[Tensor, "batch free free"]:
        """The conditional covariance, from the given coordinates of ``z0``."""
        means = torch.stack([one.mean(z0) for one in self.components], dim=1)
        weights, inner = self.weights(z0), torch.stack([one.covariance for one in self.components])
        apart = means - torch.einsum("bk,bkf->bf", weights, means)[:, None]
        between = torch.einsum("bk,bkf,bkg->bfg", weights, apart, apart)
        return torch.einsum("bk,kfg->bfg", weights, inner) + between

    def sample(self, z0: Float[Tensor, "batch dimension"], keys: Int[Tensor, " batch"]) -> Float[Tensor, "batch free"]:
        """One draw per key, given the given coordinates of ``z0``."""
        which = _choose(self.weights(z0), keys)
        means = torch.stack([one.mean(z0) for one in self.components], dim=1)
        factors = torch.stack([torch.linalg.cholesky(one.covariance) for one in self.components])
        noise = random.normal(keys, "conditional", means.shape[2:], torch.float64)
        return means[torch.arange(len(keys)), which] + torch.einsum("bij,bj->bi", factors[which], noise)


def _choose(weights: Float[Tensor, "#batch component"], keys: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """A component per key."""
    below = weights.cumsum(-1)[:, :-1] < random.uniform(keys, "component")[:, None]
    return below.sum(-1)


@attrs.frozen(eq=False)
class GaussianMixtureWorld(World):
    """Latents that are a mixture of Gaussians.

    Attributes:
        components: the Gaussians, all over one layout.
        weights: ``(K,)``, their probabilities.

    Raises:
        ValueError: if there is no component, their layouts differ, or the weights are no probabilities.
    """

    components: tuple[GaussianWorld, ...] = attrs.field(converter=tuple)
    weights: Float[Tensor, " component"]

    def __attrs_post_init__(self) -> None:
        if not self.components:
            raise ValueError("a mixture needs at least one component")
        if any(one.layout != self.components[0].layout for one in self.components):
            raise ValueError("all components of a mixture must have the same layout")
        if self.weights.shape != (len(self.components),) or not (self.weights > 0).all():
            raise ValueError(f"{len(self.components)} components need as many positive weights, got {self.weights}")
        if not torch.isclose(self.weights.sum(), torch.ones((), dtype=self.weights.dtype)):
            raise ValueError(f"the weights of a mixture must sum to 1, got {float(self.weights.sum()):g}")

    @classmethod
    def random(
        cls, layout: Layout, components: int = 3, seed: int = 0, apart: float = 1.0, coupling: float = 1.0
    ) -> "GaussianMixtureWorld":
        """A world of random Gaussians; ``apart`` scales the distance of their means, in standard deviations or so."""
        key = random.example_keys(seed, [0])
        seeds = random.fold(key, "components", torch.arange(components)).tolist()
        gaussians = [GaussianWorld.random(layout, one, coupling) for one in seeds]
        weights = 0.5 + random.uniform(key, "weights", (components,))[0]
        moved = [attrs.evolve(one, mean=2 * apart * one.mean) for one in gaussians]
        return cls(moved, weights / weights.sum())

    @property
    def layout(self) -> Layout:
        """The tracks."""
        return self.components[0].layout

    @property
    def log_weights(self) -> Float[Tensor, " component"]:
        """log w_k."""
        return self.weights.double().log()

    def sample(self, keys: Int[Tensor, " batch"]) -> dict[str, Tensor]:
        """One draw per key."""
        which = _choose(self.weights.double()[None], keys)
        draws = torch.stack([self.flatten(one.sample(keys)) for one in self.components])
        return self.unflatten(draws[which, torch.arange(len(keys))])

    def _log_joint(
        self, z: Latents, t: Float[Tensor, "batch modality segment"], schedule: NoiseSchedule
    ) -> Float[Tensor, "batch component"]:
        """log w_k p_k(z_t)."""
        return self.log_weights + torch.stack([one.log_density(z, t, schedule) for one in self.components], dim=-1)

    def log_density(
        self, z: Latents, t: Float[Tensor, "batch modality segment"], schedule: NoiseSchedule
    ) -> Float[Tensor, " batch"]:
        """log p(z_t)."""
        return torch.logsumexp(self._log_joint(z, t, schedule), dim=-1)

    def responsibilities(
        self, z: Latents, t: Float[Tensor, "batch modality segment"], schedule: NoiseSchedule
    ) -> Float[Tensor, "batch component"]:
        """r_k(z_t), Eq. (1)."""
        return torch.softmax(self._log_joint(z, t, schedule), dim=-1)

    def _means(
        self, z: Latents, t: Float[Tensor, "batch modality segment"], schedule: NoiseSchedule
    ) -> Float[Tensor, "batch component dimension"]:
        """m_k."""
        return torch.stack([self.flatten(one.posterior_mean(z, t, schedule)) for one in self.components], dim=1)

    def posterior_mean(
        self, z: Latents, t: Float[Tensor, "batch modality segment"], schedule: NoiseSchedule
    ) -> dict[str, Tensor]:
        """E[z_0 | z_t], Eq. (2)."""
        means, weights = self._means(z, t, schedule), self.responsibilities(z, t, schedule)
        return self.unflatten(torch.einsum("bk,bkd->bd", weights, means))

    def posterior_variance(
        self, z: Latents, t: Float[Tensor, "batch modality segment"], schedule: NoiseSchedule
    ) -> Float[Tensor, "batch dimension"]:
        """The diagonal of Cov[z_0 | z_t], Eq. (3)."""
        means, weights = self._means(z, t, schedule), self.responsibilities(z, t, schedule)
        inner = torch.stack(
            [one.posterior_covariance(t, schedule).diagonal(dim1=-2, dim2=-1) for one in self.components], dim=1
        )
        apart = means - torch.einsum("bk,bkd->bd", weights, means)[:, None]
        return torch.einsum("bk,bkd->bd", weights, inner + apart**2)

    def task_risk(
        self,
        given: Bool[Tensor, "modality segment"],
        level: float,
        schedule: NoiseSchedule,
        kind: str,
        keys: Int[Tensor, " batch"],
    ) -> RiskEstimate:
        """The Bayes risk of a task at one level, a mean over each modality's cells that are not given.

        The mean over draws z_t of the variance that is left, which varies less than squared errors do.

        Args:
            given: the cells that are given.
            level: of all others.
            schedule: the noise schedule.
            kind: of the prediction.
            keys: of the draws, one each.
        """
        t = task_levels(self.layout, given, level).expand(len(keys), -1, -1)
        z0, noise = self.sample(keys), normal_latents(self.layout, keys, "risk", dtype=torch.float64)
        z = ForwardProcess(schedule, self.layout).corrupt(z0, noise, t)
        cells = self.risk_of_variance(self.posterior_variance(z, t, schedule), t, schedule, kind)
        draws = self.modality_means(cells, given)
        return RiskEstimate(draws.mean(0), draws.std(0) / len(keys) ** 0.5)

    def conditional(self, given: Bool[Tensor, "modality segment"]) -> MixtureConditional:
        """What is not given, given the rest, Eq. (4)."""
        return MixtureConditional(self, given, tuple(one.conditional(given) for one in self.components))
