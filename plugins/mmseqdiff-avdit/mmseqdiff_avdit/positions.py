"""Where cells and tokens lie, as fixed features of seconds and grid coordinates.

    (1) φ(x) = [cos 2πx/p_k, sin 2πx/p_k]         for K periods p_k that rise geometrically
    (2) time features of cell (m, n)               φ(its midpoint in seconds), periods 1/25 s … 20 s
    (3) space features of a token                  φ of every grid coordinate, periods 2 … 128 tokens
    (4) rotation of a query or key u                u ← u e^{2πi s/p_k}, its halves the real and imaginary parts of K complex
                                                    numbers, s its cell's midpoint in seconds, the periods as in (2)
    (5) logit of head h for tokens i, j            less m_h |s_i − s_j|, m_h = 16 / 2^h a second; 0 for the last head

A learned linear map takes them to the model's dimension, which makes the embedding a smooth function of place. A
learned table, a vector for every index, would hold for clips of one length only and would have to learn which audio
latent sounds while which video latent shows. Here the same moment has the same features in every modality, whatever
its rate, and weights trained on one layout fit a layout of another length.

(4) lets attention see the time between two tokens, (5) makes it begin with what is near (ALiBi, arXiv:2108.12409): from
within a tenth of a second in the first head to the whole clip in the last.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmseqdiff.layout import Layout

__all__ = ["AXIS_FEATURES", "nearness", "rotate", "rotation", "sinusoids", "space_features", "time_features"]

AXIS_FEATURES = 64
"""Features of one coordinate, 2K in Eq. (1)."""

_SECONDS = (1 / 25, 20.0)
_TOKENS = (2.0, 128.0)
_STEEPEST = 16.0
"""m_0 of Eq. (5), in logits a second."""


def sinusoids(
    x: Float[Tensor, "*shape"], shortest: float, longest: float, features: int, dtype: torch.dtype
) -> Float[Tensor, "*shape features"]:
    """Eq. (1): cosines, then sines, with periods from ``shortest`` to ``longest``.

    Computed in float64 and then rounded to ``dtype``: a float32 angle of a thousand would be off by 1e-4.
    """
    exponents = torch.linspace(0, 1, features // 2, dtype=torch.float64, device=x.device)
    angles = 2 * math.pi / shortest * x.double()[..., None] * (shortest / longest) ** exponents
    return torch.cat([angles.cos(), angles.sin()], dim=-1).to(dtype)


def time_features(layout: Layout) -> Float[Tensor, "cell feature"]:
    """Eq. (2) for all valid cells, one track after the other, in the default dtype."""
    seconds = [float(midpoint) for track in layout.tracks for midpoint in track.midpoints]
    return sinusoids(torch.tensor(seconds, dtype=torch.float64), *_SECONDS, AXIS_FEATURES, torch.get_default_dtype())


def space_features(grid: tuple[int, ...]) -> Float[Tensor, "token feature"]:
    """Eq. (3) for the tokens of one segment, in row-major order: ``AXIS_FEATURES`` for each axis of the grid."""
    coordinates = torch.tensor(list(itertools.product(*map(range, grid))), dtype=torch.float64)
    return sinusoids(coordinates, *_TOKENS, AXIS_FEATURES, torch.get_default_dtype()).flatten(1)


def token_seconds(layout: Layout, tokens: Sequence[int]) -> Float[Tensor, " tokens"]:
    """s of every token, one track after the other, in float64.

    Args:
        layout: whose tokens.
        tokens: in one segment of every track.
    """
    seconds = [
        float(midpoint)
        for track, count in zip(layout.tracks, tokens)
        for midpoint in track.midpoints
        for _ in range(count)
    ]
    return torch.tensor(seconds, dtype=torch.float64)


def rotation(layout: Layout, tokens: Sequence[int], channels: int) -> Float[Tensor, "tokens channel"]:
    """Cosines, then sines, of the angles of Eq. (4), in the default dtype.

    Args:
        layout: whose tokens, one track after the other.
        tokens: in one segment of every track.
        channels: of a query or key, an even number.
    """
    return sinusoids(token_seconds(layout, tokens), *_SECONDS, channels, torch.get_default_dtype())


def nearness(layout: Layout, tokens: Sequence[int], heads: int) -> Float[Tensor, "heads tokens tokens"]:
    """What Eq. (5) adds to the logits, at most 0, in the default dtype.

    Args:
        layout: whose tokens, one track after the other.
        tokens: in one segment of every track.
        heads: of the attention.
    """
    seconds = token_seconds(layout, tokens)
    slopes = torch.tensor([_STEEPEST / 2**h for h in range(heads - 1)] + [0.0], dtype=torch.float64)
    return (-slopes[:, None, None] * (seconds[:, None] - seconds).abs()).to(torch.get_default_dtype())


def rotate(u: Float[Tensor, "*batch tokens channel"], angles: Float[Tensor, "tokens channel"]) -> Tensor:
    """Eq. (4) for queries or keys, by the cosines and sines of :func:`rotation`."""
    (real, imaginary), (cosine, sine) = u.chunk(2, dim=-1), angles.chunk(2, dim=-1)
    return torch.cat([real * cosine - imaginary * sine, real * sine + imaginary * cosine], dim=-1)
