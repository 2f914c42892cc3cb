"""Temporal history guidance (arXiv:2502.06764 §4): several windows of the condition, each with a weight.

    (1) D = (1 − Σ_i ω_i) D(∅) + Σ_i ω_i D(S_i)

S_i shows the given cells of a window, at a level of its own if so wished, and all others re-noised at T; ∅ shows none. One
window that holds everything is classifier-free guidance with w = ω. A short and a long window together keep what the long
one remembers, and react to what the short one sees.
"""

from fractions import Fraction

import attrs
import torch
from jaxtyping import Bool
from torch import Tensor

from mmseqdiff.layout import Layout
from mmseqdiff_guidance.branches import Branch, BranchGuidance, stretch

__all__ = ["HistoryGuidance", "Window"]


@attrs.frozen
class Window:
    """A part of the condition.

    Attributes:
        weight: ω.
        start: given cells from here on, in seconds …
        stop: … up to here; the clip's end where None.
        modalities: of these modalities; of all where None.
        level: they are shown at, as a fraction of T.
    """

    weight: float
    start: Fraction = Fraction(0)
    stop: Fraction | None = None
    modalities: tuple[str, ...] | None = None
    level: float = attrs.field(default=0.0, validator=[attrs.validators.ge(0), attrs.validators.le(1)])


@attrs.frozen
class HistoryGuidance(BranchGuidance):
    """Eq. (1): an evaluation for every different window, and one for no condition, as one batch.

    Attributes:
        windows: the S_i; they may overlap, and need not cover the condition.
    """

    windows: tuple[Window, ...] = attrs.field(validator=attrs.validators.min_len(1))

    def branches(self, layout: Layout, given: Bool[Tensor, "modality segment"]) -> list[Branch]:
        """Eq. (1)."""
        one, total = torch.ones(layout.M, layout.N, dtype=torch.float64), sum(window.weight for window in self.windows)
        made = [Branch((1 - total) * one, given.double())]
        for window in self.windows:
            shown = stretch(layout, window.modalities, window.start, window.stop)
            made.append(Branch(window.weight * one, torch.where(shown, window.level, 1.0).double() * given))
        return made
