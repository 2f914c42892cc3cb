"""Numbers per segment of a reference track, given to the cells of all tracks by physical time."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from mmseqdiff.layout import Layout

__all__ = ["levels_of_segments", "whole_levels"]


def levels_of_segments(
    levels: Shaped[Tensor, "batch reference"], layout: Layout, reference: str | None
) -> Float[Tensor, "batch modality segment"]:
    """Every cell's level is that of the reference segment which holds its midpoint; padding is 0."""
    table = layout.correspondence(reference).to(levels.device)
    return torch.where(table >= 0, levels[:, table.clamp(min=0)], 0).to(torch.float32)


def whole_levels(time: Float[Tensor, "*shape"], num_levels: int) -> Float[Tensor, "*shape"]:
    """The whole level of 1 … T in whose T-th part of (0, 1] a time lies: uniform if the time is."""
    return (time * num_levels).ceil().clamp(1, num_levels)
