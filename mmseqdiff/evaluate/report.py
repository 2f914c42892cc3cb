"""What was measured of a model, with everything that it takes to measure it again."""

from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import attrs
from rich.console import Group
from rich.table import Table

from mmseqdiff.evaluate.conditional import ConditionalLoss
from mmseqdiff.evaluate.paired import PairedTest
from mmseqdiff.train.checkpoint import write_json

__all__ = ["Report"]


@attrs.frozen(eq=False)
class Report:
    """The result of an evaluation.

    Attributes:
        protocol: name and settings: the same protocol on the same model and files gives the same numbers.
        conditional: task → losses with the clip's own condition and with another's.
        samples: task → metric → value → generated clips beside their own and beside another real clip.
        left_out: file → why it was not used.
    """

    protocol: Mapping[str, Any]
    conditional: Mapping[str, ConditionalLoss]
    samples: Mapping[str, Mapping[str, Mapping[str, PairedTest]]]
    left_out: Mapping[str, str] = attrs.field(factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        return {
            "protocol": dict(self.protocol),
            "conditional loss": {task: result.to_dict() for task, result in self.conditional.items()},
            "samples": {
                task: {
                    metric: {value: test.to_dict() for value, test in values.items()}
                    for metric, values in metrics.items()
                }
                for task, metrics in self.samples.items()
            },
            "left out": dict(self.left_out),
        }

    def write(self, path: Path) -> None:
        """Writes JSON. Raises RunError if it cannot."""
        write_json(path, self.to_dict())

    def tables(self) -> Group:
        """For the terminal."""
        losses = _table("loss of what is generated, given the clip's own or another's condition", "task")
        for task, result in self.conditional.items():
            losses.add_row(task, *_row(result.overall))
        tables = [losses]
        for task, metrics in self.samples.items():
            for metric, values in metrics.items():
                table = _table(f"{task}, {metric}: generated clips beside their own or another's real clip", "value")
                for value, test in values.items():
                    table.add_row(f"{value} {'↑' if test.better == 'higher' else '↓'}", *_row(test))
                tables.append(table)
        return Group(*tables)


def _table(title: str, first: str) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", box=None, pad_edge=False)
    table.add_column(first, min_width=14)
    for name in ("clips", "own", "another's", "difference", "own better", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _row(test: PairedTest) -> tuple[str, ...]:
    return (
        str(len(test.own)),
        f"{mean(test.own):.4f}",
        f"{mean(test.other):.4f}",
        f"{test.difference:+.4f}",
        f"{100 * test.share:.0f} %",
        f"{test.p_value:.2g}",
    )
