"""How far conditional samples are from the distribution that they should come from.

For G conditions drawn from the world and S samples of each, with residuals r = z_free − E[z_free | z_given], C the exact
conditional covariance and r̄_g the mean residual of a condition:

    (1) Ĉ            = Σ_g Σ_s (r − r̄_g)(r − r̄_g)ᵀ / (G (S − 1))
    (2) mean         = sqrt(max(0, mean_g |r̄_g|² − tr Ĉ / S) / tr C)          what is due to S draws is taken off
    (3) covariance   = |Ĉ − C|_F / |C|_F                                       of exact draws about sqrt(rank / (G (S − 1)))

Draws from the exact conditional distribution show what is left of (3) for so many samples.
"""

import attrs
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.generate import generate
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.protocols import Denoiser, Sampler
from mmseqdiff.testing.gaussian import Conditional, GaussianWorld

__all__ = ["SampleErrors", "exact_errors", "sample_errors"]

CONDITIONS, SAMPLES = 64, 16
"""G and S."""


@attrs.frozen
class SampleErrors:
    """Relative errors of a conditional distribution's moments.

    Attributes:
        mean: Eq. (2).
        covariance: Eq. (3).
    """

    mean: float
    covariance: float


def _errors(residual: Float[Tensor, "condition sample free"], exact: Conditional) -> SampleErrors:
    conditions, samples, _ = residual.shape
    mean = residual.mean(1)
    within = (residual - mean[:, None]).flatten(0, 1)
    covariance = within.T @ within / (conditions * (samples - 1))  # Eq. (1)
    excess = mean.square().sum(1).mean() - covariance.trace() / samples
    return SampleErrors(
        mean=float((excess.clamp(min=0) / exact.covariance.trace()).sqrt()),
        covariance=float((covariance - exact.covariance).norm() / exact.covariance.norm()),
    )


def sample_errors(
    denoiser: Denoiser,
    sampler: Sampler,
    plan: SamplingPlan,
    world: GaussianWorld,
    conditions: int = CONDITIONS,
    samples: int = SAMPLES,
    dtype: torch.dtype = torch.float32,
) -> SampleErrors:
    """The errors of what a denoiser samples, given parts of a world's draws."""
    keys = random.fold(random.example_keys(0, range(conditions)), "conditions")
    each = random.fold(keys[:, None], "samples", torch.arange(samples)).flatten()
    z0 = {name: value.repeat_interleave(samples, dim=0) for name, value in world.sample(keys).items()}
    made = generate(denoiser, sampler, plan, each, given={name: z.to(dtype) for name, z in z0.items()}, dtype=dtype)
    exact = world.conditional(plan.given)
    residual = world.flatten(made)[:, exact.free] - exact.mean(world.flatten(z0))
    return _errors(residual.unflatten(0, (conditions, samples)), exact)


def exact_errors(
    given: Bool[Tensor, "modality segment"], world: GaussianWorld, conditions: int = CONDITIONS, samples: int = SAMPLES
) -> SampleErrors:
    """The same of exact draws: what so many samples leave."""
    exact = world.conditional(given)
    keys = random.fold(random.example_keys(0, range(conditions * samples)), "exact")
    noise = random.normal(keys, "residual", exact.offset.shape, torch.float64)
    residual = noise @ torch.linalg.cholesky(exact.covariance).T
    return _errors(residual.unflatten(0, (conditions, samples)), exact)
