"""DPM-Solver++ with multiple steps (arXiv:2211.01095), in the terms of :mod:`mmseqdiff_samplers.exponential`.

With D a combination of a cell's own estimates of x0 at t and before, and rho = −r_1, the last step over this one:

    (1) 2M      z_s = sigma_s / sigma_t · z_t + alpha_s (1 − e^{−h}) D,     D = x0 + (x0 − x0_1) / (2 rho)     (Algorithm 2)
    (2) 3M      the parabola through the last three estimates, integrated exactly
    (3) SDE-2M  z_s = sigma_s / sigma_t · e^{−h} z_t + alpha_s (1 − e^{−2h}) D + sigma_s sqrt(1 − e^{−2h}) ξ,  D as in (1)

Where fewer estimates are there the order is lower; of order 1, (1) and (2) are DDIM, and (3) is DDPM.
"""

from collections.abc import Callable

import attrs
from jaxtyping import Float
from torch import Tensor

from mmseqdiff.forward import Prediction
from mmseqdiff.protocols import Latents
from mmseqdiff_samplers.exponential import Span, choose, quadrature
from mmseqdiff_samplers.history import History, MultistepSampler
from mmseqdiff_samplers.transition import combine

__all__ = ["DPMPP2M", "DPMPP3M", "DPMPPSDE2M"]

Levels = Float[Tensor, "batch modality segment"]


def midpoint(span: Span, total: Levels) -> list[Levels]:
    """``total`` · D of Eq. (1), as weights of x0 and x0_1."""
    slope = -1 / (2 * span.nodes[0])
    return choose(span.order, [[total], [total * (1 + slope), -total * slope]])


@attrs.frozen
class DPMPP2M(MultistepSampler):
    """DPM-Solver++(2M), Eq. (1), per cell."""

    depth = 1

    def step(
        self,
        z: Latents,
        t: Float[Tensor, "batch modality segment"],
        s: Float[Tensor, "batch modality segment"],
        *,
        denoise: Callable[[Latents, Tensor], Prediction],
        state: dict[str, Tensor],
        noise: Callable[[str], Latents],
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Eq. (1)."""
        prediction = denoise(z, t)
        history = History.read(state, prediction.layout, self.depth)
        span = Span.between(prediction.schedule, t, s, history)
        terms = [(span.decay, lambda: z)]
        for weight, x0 in zip(midpoint(span, span.m0), (prediction.x0, *history.x0)):
            terms.append((span.alpha_s * weight, lambda x0=x0: x0))
        return combine(prediction.layout, t, s, z, terms), history.pushed(prediction, t != s)


@attrs.frozen
class DPMPP3M(MultistepSampler):
    """DPM-Solver++(3M), Eq. (2), per cell."""

    depth = 2

    def step(
        self,
        z: Latents,
        t: Float[Tensor, "batch modality segment"],
        s: Float[Tensor, "batch modality segment"],
        *,
        denoise: Callable[[Latents, Tensor], Prediction],
        state: dict[str, Tensor],
        noise: Callable[[str], Latents],
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Eq. (2)."""
        prediction = denoise(z, t)
        history = History.read(state, prediction.layout, self.depth)
        span = Span.between(prediction.schedule, t, s, history)
        nodes, moments = [0 * span.h, *span.nodes], span.moments(3)
        weights = choose(span.order, [[span.m0], quadrature(nodes[:2], moments[:2]), quadrature(nodes, moments)])
        terms = [(span.decay, lambda: z)]
        for weight, x0 in zip(weights, (prediction.x0, *history.x0)):
            terms.append((span.alpha_s * weight, lambda x0=x0: x0))
        return combine(prediction.layout, t, s, z, terms), history.pushed(prediction, t != s)


@attrs.frozen
class DPMPPSDE2M(MultistepSampler):
    """SDE-DPM-Solver++(2M), Eq. (3), per cell."""

    depth = 1

    def step(
        self,
        z: Latents,
        t: Float[Tensor, "batch modality segment"],
        s: Float[Tensor, "batch modality segment"],
        *,
        denoise: Callable[[Latents, Tensor], Prediction],
        state: dict[str, Tensor],
        noise: Callable[[str], Latents],
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Eq. (3)."""
        prediction = denoise(z, t)
        history = History.read(state, prediction.layout, self.depth)
        span = Span.between(prediction.schedule, t, s, history)
        total = span.m0 * (2 - span.m0)  # 1 − e^{−2h}
        sigma_s = prediction.schedule.sigma(s.double())
        terms = [(span.decay * (1 - span.m0), lambda: z), (sigma_s * total.sqrt(), lambda: noise("dpmpp_sde_2m"))]
        for weight, x0 in zip(midpoint(span, total), (prediction.x0, *history.x0)):
            terms.append((span.alpha_s * weight, lambda x0=x0: x0))
        return combine(prediction.layout, t, s, z, terms), history.pushed(prediction, t != s)
