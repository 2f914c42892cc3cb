"""Hypothesis strategies for everything that a plugin is called with; all small, and shrinking towards the simplest.

    @given(data=st.data(), layout=layouts())
    def test_mine(data, layout):
        t = data.draw(timesteps(layout, num_levels=1000))
        task = data.draw(tasks())
        plan, clean = data.draw(plans(layout, task, num_levels=1000)), data.draw(latents(layout))

======================  ==============================================================  ==========================
``layouts()``           one to three tracks of uneven segments                          one track of one segment
``timesteps(layout)``   ``(B, M, N)`` levels, whole, fractional, 0 and T                all 0
``steps(layout)``       levels t, and s <= t                                            nothing moves
``tasks()``             tasks for any layout, which give any cells but all              nothing is given
``given_cells(layout)`` the same as ``(M, N)`` booleans                                 nothing is given
``plans(layout, task)`` plans on which every cell falls in its own way                  one step from T to 0
``latents(layout)``     standard normal latents, ``(B, N_m, *grid, channels)``          seed 0
``keys()``              keys of different examples                                      those of seed 0
``schedules()``         smooth schedules of few levels                                  two levels
``signals(shape)``      signals ``(B, time, …)`` in [0, 1]                              seed 0
``comparisons()``       a generated clip beside a real one                              seed 0
======================  ==============================================================  ==========================

The last column is what a failing example shrinks to. Gaussian numbers come from a drawn seed, so that an example shrinks to few cells and a small seed, not to odd floats.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import torch
from hypothesis import strategies as st
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.layout import Layout, Track
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.protocols import Comparison, NoiseSchedule, Task

__all__ = [
    "Arc",
    "GivenCells",
    "chunks",
    "comparisons",
    "given_cells",
    "halting_plans",
    "keys",
    "latents",
    "layouts",
    "plans",
    "schedules",
    "signals",
    "steps",
    "tasks",
    "timesteps",
]

Draw = Callable[..., Any]  # Hypothesis's own DrawFn is a protocol that cannot be checked at run time
NAMES = ("video", "audio", "pose")
T = 8
"""Levels where none are asked for: few, so that ends and equal levels come often."""


@st.composite
def layouts(draw: Draw, min_modalities: int = 1, max_modalities: int = 3, max_segments: int = 4) -> Layout:
    """Layouts of tracks (video, audio, pose) of uneven segments, which need not start or end together."""
    tracks = []
    for name in NAMES[: draw(st.integers(min_modalities, max_modalities))]:
        lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=max_segments))
        start = draw(st.integers(0, 2))
        edges = [Fraction(start + sum(lengths[:n]), 8) for n in range(len(lengths) + 1)]
        grid = draw(st.sampled_from([(), (2,), (1, 2)]))
        tracks.append(Track(name, edges, grid, draw(st.integers(1, 2))))
    return Layout(tracks)


@st.composite
def chunks(draw: Draw, segments: int) -> tuple[int, ...]:
    """How a stream of so many segments may be cut: the segments of each chunk."""
    cuts = sorted(draw(st.sets(st.integers(1, segments - 1)))) if segments > 1 else []
    return tuple(right - left for left, right in zip([0, *cuts], [*cuts, segments]))


def keys(batch: int = 2) -> st.SearchStrategy[Int[Tensor, " batch"]]:
    """Keys of ``batch`` different examples."""
    return st.integers(0, 2**32).map(lambda seed: random.example_keys(seed, range(batch)))


def _levels(num_levels: int) -> st.SearchStrategy[float]:
    whole = st.sampled_from([0, num_levels]) | st.integers(0, num_levels)
    return whole.map(float) | st.floats(1e-3, num_levels)


@st.composite
def timesteps(
    draw: Draw, layout: Layout, num_levels: int = T, batch: int = 2, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "batch modality segment"]:
    """Timestep matrices of any levels, ends and fractions among them; padding is 0."""
    count = int(layout.valid.sum()) * batch
    t = torch.zeros(batch, layout.M, layout.N, dtype=torch.float64)
    t[layout.valid.expand_as(t)] = torch.tensor(
        draw(st.lists(_levels(num_levels), min_size=count, max_size=count)), dtype=torch.float64
    )
    return t.to(dtype)


@st.composite
def steps(
    draw: Draw, layout: Layout, num_levels: int = T, batch: int = 2, dtype: torch.dtype = torch.float64
) -> tuple[Float[Tensor, "batch modality segment"], Float[Tensor, "batch modality segment"]]:
    """``(t, s)`` with s <= t in every cell, and s = t in some."""
    one, other = (draw(timesteps(layout, num_levels, batch, dtype)) for _ in range(2))
    still = draw(st.lists(st.booleans(), min_size=layout.M, max_size=layout.M))
    t = torch.maximum(one, other)
    return t, torch.where(torch.tensor(still)[:, None], t, torch.minimum(one, other))


@attrs.frozen(eq=False)
class GivenCells(Task):
    """A task for any layout: a pattern, laid over the cells row by row and again from its start where it ends.

    Attributes:
        pattern: whether a cell is given.
        free: the number of a cell that is not given whatever the pattern says, so that something is left to generate; taken
            modulo the layout's cells.
    """

    pattern: tuple[bool, ...]
    free: int = 0

    def given(self, layout: Layout) -> Bool[Tensor, "modality segment"]:
        """The cells of the pattern."""
        count = int(layout.valid.sum())
        chosen = [self.pattern[k % len(self.pattern)] and k != self.free % count for k in range(count)]
        given = torch.zeros(layout.M, layout.N, dtype=torch.bool)
        given[layout.valid] = torch.tensor(chosen)
        return given


def tasks(cells: int = 12) -> st.SearchStrategy[GivenCells]:
    """Tasks for any layout that give any cells but all; those that give little come first.

    Args:
        cells: in the pattern, which is repeated in layouts that have more.
    """
    patterns = st.lists(st.booleans(), min_size=cells, max_size=cells).map(tuple)
    return st.builds(GivenCells, patterns, st.integers(0, cells - 1))


def given_cells(layout: Layout) -> st.SearchStrategy[Bool[Tensor, "modality segment"]]:
    """Any cells but all: at least one is left to generate."""
    return tasks(int(layout.valid.sum())).map(lambda task: task.given(layout))


@st.composite
def latents(
    draw: Draw, layout: Layout, batch: int = 2, dtype: torch.dtype = torch.float32
) -> dict[str, Float[Tensor, "batch segment ..."]]:
    """Standard normal latents."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    return {
        track.modality: torch.randn(batch, *track.shape, generator=generator, dtype=torch.float64).to(dtype)
        for track in layout.tracks
    }


