"""The order in which examples are read: a pure function of seed, step, rank and world size.

    (1) epoch e of seed s       π_{s,e}, a permutation of 0 … L − 1: the order of L keyed 64-bit numbers
    (2) the endless stream      x_i = π_{s, ⌊i / L⌋}(i mod L)
    (3) step k, global batch B  x_{kB} … x_{kB + B − 1}; rank r of W reads its r-th part of B / W

The global batch of a step does not depend on W, so a run can stop and go on with another number of processes and
neither lose nor repeat an example; a batch may reach into the next epoch.
"""

from functools import lru_cache

import torch
from jaxtyping import Int
from torch import Tensor

from mmseqdiff import random

__all__ = ["batch_indices", "permutation"]


@lru_cache(maxsize=2)
def permutation(seed: int, epoch: int, length: int) -> Int[Tensor, " length"]:
    """The order of one epoch, Eq. (1). Not to be changed in place: it is kept for the next call."""
    keys = random.fold(torch.tensor(seed), "order", epoch, torch.arange(length))
    return keys.argsort(stable=True)


def batch_indices(
    seed: int, step: int, *, batch_size: int, length: int, rank: int = 0, world_size: int = 1
) -> Int[Tensor, " batch_of_rank"]:
    """The examples that a rank reads at a step, Eq. (2) and (3).

    Args:
        seed: of the run.
        step: from 0.
        batch_size: examples of a step over all ranks.
        length: examples in the store.
        rank: of this process.
        world_size: the number of processes; it must divide ``batch_size``.

    Returns:
        ``batch_size / world_size`` indices.

    Raises:
        ValueError: if the store is empty, or the batch cannot be shared out evenly.
    """
    if length < 1:
        raise ValueError("there is nothing to read: the store holds no example")
    if batch_size < 1 or batch_size % world_size:
        raise ValueError(f"a batch of {batch_size} cannot be shared evenly among {world_size} processes")
    share = batch_size // world_size
    positions = step * batch_size + rank * share + torch.arange(share)
    epochs, offsets = positions // length, positions % length
    indices = torch.empty_like(positions)
    for epoch in epochs.unique().tolist():
        here = epochs == epoch
        indices[here] = permutation(seed, epoch, length)[offsets[here]]
    return indices
