"""Operations on the timestep matrix: drawing tied levels, and checking a matrix.

``Timesteps`` is a float tensor ``(B, M, N)`` of levels in [0, T]; padding holds level 0 (arXiv:2405.13762 §3.1).

A *partition* ``(M, N)`` of whole numbers says which cells share a level. It is all that distinguishes the paper's
strategies (§3.2, Algorithm 1):

    vanilla                 one group
    per modality            group = m
    per time-segment        group = corresponding segment of the reference track
    both                    every cell its own group
"""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.layout import Layout

__all__ = ["ALWAYS_CLEAN", "BUCKETS", "PADDING", "buckets", "canonical", "check", "expand", "tied_levels"]

PADDING = -1
"""A partition's mark for cells that do not exist."""
ALWAYS_CLEAN = -2
"""A partition's mark for cells that a policy never noises."""
BUCKETS = 10
"""Tenths of T, by which levels are counted."""


def buckets(levels: Float[Tensor, "*shape"], num_levels: int) -> Int[Tensor, "*shape"]:
    """The bucket of every level: k holds those in (k T / 10, (k + 1) T / 10], the first one level 0 too."""
    return (levels * BUCKETS / num_levels).ceil().long().clamp(1, BUCKETS) - 1


def tied_levels(
    partition: Int[Tensor, "modality segment"], keys: Int[Tensor, " batch"], num_levels: int
) -> Float[Tensor, "batch modality segment"]:
    """One whole level per group, uniform on 1 … ``num_levels`` and independent between groups; 0 for marked cells."""
    count = max(int(partition.max()), 0) + 1  # before it is moved: a GPU would be waited for
    partition = partition.to(keys.device)
    levels = random.integers(keys, "levels", 1, num_levels, (count,))[:, partition.clamp(min=0)]
    return torch.where(partition >= 0, levels, 0).to(torch.float32)


def canonical(partition: Int[Tensor, "modality segment"]) -> Int[Tensor, "modality segment"]:
    """The same partition with its groups numbered 0, 1, … and its marks kept."""
    numbers = torch.full_like(partition, 0)
    live = partition >= 0
    numbers[live] = torch.unique(partition[live], return_inverse=True)[1]
    return torch.where(live, numbers, partition)


def check(t: Float[Tensor, "*batch modality segment"], layout: Layout, num_levels: int) -> None:
    """Refuses a matrix that no forward process could mean.

    Raises:
        ValueError: if the shape is not the layout's, a level is outside [0, num_levels] or not a number, or padding is
            not 0; the message names the first such cell.
    """
    if t.shape[-2:] != (layout.M, layout.N):
        raise ValueError(f"the layout has a {layout.M} x {layout.N} timestep matrix, got {tuple(t.shape)}")
    wrong = ~((t >= 0) & (t <= num_levels)) | (~layout.valid.to(t.device) & (t != 0))
    if wrong.any():
        *row, m, n = wrong.nonzero()[0].tolist()
        where = layout.describe(m, n) if layout.valid[m, n] else f"padding cell ({layout.modalities[m]}, {n})"
        expected = f"a level in [0, {num_levels}]" if layout.valid[m, n] else "level 0"
        raise ValueError(f"{where} has level {t[*row, m, n]:g}, expected {expected}")


def expand(cells: Shaped[Tensor, "batch segment_m"], like: Tensor) -> Tensor:
    """Numbers per cell ``(B, N_m)``, shaped to multiply latents ``(B, N_m, *grid, channels)`` and in their dtype.

    Booleans stay booleans, to choose between latents.
    """
    values = cells if cells.dtype == torch.bool else cells.to(like.dtype)
    return values.reshape(*cells.shape, *(1,) * (like.ndim - cells.ndim))
