"""What a causal network remembers from chunk to chunk: for codecs that stream.

A causal convolution of kernel k, dilation d and stride s, which sees r = d (k − 1) + 1 positions at a time:

    (1) x' = [past, x]      before the first chunk the past is what the whole would be padded with: r − 1 positions
    (2) y  = conv(x')       without padding
    (3) past ← the last r − s positions of x'

The outputs of all chunks are then those of the whole at once, as every chunk ends where a stride does. Any layer that
looks back is of this kind; one that looks at single positions remembers nothing.
"""

import torch
from torch import Tensor

__all__ = ["Past"]


class Past:
    """The memory of a network while one chunk passes: its layers take and leave it in the order in which they compute.

    Args:
        state: what :meth:`state` gave after the chunk before; None before the first.

    Attributes:
        first: whether this is the first chunk.
    """

    def __init__(self, state: tuple[Tensor, ...] | None = None) -> None:
        self.first = state is None
        self._taken = () if state is None else state
        self._left: list[Tensor] = []

    def join(self, x: Tensor, start: Tensor, dim: int, keep: int) -> Tensor:
        """Eq. (1); what Eq. (3) keeps is left for the next chunk.

        Args:
            x: the chunk, as it comes to this layer.
            start: what stands before the first chunk.
            dim: the axis of time.
            keep: r − s.

        Raises:
            ValueError: if the state is that of another network, or of chunks of another batch, size or dtype.
        """
        if keep < 0:
            raise ValueError("a convolution whose stride is longer than its kernel cannot stream")
        past = start if self.first else self._take(x, dim)
        joined = torch.cat([past, x], dim) if past.shape[dim] else x
        # A copy, that what is kept does not hold the whole chunk.
        self._left.append(joined.narrow(dim, joined.shape[dim] - keep, keep).clone())
        return joined

    def _take(self, x: Tensor, dim: int) -> Tensor:
        if len(self._left) == len(self._taken):
            raise ValueError("the state of the chunk before is that of another network")
        past, expected = self._taken[len(self._left)], list(x.shape)
        expected[dim] = past.shape[dim] if past.ndim == x.ndim else -1
        if (list(past.shape), past.dtype, past.device) != (expected, x.dtype, x.device):
            raise ValueError(
                f"this chunk does not go on where the state ends: a layer remembers {tuple(past.shape)}, {past.dtype} on "
                f"{past.device}, and is shown {tuple(x.shape)}, {x.dtype} on {x.device}"
            )
        return past

    def state(self) -> tuple[Tensor, ...]:
        """What to remember for the next chunk, when this one has passed.

        Raises:
            ValueError: if not every layer was there that the chunk before passed.
        """
        if not self.first and len(self._left) != len(self._taken):
            raise ValueError("the state of the chunk before is that of another network")
        return tuple(self._left)
