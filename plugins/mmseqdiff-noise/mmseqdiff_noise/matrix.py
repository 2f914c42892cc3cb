"""A plan of the user's own: any levels, written out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmseqdiff.layout import Layout, Track
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.protocols import Plan
from mmseqdiff_noise.plans import refuse_nothing_to_generate

__all__ = ["Matrix"]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _row(row: Any, track: Track, layout: Layout, r: int) -> list[float]:
    """One row of the matrix, for one track."""
    where, name = f"row {r} of the matrix", track.modality
    if isinstance(row, Mapping):
        for key in row:
            if key not in layout.modalities:
                raise ValueError(f"{where} names {key!r}; the model has {', '.join(layout.modalities)}")
        if name not in row:
            raise ValueError(f"{where} has no levels for {name!r}")
        row = row[name]
    elif isinstance(row, Sequence) and not isinstance(row, str):
        if len(row) != layout.M:
            raise ValueError(f"{where} has {len(row)} entries; the model has {layout.M} modalities")
        row = row[layout.row(name)]
    if _is_number(row):
        return [float(row)] * track.segments
    if not isinstance(row, Sequence) or isinstance(row, str) or not all(map(_is_number, row)):
        raise ValueError(f"{where}: the levels of {name!r} should be a number or a list of numbers, got {row!r}")
    if len(row) != track.segments:
        raise ValueError(f"{where} has {len(row)} levels for {name!r}, which has {track.segments} segments")
    return [float(level) for level in row]


@attrs.frozen
class Matrix(Plan):
    """Any levels of the user's own.

    What the matrix says of given cells is not read: they are 0, and rows in which nothing else moves are left out. So a
    matrix serves every task.

    Attributes:
        rows: from noise to clean. A row is a number for all cells; a list with an entry for every modality, in the model's
            order; or a table, modality → entry. An entry is a number for the whole track, or a list of one for every
            segment.
        file: a JSON file that holds the rows, instead.
        top: the number that stands for T, as 1 where levels are shares, or S where they are steps still to take; None
            where they are levels.
        allow_rise: rows may re-noise cells.

    Raises:
        ValueError: if there are neither rows nor a file or both, or the file cannot be read.
    """

    rows: Any = attrs.field(default=None, hash=False)
    file: str | None = None
    top: float | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.gt(0)))
    allow_rise: bool = False

    def __attrs_post_init__(self) -> None:
        if (self.rows is None) == (self.file is None):
            raise ValueError("a matrix needs its 'rows', or a 'file' that holds them, and not both")
        rows = self.rows
        if self.file is not None:
            try:
                rows = json.loads(Path(self.file).read_text(encoding="utf-8"))
            except OSError as error:
                raise ValueError(f"{self.file} cannot be read: {error.strerror}") from error
            except ValueError as error:
                raise ValueError(f"{self.file} is not JSON: {error}") from error
        if not isinstance(rows, Sequence) or isinstance(rows, str):
            raise ValueError(f"a matrix is a list of rows, got {type(rows).__name__}")
        object.__setattr__(self, "rows", rows)

    def levels(self, layout: Layout, num_levels: int) -> Float[Tensor, "rows modality segment"]:
        """The matrix for a layout.

        Raises:
            ValueError: if a row does not fit the layout; the message says which, and where.
        """
        made = torch.zeros(len(self.rows), layout.M, layout.N, dtype=torch.float64)
        for r, row in enumerate(self.rows):
            for m, track in enumerate(layout.tracks):
                made[r, m, : track.segments] = torch.tensor(_row(row, track, layout, r), dtype=torch.float64)
        return made if self.top is None else made / self.top * num_levels  # in this order top becomes T exactly

    def __call__(self, layout: Layout, given: Bool[Tensor, "modality segment"], *, num_levels: int) -> SamplingPlan:
        """The plan.

        Raises:
            PlanError: if everything is given, or the levels are no plan.
            ValueError: if the matrix does not fit the layout.
        """
        refuse_nothing_to_generate(layout, given)
        matrix = self.levels(layout, num_levels)
        levels = torch.where(given, 0, matrix)
        if len(levels) > 1:
            left_out = _still(levels) & ~_still(matrix)  # a row that the user repeats is refused, as any plan's
            levels = levels[torch.cat([torch.tensor([True]), ~left_out])]
        return SamplingPlan(levels, given, layout, num_levels, allow_rise=self.allow_rise)


def _still(levels: Float[Tensor, "rows modality segment"]) -> Bool[Tensor, " steps"]:
    return (levels[1:] == levels[:-1]).flatten(1).all(1)
