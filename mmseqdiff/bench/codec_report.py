"""What a bench of codecs measured, as tables and plain values."""

from collections.abc import Mapping
from typing import Any

import attrs
from rich.table import Table

__all__ = ["CodecReport", "Measured"]


@attrs.frozen
class Measured:
    """One codec.

    Attributes:
        kind: ``"video"`` or ``"audio"``.
        name: which.
        parameters: numbers that it learns.
        operations: floating-point operations of encoding and decoding the clip.
        seconds: CPU seconds of each repeat.
        memory: bytes for the long clip, beside the codec's own; None where it was not measured.
    """

    kind: str
    name: str
    parameters: int
    operations: int
    seconds: tuple[float, ...]
    memory: int | None

    @property
    def fastest(self) -> float:
        """CPU seconds of the fastest repeat."""
        return min(self.seconds)

    @property
    def per_operation(self) -> float:
        """CPU seconds for 10⁹ floating-point operations, at the fastest repeat."""
        return self.fastest / self.operations * 1e9


@attrs.frozen
class CodecReport:
    """All of them.

    Attributes:
        measured: of every kind ours first.
        missing: competitors that are not installed.
        size: of codecs and clips.
        seconds: of the long clip.
        threads: that computed.
    """

    measured: tuple[Measured, ...]
    missing: tuple[str, ...]
    size: Mapping[str, int]
    seconds: int
    threads: int

    def ratios(self, entry: Measured) -> dict[str, float | None]:
        """How many times ours a codec takes: above 1 ours is better."""
        ours = next(other for other in self.measured if other.kind == entry.kind)
        return {
            "seconds": entry.fastest / ours.fastest,
            "seconds per operation": entry.per_operation / ours.per_operation,
            "memory": None if None in (entry.memory, ours.memory) else entry.memory / max(ours.memory, 1),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the ratios."""
        return {
            "size": dict(self.size),
            "long clip": self.seconds,
            "threads": self.threads,
            "not installed": list(self.missing),
            "codecs": [{**attrs.asdict(entry), "ratios to ours": self.ratios(entry)} for entry in self.measured],
        }

    def table(self) -> Table:
        """For the terminal; what is not installed stands below."""
        missing = f"not installed, so left out: {', '.join(self.missing)}" if self.missing else None
        table = Table(
            title="Encoding and decoding one clip, and the memory of a long one; × is how many times ours",
            title_justify="left",
            caption=missing,
            caption_justify="left",
        )
        for name in ("kind", "codec"):
            table.add_column(name)
        for name in ("parameters", "GFLOP", "CPU s", "×", "ms / GFLOP", "×", f"MB for {self.seconds} s", "×"):
            table.add_column(name, justify="right")
        for entry in self.measured:
            ratios = {name: "" if value is None else f"{value:.2f}" for name, value in self.ratios(entry).items()}
            table.add_row(
                entry.kind,
                entry.name,
                f"{entry.parameters / 1e6:.2f} M",
                f"{entry.operations / 1e9:.2f}",
                f"{entry.fastest:.3f}",
                ratios["seconds"],
                f"{1e3 * entry.per_operation:.1f}",
                ratios["seconds per operation"],
                "" if entry.memory is None else f"{entry.memory / 1e6:.0f}",
                ratios["memory"],
            )
        return table
