"""Classifier-free guidance for free (arXiv:2405.13762 App. E).

A model trained with a mixture of noise levels needs no null token: a condition is absent when it is noise, at T.

    (1) cond      prediction at z with given cells clean, t = 0 there                          Eq. 13–14
    (2) uncond    prediction at z with given cells ← h ~ N(0, I), t = T there                  prose, Fig. 10, Fig. 11
    (3) guided    (1 + s) cond − s uncond = cond + (w − 1) (cond − uncond),  w = 1 + s         Eq. 16–17
    (4) guided    cond + (w − 1) (faint − uncond)                                              arXiv:2502.06764 §4

The typeset Eq. 15 keeps the condition and noises the target; the prose and Fig. 10 say the opposite, and are followed.
Fig. 11's partial forms re-noise only some modalities or some stretches of time. For a task that gives history, (3) is
vanilla history guidance; (4) is the fractional one: ``faint`` is shown the condition at level k_H, where only its low
frequencies are left, so that these are strengthened and motion is kept.
"""

from fractions import Fraction

import attrs
import torch
from jaxtyping import Bool
from torch import Tensor

from mmseqdiff.layout import Layout
from mmseqdiff_guidance.branches import Branch, BranchGuidance, per_modality, stretch

__all__ = ["FreeGuidance"]


@attrs.frozen
class FreeGuidance(BranchGuidance):
    """Guidance against the condition re-noised at T; two evaluations a step, three with a ``level``, as one batch.

    Attributes:
        scale: w = 1 + s of the paper; 1 is no guidance.
        modalities: whose given cells are re-noised; all where None.
        start: re-noise only cells from here on, in seconds.
        stop: and up to here; the clip's end where None.
        level: k_H of Eq. (4) as a fraction of T; at 0 Eq. (4) is Eq. (3).
        scales: generated modality → its own w, where it is not ``scale``.
    """

    scale: float = 1.5
    modalities: tuple[str, ...] | None = None
    start: Fraction = Fraction(0)
    stop: Fraction | None = None
    level: float = attrs.field(default=0.0, validator=[attrs.validators.ge(0), attrs.validators.le(1)])
    scales: dict[str, float] = attrs.field(factory=dict)

    def selected(self, layout: Layout) -> Bool[Tensor, "modality segment"]:
        """The cells that are re-noised where they are given."""
        return stretch(layout, self.modalities, self.start, self.stop)

    def branches(self, layout: Layout, given: Bool[Tensor, "modality segment"]) -> list[Branch]:
        """Eq. (4)."""
        excess = per_modality(layout, self.scale, self.scales) - 1
        hidden = (given & self.selected(layout)).double()
        return [
            Branch(torch.ones_like(excess), torch.zeros_like(hidden)),
            Branch(excess, self.level * hidden),
            Branch(-excess, hidden),
        ]
