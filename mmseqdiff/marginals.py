"""What levels a policy draws: in each modality, along the clip, and apart between modalities.

A model can only be asked for what its policy trained. Two models with the same marginals may differ in what they saw of
|t_a − t_b|, the difference between two modalities at one moment; if it is always 0, no conditional task was ever trained.

A cell of the finer track of a pair corresponds to the segment of the coarser one that holds its midpoint.
"""

from itertools import combinations
from typing import Any

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import TimestepPolicy
from mmseqdiff.timesteps import BUCKETS, buckets

__all__ = ["Marginals", "marginals"]


@attrs.frozen(eq=False)
class Marginals:
    """Shares and means of a policy's levels.

    Attributes:
        layout: the tracks.
        num_levels: T.
        draws: matrices that were drawn; a share's standard error is at most 0.5 / sqrt(draws).
        levels: modality → ``(10,)`` shares of its cells' levels, by :func:`mmseqdiff.timesteps.buckets`.
        clean: modality → the share of its cells that are at level 0.
        means: modality → ``(N_m,)`` mean level of every segment, as a part of T.
        differences: ``"a, b"`` → ``(10,)`` shares of |t_a − t_b| between corresponding cells.
        equal: ``"a, b"`` → the share of corresponding cells with the same level.
    """

    layout: Layout
    num_levels: int
    draws: int
    levels: dict[str, Float[Tensor, " bucket"]]
    clean: dict[str, float]
    means: dict[str, Float[Tensor, " segment_m"]]
    differences: dict[str, Float[Tensor, " bucket"]]
    equal: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        plain = {
            key: {name: value.tolist() for name, value in getattr(self, key).items()}
            for key in ("levels", "means", "differences")
        }
        return {"num_levels": self.num_levels, "draws": self.draws, "clean": self.clean, "equal": self.equal, **plain}


def _shares(values: Tensor, num_levels: int) -> Float[Tensor, " bucket"]:
    return torch.bincount(buckets(values, num_levels).flatten(), minlength=BUCKETS) / values.numel()


def marginals(
    policy: TimestepPolicy, layout: Layout, num_levels: int, *, draws: int = 10_000, seed: int = 0
) -> Marginals:
    """Draws from a policy and counts.

    Args:
        policy: any.
        layout: the tracks.
        num_levels: T.
        draws: how many matrices.
        seed: of the draws.
    """
    rows = layout.split(policy.sample(layout, random.example_keys(seed, range(draws)), num_levels=num_levels))
    apart = {}
    for one, other in combinations(layout.tracks, 2):
        coarse, fine = sorted((one, other), key=lambda track: track.segments)
        at = [coarse.segment_at(time) for time in fine.midpoints]
        apart[f"{one.modality}, {other.modality}"] = (rows[fine.modality] - rows[coarse.modality][:, at]).abs()
    return Marginals(
        layout=layout,
        num_levels=num_levels,
        draws=draws,
        levels={name: _shares(row, num_levels) for name, row in rows.items()},
        clean={name: float((row == 0).double().mean()) for name, row in rows.items()},
        means={name: row.double().mean(0) / num_levels for name, row in rows.items()},
        differences={pair: _shares(gap, num_levels) for pair, gap in apart.items()},
        equal={pair: float((gap == 0).double().mean()) for pair, gap in apart.items()},
    )
