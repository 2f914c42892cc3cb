"""Clips of any length, window by window, in the memory of one window.

    clip = generate_long(model, "continue", 60, video="start.mp4", audio="start.mp4")
    with clip_writer(Path("long.mp4"), clip.formats) as writer:
        for piece in clip:
            writer.write(piece)

Every window is a clip of the trained layout. With L the length of a clip, o that of the overlap and h = L − o:

    (1) window w covers [w h, w h + L) seconds of the long clip, in every track
    (2) window 0 is given what the task says; window w > 0 the last o seconds that window w − 1 was decoded to, encoded anew
    (3) where windows overlap, the output goes over from one to the other: ((n − k) old + (k + 1) new) / (n + 1) for k = 0 … n − 1

(3) because a codec gives a frame back not quite as it was: without it every seam would show by how much.
All tracks are cut at the same instants: h must be a whole number of frames and of samples. Where a codec decodes a little
less than it encodes (106 audio latents are 2.12 of 2.125 seconds) that track's overlap ends so much earlier.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import attrs
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.errors import UserError
from mmseqdiff.layout import Interval, Layout
from mmseqdiff.pipeline import Pipeline, build_task
from mmseqdiff.protocols import Guidance, MediaFormat, Plan, Sampler, Task
from mmseqdiff.recipe import Component
from mmseqdiff.support import warn_off_support
from mmseqdiff.values import exact_seconds

__all__ = ["OVERLAP", "LongClip", "Start", "Windows", "generate_long"]

OVERLAP = Fraction(5, 8)
"""Seconds that a window shares with the one before: five frames at 8 a second, as in the paper's continuation."""


@attrs.frozen
class Start(Task):
    """The first part of every modality is given, of each as much as there is.

    Attributes:
        seconds: modality → how much.
    """

    seconds: Mapping[str, Fraction] = attrs.field(hash=False)

    def given(self, layout: Layout) -> Bool[Tensor, "modality segment"]:
        """The cells of that part."""
        return layout.covered(self.known(layout))

    def known(self, layout: Layout) -> dict[str, tuple[Interval, ...]]:
        """That part."""
        return {name: ((Fraction(0), self.seconds[name]),) for name in layout.modalities}


