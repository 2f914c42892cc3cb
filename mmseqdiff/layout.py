"""Tracks and layouts: where every time-segment of every modality lies on one timeline.

The timestep matrix of arXiv:2405.13762 (§3.1) has a row per modality and a column per time-segment. Modalities rarely
have segments of equal length (footnote 4 there), so the geometry is kept in exact seconds:

    track m        edges e_0 < e_1 < … < e_{N_m}, as fractions; segment n covers [e_n, e_{n+1})
    layout         M tracks; N = max N_m; a cell (m, n) with n >= N_m is padding
    correspondence segment n of track m belongs to the reference segment that holds its midpoint
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cached_property

import attrs
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

__all__ = ["Interval", "Layout", "Track", "merged", "uniform_edges"]

Interval = tuple[Fraction, Fraction]
"""A half-open stretch of time, ``(start, stop)``, in seconds."""


def merged(intervals: Sequence[Interval]) -> tuple[Interval, ...]:
    """The same stretches of time, sorted, with those that touch or overlap joined."""
    joined: list[Interval] = []
    for start, stop in sorted(intervals):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return tuple(joined)


def uniform_edges(segments: int, rate: Fraction | int, start: Fraction | int = 0) -> tuple[Fraction, ...]:
    """Edges of ``segments`` segments of equal length, ``rate`` of them a second, from ``start`` seconds on."""
    return tuple(Fraction(start) + Fraction(n) / Fraction(rate) for n in range(segments + 1))


def _fractions(edges: object) -> tuple[Fraction, ...]:
    return tuple(Fraction(edge) for edge in edges)


@attrs.frozen
class Track:
    """One modality's segments on the timeline, and what one segment holds.

    Attributes:
        modality: the modality's name.
        edges: ``N_m + 1`` rising times in seconds; segment n covers ``[edges[n], edges[n + 1])``.
        grid: the token grid of one segment: ``(16, 16)`` for a video latent, ``()`` for one token.
        channels: numbers in one token.

    Raises:
        ValueError: if there is no segment, or the edges do not rise.
    """

    modality: str
    edges: tuple[Fraction, ...] = attrs.field(converter=_fractions)
    grid: tuple[int, ...] = attrs.field(converter=tuple, default=())
    channels: int = 1

    def __attrs_post_init__(self) -> None:
        if len(self.edges) < 2:
            raise ValueError(f"track {self.modality!r} has no segment: it needs at least two edges, got {self.edges}")
        for n, (left, right) in enumerate(zip(self.edges[:-1], self.edges[1:])):
            if not left < right:
                raise ValueError(
                    f"track {self.modality!r}: edges must rise, but segment {n} covers [{float(left)}, {float(right)}) s"
                )
        if self.channels < 1 or any(size < 1 for size in self.grid):
            raise ValueError(f"track {self.modality!r}: grid {self.grid} and channels {self.channels} must be positive")

    @property
    def segments(self) -> int:
        """N_m, the number of segments."""
        return len(self.edges) - 1

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example's latents: ``(N_m, *grid, channels)``."""
        return (self.segments, *self.grid, self.channels)

    @property
    def tokens(self) -> int:
        """Tokens in the whole track."""
        count = self.segments
        for size in self.grid:
            count *= size
        return count

    @cached_property
    def midpoints(self) -> tuple[Fraction, ...]:
        """The middle of every segment, in seconds."""
        return tuple((left + right) / 2 for left, right in zip(self.edges[:-1], self.edges[1:]))

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """``(start, stop)`` of every segment, in seconds."""
        return tuple(zip(self.edges[:-1], self.edges[1:]))

    def segment_at(self, time: Fraction) -> int:
        """The segment whose half-open interval holds ``time``; times outside the track join its nearest end segment."""
        return min(max(bisect_right(self.edges, time) - 1, 0), self.segments - 1)


def _tracks(tracks: object) -> tuple[Track, ...]:
    return tuple(tracks)


