"""Free levels in the past, one level for the future: what training for history guidance needs (arXiv:2502.06764).

    t(m, n) = t_ref(n')     n' the corresponding segment of the reference track, if that lies in the context
    t(m, n) = t_ref(F)      otherwise

A partition like the paper's, so that every cell is uniform on 1 … T.
"""

from fractions import Fraction

import attrs
import torch

from mmseqdiff.layout import Layout
from mmseqdiff_noise.policies import Partition, TiedPolicy

__all__ = ["UniformFuture"]


@attrs.frozen
class UniformFuture(TiedPolicy):
    """A level of its own for every segment of the context, and one that all later segments share.

    Attributes:
        context: how long the past is, in seconds.
        reference: a modality; the coarsest where None.
    """

    context: Fraction = Fraction(5, 8)
    reference: str | None = None
    name = "uniform_future"

    def groups(self, layout: Layout) -> Partition:
        """The corresponding segment of the reference track, or the future."""
        table, track = layout.correspondence(self.reference), layout.reference(self.reference)
        past = layout.cells(track.modality, track.edges[0], track.edges[0] + self.context)
        return torch.where(past[table.clamp(min=0)], table, track.segments)
