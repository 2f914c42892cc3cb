"""The transformer layer: full self-attention and an MLP, each after an adaptive LayerNorm.

With c the conditioning row of a token's cell, and AdaLN(x; γ, β) = LN(x) · (1 + γ) + β (arXiv:2405.13762 §4,
arXiv:2212.09748):

    (1) γ_1, β_1 (, α_1), γ_2, β_2 (, α_2) = W c       once for every cell, by a linear map of the layer's own
    (2) x ← x + α_1 · Attention(AdaLN(x; γ_1, β_1))
    (3) x ← x + α_2 · MLP(AdaLN(x; γ_2, β_2))

The paper has scales and shifts alone, α = 1; with the gates α it is DiT's adaLN-Zero. (1) is computed for cells, 111
for AVDiT's clip, and not for its 1386 tokens: the tokens of a cell lie side by side, so that a row reaches them by
broadcasting, without a gather and without a copy.
"""

from collections.abc import Callable
from functools import partial

import attrs
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mmseqdiff_avdit.positions import rotate

__all__ = ["Block", "Spans", "normalise"]

EPSILON = 1e-6
"""Of every LayerNorm."""


@attrs.frozen
class Spans:
    """How the tokens of all tracks, one track after the other, belong to the cells in the same order.

    Attributes:
        segments: of every track.
        tokens: of one segment of every track.
    """

    segments: tuple[int, ...]
    tokens: tuple[int, ...]

    def split_tokens(self, x: Float[Tensor, "batch tokens dimension"]) -> list[Tensor]:
        """Per track ``(B, N_m, tokens of a segment, d)``."""
        parts = x.split([count * size for count, size in zip(self.segments, self.tokens)], dim=1)
        return [part.unflatten(1, (count, size)) for part, count, size in zip(parts, self.segments, self.tokens)]

    def split_rows(self, rows: Float[Tensor, "batch cell dimension"]) -> list[Tensor]:
        """Per track ``(B, N_m, d)``."""
        return list(rows.split(self.segments, dim=1))

    def apply(
        self, function: Callable[..., Tensor], x: Float[Tensor, "batch tokens dimension"], *rows: Tensor
    ) -> Float[Tensor, "batch tokens dimension"]:
        """``function(tokens, *rows)`` where every row meets all tokens of its cell."""
        cells = [[part[:, :, None] for part in self.split_rows(each)] for each in rows]
        return torch.cat([function(*parts).flatten(1, 2) for parts in zip(self.split_tokens(x), *cells)], dim=1)


class Attention(nn.Module):
    """Self-attention of all tokens with LayerNorm on queries and keys of every head (arXiv:2302.05442)."""

    def __init__(self, dimension: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dimension, 3 * dimension)
        # No bias: on keys it would add the same number to all of a query's logits.
        self.query_norm = nn.LayerNorm(dimension // heads, eps=EPSILON, bias=False)
        self.key_norm = nn.LayerNorm(dimension // heads, eps=EPSILON, bias=False)
        self.project = nn.Linear(dimension, dimension)

    def forward(
        self,
        x: Float[Tensor, "batch tokens dimension"],
        angles: Float[Tensor, "tokens channel"] | None = None,
        nearness: Float[Tensor, "heads tokens tokens"] | None = None,
    ) -> Float[Tensor, "batch tokens dimension"]:
        """The mixed tokens.

        Args:
            x: the tokens.
            angles: how queries and keys are rotated (:func:`mmseqdiff_avdit.positions.rotation`); None leaves them.
            nearness: what is added to the logits (:func:`mmseqdiff_avdit.positions.nearness`); None is nothing.
        """
        query, key, value = (
            self.qkv(x).unflatten(-1, (3, self.heads, -1)).transpose(1, 3).unbind(2)
        )  # (B, heads, L, d')
        query, key = self.query_norm(query), self.key_norm(key)
        if angles is not None:
            query, key = rotate(query, angles), rotate(key, angles)
        bias = None if nearness is None else nearness.to(query.dtype)
        mixed = F.scaled_dot_product_attention(query, key, value.to(query.dtype), attn_mask=bias)
        return self.project(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """One layer, Eq. (1) to (3).

    Args:
        dimension: of a token.
        heads: of the attention.
        hidden: width of the MLP.
        gates: whether the condition also gates the branches.
    """

    def __init__(self, dimension: int, heads: int, hidden: int, gates: bool) -> None:
        super().__init__()
        self.parts = 3 if gates else 2
        self.modulation = nn.Linear(dimension, 2 * self.parts * dimension)
        self.attention = Attention(dimension, heads)
        self.mlp = nn.Sequential(
            nn.Linear(dimension, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, dimension)
        )

    def forward(
        self,
        x: Float[Tensor, "batch tokens dimension"],
        rows: Float[Tensor, "batch cell dimension"],
        spans: Spans,
        angles: Float[Tensor, "tokens channel"] | None = None,
        nearness: Float[Tensor, "heads tokens tokens"] | None = None,
    ) -> Float[Tensor, "batch tokens dimension"]:
        """The tokens after this layer; ``angles`` and ``nearness`` as in :class:`Attention`."""
        first, second = self.modulation(rows).chunk(2, dim=-1)  # Eq. (1)
        attend = partial(self.attention, angles=angles, nearness=nearness)
        x = x + self._branch(attend, x, first, spans)  # Eq. (2)
        return x + self._branch(self.mlp, x, second, spans)  # Eq. (3)

    def _branch(self, inner: Callable[[Tensor], Tensor], x: Tensor, modulation: Tensor, spans: Spans) -> Tensor:
        scale, shift, *gate = modulation.chunk(self.parts, dim=-1)
        change = inner(spans.apply(_scale_and_shift, normalise(x), scale, shift))
        return spans.apply(torch.mul, change, *gate) if gate else change


def normalise(x: Float[Tensor, "*shape dimension"]) -> Float[Tensor, "*shape dimension"]:
    """LayerNorm without learned numbers of its own, LN."""
    return F.layer_norm(x, x.shape[-1:], eps=EPSILON)


def _scale_and_shift(tokens: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return tokens * (1 + scale) + shift
