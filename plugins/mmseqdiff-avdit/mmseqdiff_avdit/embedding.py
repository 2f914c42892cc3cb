"""Into and out of the transformer: cells to conditioning rows, latents to tokens, tokens to predictions.

    (1) c_(m,n) = SiLU(MLP(W_level φ(t_(m,n)) + W_time φ(seconds_(m,n)) + u_m))        a row for every cell
    (2) x = W_in [z, self-condition] + time embedding + space embedding                a token for every patch
    (3) y = W_out (LN(x) · (1 + γ) + β), with γ, β = W c_(m,n)                         what the network predicts

(1) is "an embedding of the timestep vector" made of "timestep embeddings and positional encodings"
(arXiv:2405.13762 §4). Its position is temporal alone, so that a cell has one row, whatever its number of tokens.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mmseqdiff.layout import Layout, Track
from mmseqdiff_avdit.blocks import normalise
from mmseqdiff_avdit.positions import AXIS_FEATURES, sinusoids, space_features

__all__ = ["CellEmbedding", "TrackInput", "TrackOutput"]

LEVEL_FEATURES = 256
LEVEL_PERIODS = (2 * math.pi, 2 * math.pi * 10_000)
"""Of the level's sinusoids, in levels: from telling neighbours apart to 63 times T = 1000.
They are continuous in the level, so that solvers may stop anywhere."""


class CellEmbedding(nn.Module):
    """Levels to conditioning rows, Eq. (1).

    Args:
        layout: whose valid cells the rows stand for.
        dimension: of a row.
    """

    def __init__(self, layout: Layout, dimension: int) -> None:
        super().__init__()
        self.segments = {track.modality: track.segments for track in layout.tracks}
        self.level = nn.Linear(LEVEL_FEATURES, dimension)
        self.time = nn.Linear(AXIS_FEATURES, dimension, bias=False)
        self.modality = nn.ParameterDict({name: torch.empty(dimension) for name in layout.modalities})
        self.mlp = nn.Sequential(nn.Linear(dimension, 4 * dimension), nn.SiLU(), nn.Linear(4 * dimension, dimension))

    def forward(
        self, levels: Float[Tensor, "batch cell"], time: Float[Tensor, "cell feature"]
    ) -> Float[Tensor, "batch cell dimension"]:
        """A row for every cell; the tracks' cells follow one another, without padding."""
        phases = sinusoids(levels, *LEVEL_PERIODS, LEVEL_FEATURES, self.level.weight.dtype)
        kinds = torch.cat([self.modality[name].expand(count, -1) for name, count in self.segments.items()])
        rows = self.level(phases) + self.time(time) + kinds
        return F.silu(self.mlp(rows))


class TrackInput(nn.Module):
    """One modality's latents to tokens, Eq. (2).

    Args:
        track: the modality's track.
        patch: side of the square of latents that makes one token; used on grids of two axes.
        dimension: of a token.
        self_condition: whether an estimate of the clean latents is concatenated on the channels.

    Raises:
        ValueError: if the patch does not divide the grid.
    """

    space_features: Tensor | None

    def __init__(self, track: Track, patch: int, dimension: int, self_condition: bool) -> None:
        super().__init__()
        self.patch, self.self_condition = patch if len(track.grid) == 2 else 1, self_condition
        if any(size % self.patch for size in track.grid):
            raise ValueError(f"patch {patch} does not divide the grid {track.grid} of {track.modality!r}")
        self.tokens = math.prod(track.grid) // self.patch**2
        self.project = nn.Linear(track.channels * self.patch**2 * (1 + self_condition), dimension)
        self.space = nn.Linear(AXIS_FEATURES * len(track.grid), dimension, bias=False) if track.grid else None
        features = space_features(tuple(size // self.patch for size in track.grid)) if track.grid else None
        self.register_buffer("space_features", features, persistent=False)

    def forward(
        self,
        latents: Float[Tensor, "batch segment ..."],
        estimate: Float[Tensor, "batch segment ..."] | None,
        time: Float[Tensor, "segment dimension"],
    ) -> Float[Tensor, "batch segment token dimension"]:
        """The tokens of latents ``(B, N_m, *grid, channels)``, with their places added.

        Args:
            latents: noisy.
            estimate: of the clean latents; None is the same as zeros.
            time: the embedding of every segment's moment.
        """
        if self.self_condition:
            latents = torch.cat([latents, torch.zeros_like(latents) if estimate is None else estimate], dim=-1)
        tokens = self.project(to_patches(latents, self.patch)) + time[:, None]
        return tokens if self.space is None else tokens + self.space(self.space_features)


class TrackOutput(nn.Module):
    """One modality's tokens to its prediction, Eq. (3).

    Args:
        track: the modality's track.
        patch: as :class:`TrackInput`'s.
        dimension: of a token.
    """

    def __init__(self, track: Track, patch: int, dimension: int) -> None:
        super().__init__()
        self.grid, self.patch = track.grid, patch if len(track.grid) == 2 else 1
        self.modulation = nn.Linear(dimension, 2 * dimension)
        self.project = nn.Linear(dimension, track.channels * self.patch**2)

    def forward(
        self,
        tokens: Float[Tensor, "batch segment token dimension"],
        rows: Float[Tensor, "batch segment dimension"],
    ) -> Float[Tensor, "batch segment ..."]:
        """The prediction, ``(B, N_m, *grid, channels)``."""
        scale, shift = self.modulation(rows)[:, :, None].chunk(2, dim=-1)
        tokens = normalise(tokens) * (1 + scale) + shift
        return from_patches(self.project(tokens), self.patch, self.grid)


def to_patches(latents: Float[Tensor, "batch segment ..."], patch: int) -> Float[Tensor, "batch segment token feature"]:
    """``(B, N, *grid, c)`` to ``(B, N, tokens, patch² c)``; a patch is flattened row by row."""
    if patch > 1:
        rows = latents.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))  # (B, N, h, patch, w, patch, c)
        latents = rows.transpose(3, 4).flatten(4)
    return latents.reshape(*latents.shape[:2], -1, latents.shape[-1])


def from_patches(
    tokens: Float[Tensor, "batch segment token feature"], patch: int, grid: tuple[int, ...]
) -> Float[Tensor, "batch segment ..."]:
    """The inverse of :func:`to_patches`."""
    if patch > 1:
        height, width = grid
        blocks = tokens.unflatten(3, (patch, patch, -1)).unflatten(2, (height // patch, width // patch))
        tokens = blocks.transpose(3, 4)  # (B, N, h, patch, w, patch, c)
        return tokens.reshape(*tokens.shape[:2], height, width, tokens.shape[-1])
    return tokens.reshape(*tokens.shape[:2], *grid, tokens.shape[-1])
