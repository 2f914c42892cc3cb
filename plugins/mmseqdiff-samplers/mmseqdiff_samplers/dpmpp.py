"""DPM-Solver++ with multiple steps (arXiv:2211.01095), in the terms of :mod:`mmseqdiff_samplers.exponential`.

With D a combination of a cell's own estimates of x0 at t and before, and rho = −r_1, the last step over this one:

    (1) 2M      z_s = sigma_s / sigma_t · z_t + alpha_s (1 − e^{−h}) D,     D = x0 + (x0 − x0_1) / (2 rho)     (Algorithm 2)
    (2) 3M      the parabola through the last three estimates, integrated exactly
    (3) SDE-2M  z_s = sigma_s / sigma_t · e^{−h} z_t + alpha_s (1 − e^{−2h}) D + sigma_s sqrt(1 − e^{−2h}) ξ,  D as in (1)

Where fewer estimates are there the order is lower; of order 1, (1) and (2) are DDIM, and (3) is DDPM.
"""

from abc import abstractmethod

import attrs

from mmseqdiff.protocols import Denoise, Latents, Levels, Noise, State
from mmseqdiff.transition import combine
from mmseqdiff_samplers.exponential import Span, choose, quadrature
from mmseqdiff_samplers.history import History, MultistepSampler

__all__ = ["DPMPP2M", "DPMPP3M", "DPMPPSDE2M"]


def midpoint(span: Span, total: Levels) -> list[Levels]:
    """``total`` · D of Eq. (1), as weights of x0 and x0_1."""
    slope = -1 / (2 * span.nodes[0])
    return choose(span.order, [[total], [total * (1 + slope), -total * slope]])


class DPMPP(MultistepSampler):
    """z_s = decay · z_t + alpha_s Σ_i w_i x0_i + spread · ξ; a subclass says which numbers, for one step of every cell."""

    @abstractmethod
    def weights(self, span: Span) -> list[Levels]:
        """w of x0 at t and before."""

    def decay(self, span: Span) -> Levels:
        """What is left of z_t."""
        return span.decay

    def spread(self, span: Span) -> Levels | None:
        """How much noise is added; None where there is none to draw."""
        return None

    def step(
        self, z: Latents, t: Levels, s: Levels, *, denoise: Denoise, state: State, noise: Noise
    ) -> tuple[Latents, State]:
        """The sum, for every cell by its own levels and history."""
        prediction = denoise(z, t)
        history = History.read(state, prediction.layout, self.depth)
        span = Span.between(prediction.schedule, t, s, history)
        terms = [(self.decay(span), lambda: z)]
        for weight, x0 in zip(self.weights(span), (prediction.x0, *history.x0)):
            terms.append((span.alpha_s * weight, lambda x0=x0: x0))
        spread = self.spread(span)
        if spread is not None:
            terms.append((spread, lambda: noise("dpmpp")))
        return combine(prediction.layout, t, s, z, terms), history.pushed(prediction, t != s)


@attrs.frozen
class DPMPP2M(DPMPP):
    """DPM-Solver++(2M), Eq. (1), per cell."""

    depth = 1
    convergence = 2

    def weights(self, span: Span) -> list[Levels]:
        """Eq. (1)."""
        return midpoint(span, span.m0)


@attrs.frozen
class DPMPP3M(DPMPP):
    """DPM-Solver++(3M), Eq. (2), per cell."""

    depth = 2
    convergence = 3

    def weights(self, span: Span) -> list[Levels]:
        """Eq. (2)."""
        nodes, moments = [0 * span.h, *span.nodes], span.moments(3)
        return choose(span.order, [[span.m0], quadrature(nodes[:2], moments[:2]), quadrature(nodes, moments)])


@attrs.frozen
class DPMPPSDE2M(DPMPP):
    """SDE-DPM-Solver++(2M), Eq. (3), per cell; e^{−h} = 1 − m_0."""

    depth = 1
    convergence = 2

    def weights(self, span: Span) -> list[Levels]:
        """Eq. (3)."""
        return midpoint(span, self._total(span))

    def decay(self, span: Span) -> Levels:
        """Eq. (3)."""
        return span.decay * (1 - span.m0)

    def spread(self, span: Span) -> Levels:
        """Eq. (3)."""
        return span.sigma_s * self._total(span).sqrt()

    @staticmethod
    def _total(span: Span) -> Levels:
        """1 − e^{−2h}."""
        return span.m0 * (2 - span.m0)
