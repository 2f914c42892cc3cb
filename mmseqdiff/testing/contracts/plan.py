"""The laws of makers of sampling plans."""

from collections.abc import Mapping

import attrs
import torch
from hypothesis import strategies as st

from mmseqdiff.layout import Layout
from mmseqdiff.plan import PlanError, SamplingPlan
from mmseqdiff.protocols import Plan
from mmseqdiff.testing.contracts.contract import Contract, bits, law
from mmseqdiff.testing.strategies import GivenCells, layouts, tasks

__all__ = ["PlanContract", "StatedRows"]

LAYOUTS = layouts(min_modalities=2)
ANY = {"layout": LAYOUTS, "task": tasks(), "num_levels": st.integers(1, 30)}


@attrs.frozen
class StatedRows:
    """A worked example of a plan.

    Attributes:
        layout: the tracks.
        num_levels: T, at most 9.
        given: modality → ``#`` for a given segment and ``.`` for one that is generated.
        rows: modality → its rows in order, a digit for the level of every segment: ``"88 48 08 04 00"``.
    """

    layout: Layout
    num_levels: int
    given: Mapping[str, str]
    rows: Mapping[str, str]


class PlanContract(Contract):
    """The laws of a :class:`~mmseqdiff.protocols.Plan`, which makes a sampling plan for a task.

    Layouts have the tracks video and audio, and some have pose. A :class:`~mmseqdiff.plan.SamplingPlan` checks itself
    when it is made, so that a maker of wrong plans fails every law with the cell and the row. ``stated`` takes :class:`StatedRows`.
    """

    kind = "plan"
    plugin: Plan

    @law(7, **ANY)
    def test_the_plan_is_for_the_task(self, layout: Layout, task: GivenCells, num_levels: int) -> None:
        """The plan made is for the layout, the given cells and the T that were asked for, and starts at T."""
        given = task.given(layout)
        before = given.clone()
        made = self.plugin(layout, given, num_levels=num_levels)
        assert isinstance(made, SamplingPlan), f"a plan makes a SamplingPlan, got {type(made).__name__}"
        assert torch.equal(given, before), "the given cells that were passed in were changed"
        assert torch.equal(made.given, given), "the plan is for other given cells"
        assert (made.layout, made.num_levels) == (layout, num_levels), "the plan is for another layout or T"
        assert not made.start_below, "the plan says that it starts below T"
        free = layout.valid & ~given
        assert (made.levels[0][free] == num_levels).all(), "a cell that is not given does not start at T"

    @law(7, **ANY)
    def test_every_cell_ends_at_0(self, layout: Layout, task: GivenCells, num_levels: int) -> None:
        """The last row is exactly 0."""
        made = self.plugin(layout, task.given(layout), num_levels=num_levels)
        assert (bits(made.levels[-1]) == 0).all(), "the last row of the plan is not 0"

    @law(7, **ANY)
    def test_given_cells_are_clean_throughout(self, layout: Layout, task: GivenCells, num_levels: int) -> None:
        """Given cells have level 0 in every row."""
        given = task.given(layout)
        made = self.plugin(layout, given, num_levels=num_levels)
        assert (made.levels[:, given] == 0).all(), "a given cell has a level above 0"

    @law(7, **ANY)
    def test_levels_fall(self, layout: Layout, task: GivenCells, num_levels: int) -> None:
        """No level rises from row to row, unless the plan says that it re-noises."""
        made = self.plugin(layout, task.given(layout), num_levels=num_levels)
        assert made.allow_rise or not made.rises.any(), "a level rises, and the plan does not say so"
        assert ((made.levels[1:] != made.levels[:-1]).flatten(1).any(1)).all(), "a row of the plan moves nothing"

    @law(7, **ANY)
    def test_the_same_task_has_the_same_plan(self, layout: Layout, task: GivenCells, num_levels: int) -> None:
        """A plan follows from layout, task and T, and from nothing else."""
        one, other = (self.plugin(layout, task.given(layout), num_levels=num_levels) for _ in range(2))
        assert torch.equal(one.levels, other.levels), "the same task has two plans"

    @law(7, layout=LAYOUTS)
    def test_nothing_to_generate_is_refused(self, layout: Layout) -> None:
        """A task that gives everything is refused with a PlanError that says so."""
        try:
            self.plugin(layout, layout.valid, num_levels=8)
        except PlanError as error:
            refusal = str(error)
        else:
            refusal = "nothing was refused"
        assert "moves no cell" in refusal, (
            f"a plan that moves no cell should be refused with these words, got: {refusal}"
        )

    @law(7)
    def test_worked_examples_hold(self) -> None:
        """In the worked examples the plan has the rows that were written down."""
        for example in self.examples():
            layout = example.layout
            given = layout.stack(
                {name: torch.tensor([sign == "#" for sign in example.given[name]]) for name in layout.modalities}
            )
            made = layout.split(self.plugin(layout, given, num_levels=example.num_levels).levels)
            found = {
                name: " ".join("".join(f"{level:g}" for level in row) for row in rows.tolist())
                for name, rows in made.items()
            }
            assert found == dict(example.rows), f"the plan has the rows {found}, stated are {dict(example.rows)}"