@attrs.frozen
class Windows:
    """How a long clip is cut into windows, Eq. (1), in frames or samples of every modality.

    Attributes:
        whole: modality → what one window is decoded to.
        hop: modality → from the start of a window to the start of the next.
    """

    whole: Mapping[str, int] = attrs.field(hash=False)
    hop: Mapping[str, int] = attrs.field(hash=False)

    @classmethod
    def of(cls, layout: Layout, formats: Mapping[str, MediaFormat], clip: Fraction, overlap: Fraction) -> "Windows":
        """The windows of a layout.

        Args:
            layout: of one clip.
            formats: modality → media format.
            clip: L, in seconds.
            overlap: o, in seconds.

        Raises:
            UserError: if the overlap is not a part of the clip, too short for some track, or cuts a frame or sample.
        """
        if not 0 < overlap < clip:
            raise UserError(f"windows of {float(clip):g} s cannot overlap by {float(overlap):g} s")
        whole, hop = {}, {}
        for track in layout.tracks:
            name, rate = track.modality, formats[track.modality].rate
            step = (clip - overlap) * rate
            if step.denominator != 1:
                raise UserError(
                    f"an overlap of {float(overlap):g} s lets a window start {float(step):g} frames of {name} after the one "
                    f"before, which is no whole number; {name} has {float(rate):g} a second, and a clip {float(clip):g} s"
                )
            whole[name], hop[name] = formats[name].shape(min(track.edges[-1], clip))[0], int(step)
            if not layout.cells(name, 0, (whole[name] - hop[name]) / rate).any():
                raise UserError(f"an overlap of {float(overlap):g} s is shorter than one segment of {name}")
        return cls(whole, hop)

    def overlap(self, name: str) -> int:
        """The frames or samples that a window shares with the one before."""
        return self.whole[name] - self.hop[name]

    def count(self, lengths: Mapping[str, int]) -> int:
        """The fewest windows that reach these lengths in every modality."""
        return 1 + max(max(-((self.whole[name] - length) // self.hop[name]), 0) for name, length in lengths.items())


@attrs.frozen(eq=False)
class LongClip:
    """A clip that is generated while it is iterated over: window by window, a piece each.

    A piece is a dict, modality → the signal ``(time, …)`` that follows the piece before.

    Attributes:
        formats: modality → media format.
        lengths: modality → frames or samples of the whole clip.
        windows: how many pieces.
    """

    formats: Mapping[str, MediaFormat]
    lengths: Mapping[str, int]
    windows: int
    _pieces: Callable[[], Iterator[dict[str, Tensor]]]

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return self._pieces()


def _starts(task: Task, layout: Layout, clip: Fraction) -> bool:
    """Whether a task gives the start of a clip, or nothing."""
    return all(
        not known or (len(known) == 1 and known[0][0] == 0 and known[0][1] < min(clip, layout.track(name).edges[-1]))
        for name, known in task.known(layout).items()
    )


def generate_long(
    pipeline: Pipeline,
    task: Task | str,
    seconds: Fraction | float,
    *,
    overlap: Fraction | float = OVERLAP,
    start: Fraction | float = 0,
    steps: int | None = None,
    plan: Plan | Component | str | None = None,
    sampler: Sampler | Component | str | None = None,
    guidance: Guidance | Component | str | None = None,
    seed: int = 0,
    sample: int = 0,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    **files: Path | str,
) -> LongClip:
    """A clip of any length.

    Args:
        pipeline: the model.
        task: what the first window is given: the start of some modalities (``continue``), or nothing (``joint``).
        seconds: how long the clip shall be.
        overlap: o, in seconds.
        start: where in the files the clip starts, in seconds.
        steps: steps of every cell; the plan's own where None.
        plan: of every window: an object, or its name as the command line has it; the recipe's where None.
        sampler: likewise.
        guidance: likewise.
        seed: with ``sample``, what the clip follows from: it starts as a clip of ordinary length does.
        sample: which clip of the seed.
        progress: wraps the iteration over windows.
        **files: modality → media file; only what the task gives is read, and before this returns.

    Raises:
        UserError: if the task does not fit, or says something of the end of a clip; if the overlap does not fit; if a file
            is missing or cannot give what is needed.
    """
    seconds, overlap = exact_seconds(seconds, "seconds"), exact_seconds(overlap, "overlap")
    start = exact_seconds(start, "start")
    layout, modalities = pipeline.layout, pipeline.assembly.modalities
    formats = {name: modality.format for name, modality in modalities.items()}
    if isinstance(task, str):
        task = build_task(pipeline.assembly.host, task)
    if not _starts(task, layout, pipeline.seconds):
        raise UserError(
            "a long clip can be given its start, or nothing: what a task gives later lies in one window only"
        )
    lengths = {name: format.shape(seconds)[0] for name, format in formats.items()}
    if min(lengths.values()) < 1:
        raise UserError(f"a clip of {float(seconds):g} s holds nothing")
    windows = Windows.of(layout, formats, pipeline.seconds, overlap)
    count = windows.count(lengths)
    following = Start({name: windows.overlap(name) / format.rate for name, format in formats.items()})
    first, others = pipeline.plan(task, plan, steps), pipeline.plan(following, plan, steps)
    for made in (first, others):
        warn_off_support(made, pipeline.assembly.policy)
    signals = pipeline.read(task, {name: Path(path) for name, path in files.items()}, start, "ranges")
    key = random.example_keys(seed, [sample])

    def pieces() -> Iterator[dict[str, Tensor]]:
        given, made = pipeline.encode(task, signals), first
        done, ends = dict.fromkeys(lengths, 0), {}
        for w in progress(range(count)):
            keys = key if w == 0 else random.fold(key, "window", w)
            latents = pipeline.sample(made, keys, given, sampler=sampler, guidance=guidance)
            decoded = {
                name: signal[:, : windows.whole[name]]
                for name, signal in pipeline.decode(latents, pipeline.seconds).items()
            }
            piece = {}
            for name, signal in decoded.items():
                shown = signal[0].cpu() if w == 0 else _go_over(ends[name], signal[0].cpu())
                ends[name] = shown[windows.hop[name] :].clone()  # of which the next window has its own view
                length = windows.hop[name] if w + 1 < count else windows.whole[name]
                piece[name] = shown[: min(length, lengths[name] - done[name])].clone()
                done[name] += len(piece[name])
            if w + 1 < count:
                given, made = pipeline.encode(following, _moved(decoded, windows)), others  # Eq. (2)
            del latents, decoded, signal, shown
            yield piece

    return LongClip(formats, lengths, count, pieces)


def _go_over(old: Float[Tensor, "overlap ..."], new: Float[Tensor, "time ..."]) -> Float[Tensor, "time ..."]:
    """A window whose first part goes over from the end of the one before to its own, Eq. (3)."""
    count = len(old)
    weight = (torch.arange(count) + 1).to(new) / (count + 1)
    weight = weight.reshape(-1, *(1,) * (new.ndim - 1))
    return torch.cat([old + weight * (new[:count] - old), new[count:]])


def _moved(decoded: Mapping[str, Tensor], windows: Windows) -> dict[str, Tensor]:
    """The end of a window at the start of the next, which is zero from there on."""
    moved = {}
    for name, signal in decoded.items():
        moved[name] = torch.zeros_like(signal)
        moved[name][:, : windows.overlap(name)] = signal[:, windows.hop[name] :]
    return moved
