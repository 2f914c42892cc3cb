"""What the exactness laboratory found, as tables, plain values and a picture."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
from rich.console import Group
from rich.table import Table

from mmseqdiff.data.files import replacing
from mmseqdiff.errors import MediaError

__all__ = ["Convergence", "ExactReport", "Truth", "fitted_order"]

ROUNDING = 1e-12
"""Errors below this are rounding, and say nothing of an order."""


def fitted_order(steps: Sequence[int], errors: Sequence[float]) -> float:
    """Minus the least-squares slope of log error over log steps; NaN with fewer than two errors above rounding."""
    points = [(math.log(n), math.log(error)) for n, error in zip(steps, errors) if error > ROUNDING]
    if len(points) < 2:
        return math.nan
    x, y = (sum(values) / len(points) for values in zip(*points))
    spread = sum((a - x) ** 2 for a, _ in points)
    return -sum((a - x) * (b - y) for a, b in points) / spread


@attrs.frozen
class Convergence:
    """One deterministic sampler against the exact flow.

    Attributes:
        sampler: as it was asked for.
        task: the task.
        where: the range of levels.
        exact_history: whether its first steps ended on the exact flow.
        steps: how many were taken.
        errors: one for each.
    """

    sampler: str
    task: str
    where: str
    exact_history: bool
    steps: tuple[int, ...]
    errors: tuple[float, ...]

    @property
    def order(self) -> float:
        """The fitted order of convergence."""
        return fitted_order(self.steps, self.errors)


@attrs.frozen
class Truth:
    """One sampler's distribution at level 0 against the true one.

    Attributes:
        sampler: as it was asked for.
        plan: the plan.
        task: the task.
        evaluations: network evaluations that it took.
        mean: error of the mean, in standard deviations.
        covariance: relative Frobenius error of the covariance.
        floors: the errors of mean and covariance of an exact solver, by cause; None where the plan has no exact flow.
    """

    sampler: str
    plan: str
    task: str
    evaluations: int
    mean: float
    covariance: float
    floors: dict[str, tuple[float, float]] | None


@attrs.frozen
class ExactReport:
    """Both parts."""

    convergence: tuple[Convergence, ...]
    truth: tuple[Truth, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the fitted orders."""
        return {
            "convergence": [{**attrs.asdict(entry), "order": entry.order} for entry in self.convergence],
            "truth": [attrs.asdict(entry) for entry in self.truth],
        }

    def tables(self) -> Group:
        """A table for each part."""
        return Group(self._orders(), self._distances())

    def _orders(self) -> Table:
        table = Table(title="Error against the exact flow, steps uniform in log-SNR", title_justify="left")
        steps = self.convergence[0].steps if self.convergence else ()
        for name in ("sampler", "task", "levels", "history"):
            table.add_column(name)
        for name in (*map(str, steps), "order"):
            table.add_column(name, justify="right")
        for entry in self.convergence:
            history = "exact" if entry.exact_history else "its own"
            errors = [f"{error:.1e}" for error in entry.errors]
            table.add_row(entry.sampler, entry.task, entry.where, history, *errors, f"{entry.order:.2f}")
        return table

    def _distances(self) -> Table:
        table = Table(title="Error to the true distribution at level 0", title_justify="left")
        for name in ("sampler", "plan", "task"):
            table.add_column(name)
        for name in ("evaluations", "mean", "floor", "covariance", "floor", "by start", "by last step"):
            table.add_column(name, justify="right")
        causes = ("both", "start", "last step")
        for entry in self.truth:
            floors = entry.floors or dict.fromkeys(causes, (math.nan, math.nan))
            errors = [entry.mean, floors["both"][0], entry.covariance, *(floors[cause][1] for cause in causes)]
            shown = ["" if math.isnan(error) else f"{error:.1e}" for error in errors]
            table.add_row(entry.sampler, entry.plan, entry.task, str(entry.evaluations), *shown)
        return table

    def draw(self, path: Path) -> None:
        """Writes a PNG: for the first task the error over steps, and for every plan that to the truth over evaluations.

        Raises:
            MediaError: if the file cannot be written.
        """
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        task = next((entry.task for entry in (*self.convergence, *self.truth)), "")
        plans = list(dict.fromkeys(entry.plan for entry in self.truth))
        samplers = list(dict.fromkeys(entry.sampler for entry in (*self.truth, *self.convergence)))
        colours = {name: f"C{i % 10}" for i, name in enumerate(samplers)}
        styles = {name: "-" if i < 10 else "--" for i, name in enumerate(samplers)}
        figure = Figure(figsize=(5 * (1 + len(plans)), 5), layout="constrained")
        FigureCanvasAgg(figure)
        first, *others = figure.subplots(1, 1 + len(plans), squeeze=False)[0]
        for entry in self.convergence:
            if (entry.task, entry.where) == (task, "T to 1") and not entry.exact_history:
                colour, style = colours[entry.sampler], styles[entry.sampler]
                label = f"{entry.sampler} ({entry.order:.1f})"
                first.loglog(entry.steps, entry.errors, style, marker=".", color=colour, label=label)
        first.set(title=f"{task}: against the exact flow, T to level 1", xlabel="steps", ylabel="error (order)")
        for axes, plan in zip(others, plans):
            shown = [entry for entry in self.truth if (entry.plan, entry.task) == (plan, task)]
            for name in samplers:
                points = [(entry.evaluations, entry.covariance) for entry in shown if entry.sampler == name]
                if points:
                    axes.loglog(*zip(*points), styles[name], marker=".", color=colours[name], label=name)
            floors = sorted({(entry.evaluations, entry.floors["both"][1]) for entry in shown if entry.floors})
            if floors:
                axes.loglog(*zip(*floors), color="0.6", linewidth=4, alpha=0.5, zorder=0, label="an exact solver")
            axes.set(title=f"{task}, plan {plan}: to the truth", xlabel="evaluations", ylabel="covariance error")
        for axes in (first, *others):
            axes.grid(alpha=0.3)
            axes.legend(fontsize="x-small")
        with replacing(Path(path), MediaError) as temporary:
            figure.savefig(temporary, dpi=120, format="png")
