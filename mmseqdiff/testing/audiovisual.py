"""A Gaussian world that is like a talking face: who speaks stays, what is said evolves, and is both heard and seen.

A clip has an identity i ~ N(0, I) that does not change, and a speech state u(t) of independent Ornstein–Uhlenbeck processes
of unit variance. A coordinate of modality m in the segment [a, b) is, with unit vectors p and q of its own,

    (1) x = sqrt(w_i) p·i + sqrt(w_s) q·ū / sd(ū) + sqrt(1 − w_i − w_s) e,      ū = 1 / (b − a) ∫_a^b u(t) dt,  e ~ N(0, 1)

so that each has variance 1, and tracks of any rate hear and see one process in continuous time. With correlation time τ and
k(h) = exp(−|h| / τ), whose second antiderivative is G(h) = τ² exp(−|h| / τ) + τ |h|:

    (2) Cov[∫_a^b u, ∫_c^d u] = G(b − c) − G(a − c) − G(b − d) + G(a − d)
"""

from fractions import Fraction

import torch
from jaxtyping import Float
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.layout import Layout, Track, uniform_edges
from mmseqdiff.testing.gaussian import GaussianWorld

__all__ = ["AUDIOVISUAL_LAYOUT", "audiovisual_world", "average_covariance"]

AUDIOVISUAL_LAYOUT = Layout(
    [
        Track("video", [0, *(Fraction(1 + 4 * k, 8) for k in range(5))], (), 8),
        Track("audio", uniform_edges(12, Fraction(96, 17)), (), 2),
    ]
)
"""AVDiT's clip in small: five video segments, the first of one frame, and 12 of audio; 64 numbers."""


def average_covariance(
    one: Float[Tensor, "n 2"], other: Float[Tensor, "m 2"], correlation_time: float
) -> Float[Tensor, "n m"]:
    """The covariance of an Ornstein–Uhlenbeck process' averages over intervals ``(start, stop)`` in seconds, Eq. (2)."""

    def g(h: Tensor) -> Tensor:
        return correlation_time**2 * torch.exp(-h.abs() / correlation_time) + correlation_time * h.abs()

    (a, b), (c, d) = one[:, None].unbind(-1), other[None].unbind(-1)
    return (g(b - c) - g(a - c) - g(b - d) + g(a - d)) / ((b - a) * (d - c))


def _directions(layout: Layout, stream: str, size: int, seed: int) -> Float[Tensor, "dimension size"]:
    """A unit vector for every coordinate; the same for all segments of a modality."""
    rows = []
    for track in layout.tracks:
        key = random.fold(random.example_keys(seed, [0]), stream, track.modality)
        vectors = random.normal(key, "direction", (torch.Size(track.shape[1:]).numel(), size), torch.float64)[0]
        rows.append((vectors / vectors.norm(dim=-1, keepdim=True)).repeat(track.segments, 1))
    return torch.cat(rows)


def audiovisual_world(
    layout: Layout = AUDIOVISUAL_LAYOUT,
    *,
    identity: float = 0.3,
    speech: float = 0.5,
    identities: int = 2,
    states: int = 2,
    correlation_time: float = 0.4,
    seed: int = 0,
) -> GaussianWorld:
    """The world of Eq. (1), over any layout.

    Args:
        layout: the tracks.
        identity: w_i, how much of a coordinate's variance is who speaks.
        speech: w_s, how much is what is said; the rest is noise of its own.
        identities: the identity's dimensions.
        states: the speech state's dimensions.
        correlation_time: τ, in seconds.
        seed: of the directions p and q.

    Raises:
        ValueError: unless both shares are at least 0 and leave room for noise, and all sizes are positive.
    """
    if min(identity, speech) < 0 or identity + speech >= 1:
        raise ValueError(f"identity {identity} and speech {speech} must be at least 0, and sum to less than 1")
    if min(identities, states) < 1 or correlation_time <= 0:
        raise ValueError(
            f"identities {identities}, states {states} and correlation_time {correlation_time} must be positive"
        )
    intervals = [
        (float(start), float(stop))
        for track in layout.tracks
        for start, stop in track.intervals
        for _ in range(torch.Size(track.shape[1:]).numel())
    ]
    spans = torch.tensor(intervals, dtype=torch.float64)
    averages = average_covariance(spans, spans, correlation_time)
    deviation = averages.diagonal().sqrt()
    p, q = _directions(layout, "identity", identities, seed), _directions(layout, "speech", states, seed)
    covariance = (
        identity * (p @ p.T)
        + speech * (q @ q.T) * averages / (deviation[:, None] * deviation)
        + (1 - identity - speech) * torch.eye(len(spans), dtype=torch.float64)
    )
    return GaussianWorld(layout, torch.zeros(len(spans), dtype=torch.float64), covariance)
