"""Guidance by the other modalities alone (arXiv:2303.06555 §4.3, for any number of sequences).

    (1) D[m] = w D(z)[m] − (w − 1) D(z with all other modalities ← noise, at T)[m]

for every generated modality m by itself: each is compared with what it would be if it were alone. This works where nothing
is given too: then the others are shown at the level that they have reached. What is given of m itself stays clean.
"""

import attrs
import torch
from jaxtyping import Bool
from torch import Tensor

from mmseqdiff.layout import Layout
from mmseqdiff_guidance.branches import Branch, BranchGuidance, per_modality

__all__ = ["CrossModalGuidance"]


@attrs.frozen
class CrossModalGuidance(BranchGuidance):
    """Eq. (1): one evaluation, and one more for every modality that is generated, as one batch.

    Attributes:
        scale: w; 1 is no guidance.
        scales: generated modality → its own w, where it is not ``scale``.
    """

    scale: float = 1.5
    scales: dict[str, float] = attrs.field(factory=dict)

    def branches(self, layout: Layout, given: Bool[Tensor, "modality segment"]) -> list[Branch]:
        """Eq. (1)."""
        scale = per_modality(layout, self.scale, self.scales)
        made = [Branch(scale, torch.zeros_like(scale))]
        for m in range(layout.M):
            row = (torch.arange(layout.M) == m)[:, None]
            made.append(Branch(torch.where(row, 1 - scale, 0), (layout.valid & ~row).double()))
        return made
