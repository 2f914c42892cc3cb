"""Analytic-DPM and Analytic-DDIM (arXiv:2201.06503): the reverse variance that is optimal for an isotropic one.

With Gamma = E ||epsilon||² / d of the predicted noise, at every cell's own levels:

    (1) variance of x0 given z_t    c = clip((sigma_t² / alpha_t²) (1 − Gamma), 0, limit)
    (2) analytic_dpm     posterior variance + (alpha_s sigma²_{t|s} / sigma_t²)² c
    (3) analytic_ddim    nu² + (alpha_s − sqrt(sigma_s² − nu²) alpha_t / sigma_t)² c,   nu² = eta² · posterior variance

(2) and (3) add to the step's own variance that of x0, by x0's weight where z_t is held. As in the paper the step to s = 0
shows the mean alone.

Gamma depends on the whole timestep matrix: a cell next to clean ones is easier. It is therefore calibrated for every
modality, task family and level, over the cells that are generated, with guidance on if it will be. Plans that give the
same cells are one family. The result is plain numbers. Where there is no number for a cell's level, and where
alpha_t = 0, c is 0: the posterior variance is left.
"""

from itertools import groupby

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from mmseqdiff.forward import ForwardProcess, Prediction, normal_latents
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.protocols import Denoise, Denoiser, Keys, Latents, Levels, Noise, Sampler, State
from mmseqdiff.transition import Transition, combine

__all__ = ["AnalyticDDIM", "AnalyticDPM", "Gamma", "calibrate", "family_of"]


SAME_LEVEL = 1e-3
"""Levels closer than this are one: those of a plan may have been float32 on the way."""


@attrs.frozen
class Gamma:
    """E ||epsilon||² / d of one modality in one task family, a value for each level.

    Raises:
        ValueError: if there are not as many values as levels.
    """

    levels: tuple[float, ...] = attrs.field(converter=tuple)
    values: tuple[float, ...] = attrs.field(converter=tuple)

    def __attrs_post_init__(self) -> None:
        if len(self.levels) != len(self.values):
            raise ValueError(f"expected a Gamma for each of {len(self.levels)} levels, got {len(self.values)}")

    def at(self, t: Float[Tensor, "batch segment"]) -> Float[Tensor, "batch segment"]:
        """Gamma at levels that were calibrated, and 1, which leaves no variance, at others."""
        if not self.levels:
            return torch.ones_like(t)
        levels, values = (torch.tensor(x, dtype=t.dtype, device=t.device) for x in (self.levels, self.values))
        distance, nearest = (t[..., None] - levels).abs().min(dim=-1)
        return torch.where(distance < SAME_LEVEL, values[nearest], 1)


def family_of(plan: SamplingPlan) -> str:
    """The task family of a plan: the cells that it gives, as ``"video:0-2 audio:0-4"``; ``"joint"`` where there are none."""
    ranges = []
    for name, cells in plan.layout.split(plan.given).items():
        for given, run in groupby(enumerate(cells.tolist()), key=lambda cell: cell[1]):
            numbers = [n for n, _ in run]
            if given:
                ranges.append(f"{name}:{numbers[0]}-{numbers[-1] + 1}")
    return " ".join(ranges) or "joint"


@torch.no_grad()
def calibrate(denoiser: Denoiser, plan: SamplingPlan, clean: Latents, keys: Keys) -> dict[str, Gamma]:
    """Measures Gamma at every level that a plan visits, each cell's among the levels that the plan has it in.

    As in sampling, the network sees an estimate of its own.

    Args:
        denoiser: as it will sample, guided if it will be.
        plan: of the task family.
        clean: latents of the data, one example per key.
        keys: what the noise follows from.

    Returns:
        Modality → Gamma, for every modality of which something is generated.
    """
    layout, forward = plan.layout, ForwardProcess(denoiser.schedule, plan.layout)
    given, dtype = plan.given.to(keys.device), clean[plan.layout.modalities[0]].dtype
    powers = {name: [] for name in layout.modalities}
    for r, row in enumerate(plan.levels[:-1].to(keys.device)):
        t = row.expand(len(keys), -1, -1)
        z = forward.corrupt(clean, normal_latents(layout, keys, f"calibrate {r}", dtype=dtype), t)
        first = denoiser(z, t, given=given, keys=keys)
        epsilon = denoiser(z, t, given=given, keys=keys, self_condition=first.x0).epsilon
        for name, value in epsilon.items():
            powers[name].append(value.double().square().flatten(2).mean((0, 2)))
    moving = layout.split((plan.levels[:-1] > 0) & layout.valid & ~plan.given)
    levels, gammas = layout.split(plan.levels[:-1]), {}
    for name, rows in powers.items():
        if moving[name].any():
            values = torch.stack(rows).cpu()[moving[name]]
            found, group = levels[name][moving[name]].unique(return_inverse=True)
            mean = torch.bincount(group, values) / torch.bincount(group)
            gammas[name] = Gamma(found.tolist(), mean.tolist())
    return gammas