@attrs.frozen
class Layout:
    """The tracks of a model, and the M × N matrix geometry that they make.

    The order of the tracks is the order of the rows and of the tokens.

    Raises:
        ValueError: if there is no track or two tracks share a name.
    """

    tracks: tuple[Track, ...] = attrs.field(converter=_tracks)

    def __attrs_post_init__(self) -> None:
        if not self.tracks:
            raise ValueError("a layout needs at least one track")
        names = self.modalities
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two tracks are named {name!r}: every modality of a layout needs its own name")

    @property
    def modalities(self) -> tuple[str, ...]:
        """The names of the modalities, in row order."""
        return tuple(track.modality for track in self.tracks)

    @property
    def M(self) -> int:
        """The number of modalities."""
        return len(self.tracks)

    @cached_property
    def N(self) -> int:
        """The number of columns: the segments of the longest track."""
        return max(track.segments for track in self.tracks)

    @cached_property
    def valid(self) -> Bool[Tensor, "modality segment"]:
        """True where a cell exists, False in the padding of a shorter track."""
        lengths = torch.tensor([track.segments for track in self.tracks])
        return torch.arange(self.N) < lengths[:, None]

    def track(self, modality: str) -> Track:
        """The track of ``modality``.

        Raises:
            KeyError: if the layout has no such modality.
        """
        return self.tracks[self.row(modality)]

    def row(self, modality: str) -> int:
        """The row of ``modality`` in the matrix.

        Raises:
            KeyError: if the layout has no such modality.
        """
        if modality not in self.modalities:
            known = ", ".join(self.modalities)
            raise KeyError(f"the layout has no modality {modality!r}; it has {known}")
        return self.modalities.index(modality)

    def split(self, matrix: Shaped[Tensor, "*batch modality segment"]) -> dict[str, Tensor]:
        """The rows of a matrix without their padding: modality → ``(*batch, N_m)``."""
        return {track.modality: matrix[..., m, : track.segments] for m, track in enumerate(self.tracks)}

    def stack(self, rows: Mapping[str, Tensor]) -> Shaped[Tensor, "*batch modality segment"]:
        """The inverse of :meth:`split`; padding is zero (False)."""
        padded = [torch.nn.functional.pad(rows[name], (0, self.N - rows[name].shape[-1])) for name in self.modalities]
        return torch.stack(padded, dim=-2)

    @cached_property
    def tolerance(self) -> Fraction:
        """Half the shortest segment of all tracks, in seconds: by so much a cell may stick out of a given range."""
        return min(right - left for track in self.tracks for left, right in track.intervals) / 2

    def cells(self, modality: str, start: Fraction | float, stop: Fraction | float) -> Bool[Tensor, " segment_m"]:
        """The segments of ``modality`` that lie in ``[start, stop)`` seconds, but for :attr:`tolerance`.

        On the left a cell may stick out by exactly the tolerance, on the right by less, so that ranges that share an
        edge never share a cell.
        """
        start, stop = Fraction(start), Fraction(stop)
        inside = [
            start - left <= self.tolerance and right - stop < self.tolerance and right > start and left < stop
            for left, right in self.track(modality).intervals
        ]
        return torch.tensor(inside)

    def covered(self, stretches: Mapping[str, Sequence[Interval]]) -> Bool[Tensor, "modality segment"]:
        """The cells that lie in one of some stretches of time of their modality, as :meth:`cells` has it.

        Args:
            stretches: of some modalities.

        Raises:
            KeyError: if the layout has no such modality.
        """
        rows = {track.modality: torch.zeros(track.segments, dtype=torch.bool) for track in self.tracks}
        for name, intervals in stretches.items():
            for start, stop in intervals:
                rows[name] = self.cells(name, start, stop) | rows[name]
        return self.stack(rows)

    def reference(self, modality: str | None = None) -> Track:
        """The track that others are measured against: that of a modality, or the coarsest, with the fewest segments (the
        first such).

        Raises:
            KeyError: if the layout has no such modality.
        """
        return min(self.tracks, key=lambda track: track.segments) if modality is None else self.track(modality)

    def correspondence(self, reference: str | None = None) -> Int[Tensor, "modality segment"]:
        """For every cell the segment of the reference track that holds its midpoint; −1 in padding.

        Args:
            reference: a modality, of :meth:`reference`.

        Midpoints before or after the reference track join its first or last segment. For AVDiT's clip (5 video and 106
        audio latents) the audio falls into blocks of 6, 25, 25, 25 and 25 (arXiv:2405.13762 §6.2).
        """
        track = self.reference(reference)
        table = torch.full((self.M, self.N), -1)
        for m, other in enumerate(self.tracks):
            table[m, : other.segments] = torch.tensor([track.segment_at(time) for time in other.midpoints])
        return table

    def describe(self, m: int, n: int) -> str:
        """Names a cell for an error message: modality, segment and seconds."""
        track = self.tracks[m]
        left, right = track.intervals[n]
        return f"cell ({track.modality}, {n}) [{float(left):.3f}–{float(right):.3f} s]"
