"""The laws of tasks."""

from collections.abc import Mapping

import attrs
import hypothesis
import torch

from mmseqdiff.errors import UserError
from mmseqdiff.layout import Interval, Layout
from mmseqdiff.protocols import Cells, Task
from mmseqdiff.testing.contracts.contract import Contract, law
from mmseqdiff.testing.strategies import layouts

__all__ = ["StatedCells", "TaskContract"]

LAYOUTS = layouts(min_modalities=2, max_segments=6)


@attrs.frozen
class StatedCells:
    """A worked example of a task.

    Attributes:
        layout: the tracks.
        given: modality → a sign for every segment: ``#`` where it is given, ``.`` where it is generated.
    """

    layout: Layout
    given: Mapping[str, str]


class TaskContract(Contract):
    """The laws of a :class:`~mmseqdiff.protocols.Task`.

    Layouts have the tracks video and audio, and some have pose; those that the task refuses (ValueError) are left out.
    ``stated`` takes :class:`StatedCells`.
    """

    kind = "task"
    plugin: Task

    def _faces(self, layout: Layout) -> tuple[Cells, dict[str, tuple[Interval, ...]]]:
        try:
            return self.plugin.given(layout), self.plugin.known(layout)
        except (ValueError, UserError):  # no task for this layout
            hypothesis.reject()

    @law(7, layout=LAYOUTS)
    def test_given_cells_exist(self, layout: Layout) -> None:
        """given is a boolean for every cell of the layout, and False in padding."""
        given, _ = self._faces(layout)
        assert given.shape == layout.valid.shape, f"given has shape {tuple(given.shape)}, expected {layout.M, layout.N}"
        assert given.dtype == torch.bool, f"given is {given.dtype}, expected booleans"
        assert not (given & ~layout.valid).any(), "a cell of the padding is given"

    @law(12, layout=LAYOUTS)
    def test_known_is_stretches_of_time_of_every_modality(self, layout: Layout) -> None:
        """known names every modality; its stretches are not empty, rise and do not overlap."""
        _, known = self._faces(layout)
        assert set(known) == set(layout.modalities), f"known names {sorted(known)}, expected {layout.modalities}"
        for name, stretches in known.items():
            edges = [edge for stretch in stretches for edge in stretch]
            assert all(start < stop for start, stop in stretches), f"a known stretch of {name!r} is empty"
            assert edges == sorted(edges), f"the known stretches of {name!r} overlap or fall"

    @law(12, layout=LAYOUTS)
    def test_given_cells_may_be_read(self, layout: Layout) -> None:
        """A given cell's time lies in a known stretch, but for half the shortest segment on either side."""
        given, known = self._faces(layout)
        for m, track in enumerate(layout.tracks):
            for n, (left, right) in enumerate(track.intervals):
                read = sum(max(0, min(right, stop) - max(left, start)) for start, stop in known[track.modality])
                hidden = right - left - read > 2 * layout.tolerance
                assert not (given[m, n] and hidden), f"{layout.describe(m, n)} is given, but hidden from its codec"

    @law(12, layout=LAYOUTS)
    def test_what_may_be_read_whole_is_given(self, layout: Layout) -> None:
        """A cell whose whole time is known is given: else what is to be generated would be read."""
        given, known = self._faces(layout)
        for m, track in enumerate(layout.tracks):
            for n, (left, right) in enumerate(track.intervals):
                whole = any(start <= left and right <= stop for start, stop in known[track.modality])
                assert given[m, n] or not whole, f"{layout.describe(m, n)} is known, but not given"

    @law(8, layout=LAYOUTS)
    def test_the_order_of_the_tracks_does_not_matter(self, layout: Layout) -> None:
        """With its tracks the other way round, the same cells of the layout are given and the same stretches known."""
        given, known = self._faces(layout)
        other, stretches = self._faces(Layout(layout.tracks[::-1]))
        assert torch.equal(other, given.flip(0)), "which cells are given depends on the order of the tracks"
        assert dict(stretches) == dict(known), "what is known depends on the order of the tracks"

    @law(7)
    def test_worked_examples_hold(self) -> None:
        """In the worked examples the cells are given that were written down."""
        for example in self.examples():
            given = example.layout.split(self.plugin.given(example.layout))
            found = {name: "".join(".#"[cell] for cell in row.tolist()) for name, row in given.items()}
            assert found == dict(example.given), f"given are {found}, stated are {dict(example.given)}"