def signals(shape: tuple[int, ...], batch: int = 2) -> st.SearchStrategy[Float[Tensor, "batch time ..."]]:
    """Signals ``(batch, *shape)`` of uniform numbers in [0, 1); those of one axis are sound, in [−1, 1)."""
    low, seeds = (-1 if len(shape) == 1 else 0), st.integers(0, 2**32)
    return seeds.map(
        lambda seed: low + (1 - low) * torch.rand(batch, *shape, generator=torch.Generator().manual_seed(seed))
    )


@st.composite
def comparisons(draw: Draw, seconds: Fraction = Fraction(9, 8)) -> Comparison:
    """A generated clip of video (8 frames a second, 32 × 32) and audio (16,000 samples a second) beside a real one.

    Each track is given whole, not at all, or from some moment on; there is no such file.
    """
    shapes, rates = {"video": (8, 32, 32, 3), "audio": (16000,)}, {"video": Fraction(8), "audio": Fraction(16000)}
    lengths = {name: int(rate * seconds) for name, rate in rates.items()}
    whole = {name: (lengths[name], *shape[1:]) for name, shape in shapes.items()}
    generated, real = ({name: draw(signals(shape, 1))[0] for name, shape in whole.items()} for _ in range(2))
    since = {name: draw(st.sampled_from([1, 0, 2])) for name in shapes}  # halves of the track
    given = {name: torch.arange(lengths[name]) * 2 >= since[name] * lengths[name] for name in shapes}
    return Comparison(generated, real, given, rates, Path("clip.mp4"), Fraction(0))


