"""What a bench of policies measured, for the terminal and as JSON."""

from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import attrs
from rich.table import Table

from mmseqdiff.bench.samples import SampleErrors
from mmseqdiff.train.checkpoint import write_json

__all__ = ["Excess", "Report", "relative_excess"]

Excess = Mapping[str, list[float]]
"""``level``, ``excess`` and ``risk``, one number per level."""


def relative_excess(measured: Excess) -> float:
    """The excess risk as a part of the Bayes risk, both summed over levels: Eq. (3) of :mod:`mmseqdiff.bench.policies`."""
    return sum(measured["excess"]) / sum(measured["risk"])


@attrs.frozen(eq=False)
class Report:
    """What was measured.

    Attributes:
        protocol: everything that the numbers depend on.
        excess: row → task → one measurement per seed.
        samples: row → task → errors of conditional samples.
    """

    protocol: Mapping[str, Any]
    excess: Mapping[str, Mapping[str, list[Excess]]]
    samples: Mapping[str, Mapping[str, SampleErrors]]

    @property
    def _tasks(self) -> tuple[str, ...]:
        return tuple(next(iter(self.excess.values())))

    def relative(self, row: str, task: str | None = None) -> list[float]:
        """The relative excess for every seed; the mean over tasks where ``task`` is None."""
        columns = [[relative_excess(one) for one in seeds] for seeds in self.excess[row].values()]
        return [mean(one) for one in zip(*columns)] if task is None else columns[list(self.excess[row]).index(task)]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        return {
            "protocol": dict(self.protocol),
            "relative excess risk": {
                row: {**{task: self.relative(row, task) for task in tasks}, "average": self.relative(row)}
                for row, tasks in self.excess.items()
            },
            "by level": {row: dict(tasks) for row, tasks in self.excess.items()},
            "samples": {
                row: {task: attrs.asdict(errors) for task, errors in tasks.items()}
                for row, tasks in self.samples.items()
            },
        }

    def write(self, path: Path) -> None:
        """Writes JSON. Raises RunError if it cannot."""
        write_json(path, self.to_dict())

    def tables(self) -> list[Table]:
        """For the terminal."""
        losses = _grid(
            self._tasks, "excess risk over Bayes, in % of the Bayes risk (± one standard deviation over seeds)"
        )
        for row in self.excess:
            losses.add_row(row, *(_percent(self.relative(row, task)) for task in (*self.excess[row], None)))
        tables = [losses]
        for what in ("mean", "covariance") if self.samples else ():
            grid = _grid(self._tasks, f"error of conditional samples: {what}")
            for row, tasks in self.samples.items():
                values = [getattr(tasks[task], what) if task in tasks else None for task in self._tasks]
                known = [value for value in values if value is not None]
                grid.add_row(row, *("" if value is None else f"{value:.3f}" for value in values), f"{mean(known):.3f}")
            tables.append(grid)
        return tables


def _grid(tasks: tuple[str, ...], title: str) -> Table:
    grid = Table(title=f"\n{title}", title_justify="left", box=None, pad_edge=False)
    grid.add_column("trained under", min_width=20)
    for name in (*tasks, "average"):
        grid.add_column(name, justify="right", no_wrap=True)
    return grid


def _percent(values: list[float]) -> str:
    spread = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.1f}{spread}"
