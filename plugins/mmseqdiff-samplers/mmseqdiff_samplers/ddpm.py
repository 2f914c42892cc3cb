"""Ancestral sampling.

The paper's Algorithms 3 and 4 (arXiv:2405.13762) draw from the posterior q(z_s | z_t, x0) with the predicted x0. For
any two levels, and with alpha_bar where they print alpha:

    (1) mean      alpha_{t|s} sigma_s² / sigma_t² · z_t + alpha_s sigma²_{t|s} / sigma_t² · x0
    (2) variance  sigma²_{t|s} sigma_s² / sigma_t²   (``posterior``)   or   sigma²_{t|s}   (``beta``), 0 where s = 0

For s = t − 1, (1) is 1 / sqrt(alpha_t) · (z_t − beta_t / sqrt(1 − alpha_bar_t) · epsilon).
"""

import attrs
import torch

from mmseqdiff.protocols import Denoise, Latents, Levels, Noise, Sampler, State
from mmseqdiff.transition import Transition, combine

__all__ = ["DDPM"]


@attrs.frozen
class DDPM(Sampler):
    """DDPM (arXiv:2006.11239), per cell.

    Attributes:
        variance: ``posterior`` or ``beta``: the two choices of arXiv:2006.11239 §3.2.
    """

    variance: str = attrs.field(default="posterior", validator=attrs.validators.in_(("posterior", "beta")))
    evaluations = 1
    convergence = 1

    @property
    def preserves_variance(self) -> bool:
        """Whether a step leaves the noise that the schedule has: with ``beta`` it leaves more."""
        return self.variance == "posterior"

    def step(
        self, z: Latents, t: Levels, s: Levels, *, denoise: Denoise, state: State, noise: Noise
    ) -> tuple[Latents, State]:
        """Eq. (1) plus noise of variance (2)."""
        prediction = denoise(z, t)
        move = Transition.between(prediction.schedule, t, s)
        variance = move.posterior_variance
        if self.variance == "beta":
            variance = torch.where(s == 0, 0, move.variance_ts)
        terms = [
            (move.alpha_ts * move.sigma_s**2 / move.safe_variance_t, lambda: z),
            (move.alpha_s * move.variance_ts / move.safe_variance_t, lambda: prediction.x0),
            (variance.sqrt(), lambda: noise("ddpm")),
        ]
        return combine(prediction.layout, t, s, z, terms), state
