"""Distances between pictures and their reconstructions.

    (1) edges   ½ (mean |∂_row (x̂ − x)| + mean |∂_column (x̂ − x)|),   ∂ the difference of neighbouring pixels
    (2) motion  mean |∂_frame (x̂ − x)|                                   ∂ the difference of neighbouring frames

The squared error forgives a blurred edge, wrong by little at few pixels; (1) adds up what an edge lost in height, however
wide it was smeared, and it is blind to the slow changes of shade that the squared error sees best. So does (2) in time: most
of a video stands still, and what moves is small, so the squared error lets a latent of several frames show their mean.
"""

from jaxtyping import Float
from torch import Tensor

__all__ = ["edge_distance", "motion_distance"]

Pictures = Float[Tensor, "batch frame height width 3"]


def edge_distance(signal: Pictures, reconstruction: Pictures) -> Float[Tensor, ""]:
    """Eq. (1)."""
    error = reconstruction - signal
    return (error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()) / 2


def motion_distance(signal: Pictures, reconstruction: Pictures) -> Float[Tensor, ""]:
    """Eq. (2); needs two frames."""
    return (reconstruction - signal).diff(dim=1).abs().mean()
