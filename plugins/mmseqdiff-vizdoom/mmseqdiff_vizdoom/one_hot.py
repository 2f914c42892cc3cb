"""Symbols as fixed orthogonal vectors, as in analog bits (arXiv:2208.04202): never learned through the diffusion loss.

    (1) z = 2 x − 1                       for a one-hot x: 1 at its symbol, −1 elsewhere
    (2) x̂ = one-hot of argmax z           the first of equals

The best estimate of z under squared error is 2 P(symbol) − 1, so that (2) takes the most probable symbol. Normalising
each channel by the statistics of the training set changes neither.
"""

from fractions import Fraction

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mmseqdiff.layout import Track, uniform_edges
from mmseqdiff.protocols import Codec

__all__ = ["OneHot"]


class OneHot(nn.Module, Codec):
    """The codec of anything discrete: a signal ``(B, steps, symbols)``, one-hot, is a latent a step. It has no weights.

    Where nothing is known a signal is zero, and so the latent is −1 throughout.
    """

    def segments(self, length: int) -> int:
        """One a step.

        Raises:
            ValueError: if there is no step.
        """
        if length < 1:
            raise ValueError("a signal without a single step cannot be encoded")
        return length

    def track(self, modality: str, shape: tuple[int, ...], rate: Fraction) -> Track:
        """Latent n lies at ``[n, n + 1) / rate`` seconds and is one token with a channel for every symbol."""
        steps, symbols = shape
        return Track(modality, uniform_edges(self.segments(steps), rate), grid=(), channels=symbols)

    def encode(self, signal: Float[Tensor, "batch step symbol"]) -> Float[Tensor, "batch step symbol"]:
        """Eq. (1)."""
        return 2 * signal - 1

    def decode(self, latents: Float[Tensor, "batch step symbol"]) -> Float[Tensor, "batch step symbol"]:
        """Eq. (2)."""
        return F.one_hot(latents.argmax(-1), latents.shape[-1]).to(latents.dtype)
