"""Named means that are gathered on the device and read only when they are logged."""

from collections.abc import Mapping

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Table"]


@attrs.frozen(eq=False)
class Table:
    """Sums and counts under names. Adding tables never waits for the device; :meth:`means` does.

    Attributes:
        names: one per row, such as ``"loss/video"``.
        sums: of what was measured.
        counts: how many values each sum holds.
    """

    names: tuple[str, ...]
    sums: Float[Tensor, " row"]
    counts: Float[Tensor, " row"]

    @classmethod
    def of_means(cls, values: Mapping[str, Tensor], count: int) -> "Table":
        """A table of scalars that are each a mean over ``count`` examples."""
        means = torch.stack([value.detach().float() for value in values.values()])
        return cls(tuple(values), means * count, torch.full_like(means, count))

    def __add__(self, other: "Table") -> "Table":
        if other.names == self.names:
            return attrs.evolve(self, sums=self.sums + other.sums, counts=self.counts + other.counts)
        names = tuple(dict.fromkeys((*self.names, *other.names)))  # a term that begins within a look
        own, new = self._rows(names), other._rows(names)
        return Table(names, own.sums + new.sums, own.counts + new.counts)

    def _rows(self, names: tuple[str, ...]) -> "Table":
        """The same under these names, with nothing measured where there is no such row."""
        empty = self.sums.new_zeros(1)
        places = [self.names.index(name) if name in self.names else len(self.names) for name in names]
        return Table(names, torch.cat([self.sums, empty])[places], torch.cat([self.counts, empty])[places])

    def means(self) -> dict[str, float]:
        """The mean under every name that was measured at all."""
        rows = zip(self.names, self.sums.tolist(), self.counts.tolist())
        return {name: total / count for name, total, count in rows if count}
