"""Heun's method (arXiv:2206.00364 Algorithm 1), at every cell's own levels.

It is the trapezoidal rule in the variables in which DDIM is Euler's method and which are finite at level T whatever the
schedule: y = z / sigma against rho = alpha / sigma, where the probability flow is dy / d rho = x0. In them it is exact
for a constant x0. With x0' the estimate at the end of the Euler step:

    (1) Euler   z' = sigma_s / sigma_t · z_t + (alpha_s − alpha_t sigma_s / sigma_t) x0                      (DDIM)
    (2) Heun    z_s = sigma_s / sigma_t · z_t + (alpha_s − alpha_t sigma_s / sigma_t) (x0 + x0') / 2

At s = 0, where rho is infinite, a cell takes the Euler step: z_s = x0.
"""

import attrs
import torch

from mmseqdiff.protocols import Denoise, Latents, Levels, Noise, Sampler, State
from mmseqdiff.transition import Transition, combine

__all__ = ["Heun"]


@attrs.frozen
class Heun(Sampler):
    """Heun, per cell: two evaluations a step, the second at every cell's next level."""

    evaluations = 2
    convergence = 2

    def step(
        self, z: Latents, t: Levels, s: Levels, *, denoise: Denoise, state: State, noise: Noise
    ) -> tuple[Latents, State]:
        """Eq. (1), then Eq. (2)."""
        first = denoise(z, t)
        move = Transition.between(first.schedule, t.double(), s.double())
        decay = move.sigma_s / move.safe_variance_t.sqrt()
        gain = move.alpha_s - move.alpha_t * decay
        euler = combine(first.layout, t, s, z, [(decay, lambda: z), (gain, lambda: first.x0)])
        second = denoise(euler, s)
        share = torch.where(s == 0, 0, gain / 2)
        terms = [(decay, lambda: z), (gain - share, lambda: first.x0), (share, lambda: second.x0)]
        return combine(first.layout, t, s, z, terms), state
