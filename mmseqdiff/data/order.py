"""The order in which examples are read: a pure function of seed and step.

    (1) epoch e of seed s       π_{s,e}, a permutation of 0 … L − 1: the order of L keyed 64-bit numbers
    (2) the endless stream      x_i = π_{s, ⌊i / L⌋}(i mod L)
    (3) step k, batch of B      x_{kB} … x_{kB + B − 1}

The batch of a step does not depend on how many processes share it (:meth:`mmseqdiff.train.parallel.World.share`), so a run
can stop and go on with another number of them and neither lose nor repeat an example; a batch may reach into the next epoch.
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


def batch_indices(seed: int, step: int, *, batch_size: int, length: int) -> Int[Tensor, " batch"]:
    """The examples that are read at a step, Eq. (2) and (3).

    Args:
        seed: of the run.
        step: from 0.
        batch_size: examples of a step.
        length: examples in the store.

    Raises:
        ValueError: if the store is empty, or the batch.
    """
    if length < 1:
        raise ValueError("there is nothing to read: the store holds no example")
    if batch_size < 1:
        raise ValueError(f"a batch has an example at least, got {batch_size}")
    positions = step * batch_size + torch.arange(batch_size)
    epochs, offsets = positions // length, positions % length
    indices = torch.empty_like(positions)
    for epoch in epochs.unique().tolist():
        here = epochs == epoch
        indices[here] = permutation(seed, epoch, length)[offsets[here]]
    return indices