@attrs.frozen
class Analytic(Sampler):
    """What both have: a variance of x0 that was measured.

    Attributes:
        calibration: task family → modality → :class:`Gamma`.
        family: the task family that is sampled; where empty, that of the plan.
        limit: of Eq. (1): the latents' variance.
    """

    calibration: dict[str, dict[str, Gamma]] = attrs.field(factory=dict, hash=False)
    family: str = ""
    limit: float = attrs.field(default=1.0, validator=attrs.validators.ge(0))
    evaluations = 1
    convergence = 1

    @property
    def preserves_variance(self) -> bool:
        """Whether a step leaves the noise that the schedule has; calibrated, it adds what x0 is not known by."""
        return not self.calibration

    def calibrated(self, denoiser: Denoiser, plan: SamplingPlan, clean: Latents, keys: Keys) -> "Analytic":
        """The same sampler, that also knows Gamma for its family, or the plan's, and the plan's levels; measured on ``clean``."""
        gammas = calibrate(denoiser, plan, clean, keys)
        return attrs.evolve(self, calibration={**self.calibration, self.family or family_of(plan): gammas})

    def for_plan(self, plan: SamplingPlan) -> "Analytic":
        """The sampler of the plan's family."""
        return attrs.evolve(self, family=self.family or family_of(plan))

    def unknown(self, move: Transition, prediction: Prediction) -> Levels:
        """Eq. (1) for every cell; 0 where nothing is known of it."""
        layout, gammas = prediction.layout, self.calibration.get(self.family, {})
        rows = layout.split(prediction.t.double()).items()
        gamma = layout.stack({name: gammas.get(name, Gamma((), ())).at(row) for name, row in rows})
        ratio = torch.where(move.alpha_t == 0, 0, move.sigma_t / torch.where(move.alpha_t == 0, 1, move.alpha_t))
        return (ratio**2 * (1 - gamma)).clamp(0, self.limit)


@attrs.frozen
class AnalyticDPM(Analytic):
    """Ancestral sampling with the analytic variance, Eq. (2), per cell; ``ddpm`` where nothing was calibrated."""

    def step(
        self, z: Latents, t: Levels, s: Levels, *, denoise: Denoise, state: State, noise: Noise
    ) -> tuple[Latents, State]:
        """The posterior mean plus noise of variance (2)."""
        prediction = denoise(z, t)
        move = Transition.between(prediction.schedule, t.double(), s.double())
        weight = move.alpha_s * move.variance_ts / move.safe_variance_t
        variance = torch.where(s == 0, 0, move.posterior_variance + weight**2 * self.unknown(move, prediction))
        terms = [
            (move.alpha_ts * move.sigma_s**2 / move.safe_variance_t, lambda: z),
            (weight, lambda: prediction.x0),
            (variance.sqrt(), lambda: noise("analytic_dpm")),
        ]
        return combine(prediction.layout, t, s, z, terms), state


@attrs.frozen
class AnalyticDDIM(Analytic):
    """DDIM(eta) with the analytic variance, Eq. (3), per cell; ``ddim`` where nothing was calibrated.

    Attributes:
        eta: from 0 to 1.
    """

    eta: float = attrs.field(default=0.0, validator=[attrs.validators.ge(0), attrs.validators.le(1)])

    def step(
        self, z: Latents, t: Levels, s: Levels, *, denoise: Denoise, state: State, noise: Noise
    ) -> tuple[Latents, State]:
        """DDIM's mean plus noise of variance (3)."""
        prediction = denoise(z, t)
        move = Transition.between(prediction.schedule, t.double(), s.double())
        own = self.eta**2 * move.posterior_variance
        direction = (move.sigma_s**2 - own).clamp(min=0).sqrt()
        weight = move.alpha_s - direction * move.alpha_t / move.safe_variance_t.sqrt()
        variance = torch.where(s == 0, 0, own + weight**2 * self.unknown(move, prediction))
        terms = [
            (move.alpha_s, lambda: prediction.x0),
            (direction, lambda: prediction.epsilon),
            (variance.sqrt(), lambda: noise("analytic_ddim")),
        ]
        return combine(prediction.layout, t, s, z, terms), state
