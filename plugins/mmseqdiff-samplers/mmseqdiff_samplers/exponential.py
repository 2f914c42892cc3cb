"""The probability flow between two levels of every cell, exact but for x0 (arXiv:2211.01095 Prop. 4.1).

With lambda = log(alpha / sigma), half the log-SNR, and h = lambda_s − lambda_t > 0, at the cell's own levels:

    (1) z_s = sigma_s / sigma_t · z_t + alpha_s ∫_0^1 h e^{−h (1 − τ)} x0(lambda_t + τ h) dτ
    (2) m_k = ∫_0^1 h e^{−h (1 − τ)} τ^k dτ:   m_0 = 1 − e^{−h},   m_k = 1 − k m_{k−1} / h
    (3) with x0 a polynomial through its values at the nodes r_i = (lambda_i − lambda_t) / h, the integral is
        Σ_i w_i x0_i with Σ_i w_i r_i^k = m_k: a small Vandermonde system for every cell

At the ends h is infinite and is never formed: at s = 0, and where alpha_t = 0, x0 is taken as constant with m_0 = 1.
This is order 1, DDIM; at s = 0 it is z_s = x0.
"""

from collections.abc import Sequence

import attrs
import torch
from jaxtyping import Int
from torch import Tensor

from mmseqdiff.protocols import Levels, NoiseSchedule
from mmseqdiff_samplers.history import History

__all__ = ["Span", "choose", "quadrature"]

NEAREST = 1e-4
"""How far apart nodes r_i must be: a slope between two estimates has their rounding, or a network's noise, over this."""
HIGHEST_MOMENT = 24
"""Downwards from here, Eq. (2) has forgotten where it began long before the moments in use, for h < 1."""


@attrs.frozen(eq=False)
class Span:
    """One step of every cell in the terms of Eq. (1), in float64. Numbers of cells that do not move are not to be used.

    Attributes:
        decay: sigma_s / sigma_t.
        alpha_s: the signal scale at s.
        sigma_s: the noise scale at s.
        h: the step in half the log-SNR; 1 where it is 0, infinite or not to be used.
        m0: Eq. (2), by its limit at the ends.
        order: how many estimates of x0 Eq. (3) may use, of which the newest is that at t.
        nodes: r_i for the entries of the history; below the last, and distinct, where an entry does not count.
    """

    decay: Levels
    alpha_s: Levels
    sigma_s: Levels
    h: Levels
    m0: Levels
    order: Int[Tensor, "batch modality segment"]
    nodes: tuple[Levels, ...]

    @classmethod
    def between(cls, schedule: NoiseSchedule, t: Levels, s: Levels, history: History) -> "Span":
        """From level ``t`` to level ``s``. Entries count while they lie ever further, by :data:`NEAREST`, on the noisy side."""
        t, s = t.double(), s.double()
        sigma_t, sigma_s = schedule.sigma(t), schedule.sigma(s)
        start, end = schedule.log_snr(t) / 2, schedule.log_snr(s) / 2
        finite = start.isfinite() & end.isfinite()
        exact = torch.where(finite, end - start, 1)
        live = finite & (exact > 0)
        h = torch.where(live, exact, 1)
        order, last, last_node, nodes = torch.ones_like(history.entries), start, torch.zeros_like(h), []
        for i, level in enumerate(history.levels):
            entry = schedule.log_snr(level) / 2
            live = live & (history.entries > i) & (last - entry > NEAREST * h)
            last_node = torch.where(
                live, (torch.where(live, entry, 0) - torch.where(live, start, 0)) / h, last_node - 1
            )
            order, last = order + live.long(), torch.where(live, entry, last)
            nodes.append(last_node)
        return cls(
            decay=sigma_s / torch.where(sigma_t == 0, 1, sigma_t),
            alpha_s=schedule.alpha(s),
            sigma_s=sigma_s,
            h=h,
            m0=torch.where(finite, -torch.expm1(-exact), 1),
            order=order,
            nodes=tuple(nodes),
        )

    def moments(self, count: int) -> list[Levels]:
        """m_0 … m_{count − 1}, Eq. (2): upwards from h = 1 on; for smaller steps downwards, where errors shrink."""
        up = [-torch.expm1(-self.h)]
        for k in range(1, count):
            up.append(1 - k * up[-1] / self.h)
        down = [torch.zeros_like(self.h)]
        for k in range(HIGHEST_MOMENT, 0, -1):
            down.insert(0, (1 - down[0]) * self.h / k)
        return [torch.where(self.h < 1, low, high) for low, high in zip(down, up)]


def quadrature(nodes: Sequence[Levels], moments: Sequence[Levels]) -> list[Levels]:
    """The weights w of Eq. (3), by Lagrange's polynomials: elementwise, and without a solver's synchronisation."""
    weights = []
    for j, node in enumerate(nodes):
        coefficients: list[Tensor | float] = [1.0]
        for other in (*nodes[:j], *nodes[j + 1 :]):
            shifted = zip([0.0, *coefficients], [*coefficients, 0.0])
            coefficients = [(low - other * high) / (node - other) for low, high in shifted]
        weights.append(sum(coefficient * moment for coefficient, moment in zip(coefficients, moments)))
    return weights


def choose(order: Int[Tensor, "batch modality segment"], candidates: Sequence[Sequence[Levels]]) -> list[Levels]:
    """Each cell's weights: those of ``candidates[order − 1]``, 0 where that has fewer than the last."""
    length = len(candidates[-1])
    chosen = [torch.zeros_like(candidates[0][0])] * length
    for k, weights in enumerate(candidates, start=1):
        padded = [*weights, *[torch.zeros_like(weights[0])] * (length - len(weights))]
        chosen = [torch.where(order >= k, new, old) for new, old in zip(padded, chosen)]
    return chosen
