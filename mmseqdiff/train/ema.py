"""The exponential moving average of a module's weights.

After update n = 0, 1, …, with weights w_n:

    (1) d_n = min(decay, (1 + n) / (10 + n))       short memory at first, so that the start is forgotten
    (2) a_n = d_n a_{n−1} + (1 − d_n) w_n           a_{−1} is the initial weights

Buffers are not averaged but copied.
"""

import copy

import torch
from torch import nn

__all__ = ["Average", "decay_at"]


def decay_at(update: int, decay: float) -> float:
    """d_n, Eq. (1)."""
    return min(decay, (1 + update) / (10 + update))


class Average:
    """A second module whose parameters are the average of the first one's.

    Args:
        module: what is trained.
        decay: the limit of Eq. (1), in [0, 1].

    Attributes:
        module: the averaged copy, in evaluation mode and without gradients.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.module = copy.deepcopy(module).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, module: nn.Module, update: int) -> None:
        """Takes the weights after update number ``update`` (from 0) into the average, Eq. (2)."""
        weight = 1 - decay_at(update, self.decay)
        torch._foreach_lerp_(list(self.module.parameters()), list(module.parameters()), weight)
        for own, new in zip(self.module.buffers(), module.buffers()):
            own.copy_(new)
