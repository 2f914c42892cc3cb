"""UniPC (arXiv:2302.04867), in the terms of :mod:`mmseqdiff_samplers.exponential`, with data prediction.

A step t → s of order p predicts with the estimates of x0 at t and at the p − 1 levels before. When the estimate at s has
come, with the next step, the last step is made again with it as one estimate more; no evaluation is added:

    (1) UniP   z_s  = sigma_s / sigma_t · z_t^c + alpha_s (m_0 x0_t + Σ_i c_i (x0_i − x0_t))
    (2) UniC   z_s^c = the same, with x0 at (z_s, s) among the x0_i, at node 1

The c_i solve Σ_i c_i r_i^k = m_k for k >= 1, and B(h) cancels. Only where there is one such estimate, UniP-2 and UniC-1,
the authors take c = B(h) / (2 r) instead of m_1 / r:

    (3) bh1   B(h) = h          bh2   B(h) = 1 − e^{−h}

UniP-p is of order p, UniC-p raises it to p + 1. At s = 0, and from alpha = 0, steps are DDIM and are not corrected.
"""

import attrs
import torch
from torch import Tensor

from mmseqdiff.forward import Prediction
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import Denoise, Latents, Levels, Noise, State
from mmseqdiff.timesteps import expand
from mmseqdiff.transition import combine
from mmseqdiff_samplers.exponential import Span, choose, quadrature
from mmseqdiff_samplers.history import History, MultistepSampler

__all__ = ["UniPC"]


@attrs.frozen
class UniPC(MultistepSampler):
    """UniPC of order p, per cell.

    Attributes:
        order: p, from 1 to 3, of the predictor.
        variant: ``bh1`` or ``bh2``, Eq. (3).
    """

    order: int = attrs.field(default=2, validator=attrs.validators.in_((1, 2, 3)))
    variant: str = attrs.field(default="bh2", validator=attrs.validators.in_(("bh1", "bh2")))

    @property
    def convergence(self) -> int:
        """p + 1, with the corrector."""
        return self.order + 1

    @property
    def depth(self) -> int:
        """The p − 1 levels before t, and the start of the step that is made again."""
        return self.order

    def start(self, z: Latents, layout: Layout) -> dict[str, Tensor]:
        """No history, and no step to be made again."""
        state = MultistepSampler.start(self, z, layout)
        return {**state, **{f"last/{name}": torch.zeros_like(value) for name, value in z.items()}}

    def _weights(self, span: Span, nodes: list[Levels], order: Tensor, corrects: bool) -> list[Levels]:
        """Weights of x0 at t and at ``nodes``, of which order k uses the first k − 1, or k where it corrects."""
        moments, total = span.moments(len(nodes) + 1), span.h if self.variant == "bh1" else span.m0
        candidates = [] if corrects else [[span.m0]]
        for count in range(1, len(nodes) + 1):
            used = nodes[:count]
            if count == 1:
                half = total / (2 * used[0])  # Eq. (3)
                candidates.append([span.m0 - half, half])
            else:
                candidates.append(quadrature([0 * span.h, *used], moments[: count + 1]))
        return choose(order, candidates)

    def step(
        self, z: Latents, t: Levels, s: Levels, *, denoise: Denoise, state: State, noise: Noise
    ) -> tuple[Latents, State]:
        """Eq. (2) for the last step of every cell that moves, then Eq. (1)."""
        prediction = denoise(z, t)
        layout, schedule = prediction.layout, prediction.schedule
        history = History.read(state, layout, self.depth)
        corrected = self._correct(z, t, s, prediction, history, state)

        past = attrs.evolve(history, x0=history.x0[: self.order - 1], levels=history.levels[: self.order - 1])
        span = Span.between(schedule, t, s, past)
        terms = [(span.decay, lambda: corrected)]
        for weight, x0 in zip(
            self._weights(span, list(span.nodes), span.order, corrects=False), (prediction.x0, *past.x0)
        ):
            terms.append((span.alpha_s * weight, lambda x0=x0: x0))
        made = combine(layout, t, s, z, terms)

        after = history.pushed(prediction, t != s)
        for name, moves in layout.split(t != s).items():
            last = state[f"last/{name}"]
            after[f"last/{name}"] = torch.where(expand(moves, last), corrected[name], last)
        return made, after

    def _correct(
        self, z: Latents, t: Levels, s: Levels, prediction: Prediction, history: History, state: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """The latents at ``t``, with the step that led there made again, Eq. (2)."""
        before, earlier = history.levels[0], history.levels[1:]
        again = (t != s) & (history.entries > 0) & (before > t)
        start = torch.where(again, before, t.double())
        past = History(history.x0[1:], earlier, (history.entries - 1).clamp(min=0))
        span = Span.between(prediction.schedule, start, t, past)
        nodes = [torch.ones_like(span.h), *span.nodes]
        weights = self._weights(span, nodes, span.order, corrects=True)
        terms = [(span.decay, lambda: {name: state[f"last/{name}"] for name in z})]
        for weight, x0 in zip(weights, (history.x0[0], prediction.x0, *past.x0)):
            terms.append((span.alpha_s * weight, lambda x0=x0: x0))
        return combine(prediction.layout, start, t, z, terms)
