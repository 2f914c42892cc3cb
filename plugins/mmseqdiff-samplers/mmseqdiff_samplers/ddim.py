"""DDIM (arXiv:2010.02502 Eq. 12 and 16), at every cell's own levels.

    (1) z_s = alpha_s x0 + sqrt(sigma_s² − sigma_eta²) epsilon + sigma_eta ξ
    (2) sigma_eta² = eta² · sigma²_{t|s} sigma_s² / sigma_t²

eta = 0 is deterministic, and needs no noise; eta = 1 is DDPM with the posterior variance.
"""

import attrs

from mmseqdiff.protocols import Denoise, Latents, Levels, Noise, Sampler, State
from mmseqdiff.transition import Transition, combine

__all__ = ["DDIM"]


@attrs.frozen
class DDIM(Sampler):
    """DDIM(eta), per cell.

    Attributes:
        eta: from 0 (deterministic) to 1 (ancestral).
    """

    eta: float = attrs.field(default=0.0, validator=[attrs.validators.ge(0), attrs.validators.le(1)])
    evaluations = 1
    convergence = 1

    def step(
        self, z: Latents, t: Levels, s: Levels, *, denoise: Denoise, state: State, noise: Noise
    ) -> tuple[Latents, State]:
        """Eq. (1)."""
        prediction = denoise(z, t)
        move = Transition.between(prediction.schedule, t, s)
        variance = self.eta**2 * move.posterior_variance  # Eq. (2)
        terms = [
            (move.alpha_s, lambda: prediction.x0),
            ((move.sigma_s**2 - variance).clamp(min=0).sqrt(), lambda: prediction.epsilon),
        ]
        if self.eta > 0:
            terms.append((variance.sqrt(), lambda: noise("ddim")))
        return combine(prediction.layout, t, s, z, terms), state
