"""Tasks: which stretches of which modality are given (arXiv:2405.13762 §3.3, §6.2).

Every task is a set of given time ranges per modality. Times are in seconds, exact; where a ``frame_rate`` is passed
they are in frames of that rate. A cell is given if it lies inside a given range but for half the finest track's
segment; the signal is known inside the ranges and nowhere else.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from fractions import Fraction

import attrs
from jaxtyping import Bool
from torch import Tensor

from mmseqdiff.layout import Interval, Layout, merged
from mmseqdiff.protocols import Task
from mmseqdiff.values import exact

__all__ = [
    "CrossModal",
    "Ranges",
    "TimeRanges",
    "a2v",
    "continuation",
    "inpainting",
    "interpolation",
    "joint",
    "parse_ranges",
    "v2a",
]


def clip_end(layout: Layout) -> Fraction:
    """The end of the longest track, in seconds."""
    return max(track.edges[-1] for track in layout.tracks)


class TimeRanges(Task):
    """A task that is nothing but time ranges; a subclass says which."""

    @abstractmethod
    def known(self, layout: Layout) -> dict[str, tuple[Interval, ...]]:
        """modality → its given stretches of time, for every modality of the layout."""

    def given(self, layout: Layout) -> Bool[Tensor, "modality segment"]:
        """The cells inside the given stretches."""
        return layout.covered(self.known(layout))


def _ranges(value: Mapping[str, Sequence[Sequence[Fraction | float]]]) -> dict[str, tuple[Interval, ...]]:
    return {name: merged([(exact(a), exact(b)) for a, b in intervals]) for name, intervals in value.items()}


@attrs.frozen
class Ranges(TimeRanges):
    """Any stretches of time of any modalities.

    Attributes:
        ranges: modality → ``(start, stop)`` pairs in seconds.

    Raises:
        ValueError: if a range is empty or starts before 0, or names a modality that the layout does not have.
    """

    ranges: dict[str, tuple[tuple[Fraction, Fraction], ...]] = attrs.field(converter=_ranges, hash=False)

    def __attrs_post_init__(self) -> None:
        for name, intervals in self.ranges.items():
            for start, stop in intervals:
                if not 0 <= start < stop:
                    raise ValueError(
                        f"given range {name}:{float(start):g}-{float(stop):g} should start at 0 or later and not be empty"
                    )

    def known(self, layout: Layout) -> dict[str, tuple[Interval, ...]]:
        """The ranges."""
        for name in self.ranges:
            if name not in layout.modalities:
                raise ValueError(f"a given range names {name!r}; the model has {', '.join(layout.modalities)}")
        return {name: self.ranges.get(name, ()) for name in layout.modalities}


def parse_ranges(text: str) -> Ranges:
    """The task written as ``video:0-0.625 audio:0-0.5 audio:1-2.125``.

    Args:
        text: modality:start-stop, in seconds or fractions of them; more such parts after spaces.

    Raises:
        ValueError: if the text does not read so; the message names the part that does not.
    """
    ranges: dict[str, list[tuple[Fraction, Fraction]]] = {}
    for part in text.split():
        name, colon, span = part.partition(":")
        start, dash, stop = span.partition("-")
        try:
            if not (name and colon and dash):
                raise ValueError
            ranges.setdefault(name, []).append((Fraction(start), Fraction(stop)))
        except (ValueError, ZeroDivisionError):
            raise ValueError(
                f"{part!r} is not a given range: write modality:start-stop in seconds, as video:0-0.625"
            ) from None
    return Ranges(ranges)


@attrs.frozen
class CrossModal(TimeRanges):
    """Whole modalities are given.

    Attributes:
        modalities: which; the others are generated.
    """

    modalities: tuple[str, ...]

    def known(self, layout: Layout) -> dict[str, tuple[Interval, ...]]:
        """The whole clip of each given modality."""
        for name in self.modalities:
            layout.row(name)
        whole = ((Fraction(0), clip_end(layout)),)
        return {name: whole if name in self.modalities else () for name in layout.modalities}


def joint() -> CrossModal:
    """Nothing is given."""
    return CrossModal(())


def a2v() -> CrossModal:
    """Audio is given, video is generated."""
    return CrossModal(("audio",))


def v2a() -> CrossModal:
    """Video is given, audio is generated."""
    return CrossModal(("video",))


@attrs.frozen
class Outside(TimeRanges):
    """All modalities are given outside one stretch of time.

    Attributes:
        start: where what is generated starts, in seconds.
        stop: where it stops; the clip's end where None.
        from_end: ``stop`` counts backwards from the clip's end.

    Raises:
        ValueError: if nothing would be generated.
    """

    start: Fraction = attrs.field(converter=exact)
    stop: Fraction | None = attrs.field(default=None, converter=attrs.converters.optional(exact))
    from_end: bool = False

    def known(self, layout: Layout) -> dict[str, tuple[Interval, ...]]:
        """Before ``start`` and after ``stop``."""
        end = clip_end(layout)
        stop = end if self.stop is None else end - self.stop if self.from_end else self.stop
        if not 0 <= self.start < stop <= end:
            raise ValueError(
                f"the part to generate, {float(self.start):g}–{float(stop):g} s, must be a stretch of the clip's 0–{float(end):g} s"
            )
        given = tuple((a, b) for a, b in ((Fraction(0), self.start), (stop, end)) if a < b)
        return dict.fromkeys(layout.modalities, given)


def _seconds(time: Fraction, frame_rate: Fraction | None) -> Fraction:
    return exact(time) if frame_rate is None else exact(time) / exact(frame_rate)


def continuation(length: Fraction = Fraction(5, 8), frame_rate: Fraction | None = None) -> Outside:
    """The first part of every modality is given, the rest is generated.

    Args:
        length: of that part; by default the paper's five frames at 8 fps.
        frame_rate: the length is in frames of this rate; in seconds where None.
    """
    return Outside(_seconds(length, frame_rate))


def inpainting(
    start: Fraction = Fraction(1, 8), stop: Fraction = Fraction(13, 8), frame_rate: Fraction | None = None
) -> Outside:
    """A stretch of time is generated (by default the paper's 1.5 s), what lies before and after it is given.

    Args:
        start: of that stretch.
        stop: its end.
        frame_rate: both are in frames of this rate; in seconds where None.
    """
    return Outside(_seconds(start, frame_rate), _seconds(stop, frame_rate))


def interpolation(
    before: Fraction = Fraction(1, 8), after: Fraction = Fraction(1, 2), frame_rate: Fraction | None = None
) -> Outside:
    """The first and the last part are given, what lies between is generated.

    Args:
        before: length of the first part.
        after: length of the last.
        frame_rate: both are in frames of this rate; in seconds where None.
    """
    return Outside(_seconds(before, frame_rate), _seconds(after, frame_rate), from_end=True)