@st.composite
def plans(
    draw: Draw,
    layout: Layout,
    task: Task | Bool[Tensor, "modality segment"],
    num_levels: int = T,
    max_steps: int = 4,
    allow_rise: bool = False,
) -> SamplingPlan:
    """Any plans for a task, or for given cells: every cell falls from T to 0 in its own way, with pauses, over whole and
    fractional levels.

    With ``allow_rise`` cells rise on the way, too.
    """
    given = task if isinstance(task, Tensor) else task.given(layout)
    steps = draw(st.integers(1, max_steps))
    levels = torch.zeros(steps + 1, layout.M, layout.N, dtype=torch.float64)
    for m, n in (layout.valid & ~given).nonzero().tolist():
        between = draw(st.lists(_levels(num_levels), min_size=steps - 1, max_size=steps - 1))
        path = between if allow_rise else sorted(between, reverse=True)
        levels[:, m, n] = torch.tensor([num_levels, *path, 0], dtype=torch.float64)
    moving = (levels[1:] != levels[:-1]).flatten(1).any(1)
    rows = torch.cat([torch.tensor([True]), moving])
    return SamplingPlan(levels[rows], given, layout, num_levels, allow_rise=allow_rise)


@st.composite
def halting_plans(
    draw: Draw, layout: Layout, given: Bool[Tensor, "modality segment"], num_levels: int, moves: int = 4
) -> SamplingPlan:
    """Plans on which every cell makes ``moves`` moves of its own, and waits up to three rows anywhere between them."""
    rows = moves + 3
    levels = torch.zeros(rows + 1, layout.M, layout.N, dtype=torch.float64)
    for m, n in (layout.valid & ~given).nonzero().tolist():
        shares = draw(st.lists(st.floats(0.2, 1), min_size=moves, max_size=moves))
        path = torch.tensor([0.0, *shares], dtype=torch.float64).flip(0).cumsum(0)
        path = num_levels * (1 - torch.cat([torch.zeros(1), path[:-1]]).double() / path[-2])
        path[-1] = 0
        when = sorted(draw(st.permutations(range(rows)))[:moves])
        levels[:, m, n] = path[[sum(step < row for step in when) for row in range(rows + 1)]]
    return SamplingPlan(torch.unique_consecutive(levels, dim=0), given, layout, num_levels)


@attrs.frozen
class Arc(NoiseSchedule):
    """alpha = cos(angle · t / T), sigma = sin(angle · t / T): exact, and unlike a table smooth between whole levels.

    Attributes:
        num_levels: T.
        angle: at T; π/2 ends in pure noise.
    """

    num_levels: int = 8
    angle: float = 1.5

    def _angle(self, t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return t.double() * (self.angle / self.num_levels)

    def alpha(self, t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The signal scale; exactly 0 at π/2."""
        angle = self._angle(t)
        alpha = torch.where(angle >= math.pi / 2, 0.0, angle.cos())
        return alpha.to(torch.promote_types(t.dtype, torch.float32))

    def sigma(self, t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The noise scale."""
        return self._angle(t).sin().to(torch.promote_types(t.dtype, torch.float32))

    def log_snr(self, t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """log(alpha² / sigma²)."""
        return 2 * (self.alpha(t.double()).log() - self.sigma(t.double()).log()).to(self.alpha(t).dtype)

    def level(self, log_snr: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The inverse; T for anything noisier."""
        angle = torch.atan(torch.exp(-log_snr.double() / 2)).clamp(max=self.angle)
        return (angle * (self.num_levels / self.angle)).to(torch.promote_types(log_snr.dtype, torch.float32))


def schedules(terminal: bool = True) -> st.SearchStrategy[Arc]:
    """Schedules of few levels; some end in pure noise unless ``terminal`` is False."""
    angles = [1.5, 0.7, *([math.pi / 2] if terminal else [])]
    return st.builds(Arc, st.integers(2, 10), st.sampled_from(angles))
