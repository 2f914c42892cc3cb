"""The laws of metrics."""

import math
from typing import Any

import attrs
import hypothesis
import torch
from hypothesis import strategies as st

from mmseqdiff.protocols import Comparison, Metric
from mmseqdiff.testing.contracts.contract import Contract, bits, law
from mmseqdiff.testing.strategies import comparisons

__all__ = ["MetricContract"]

ANY = {"data": st.data()}


class MetricContract(Contract):
    """The laws of a :class:`~mmseqdiff.protocols.Metric`.

    A metric that reads more than a clip of noise, such as a file beside the real clip, gives comparisons of its own.
    """

    kind = "metric"
    plugin: Metric

    def comparison(self, data: Any) -> Comparison:
        """Draws a clip to measure; override it where the metric needs others."""
        return data.draw(comparisons())

    def _measure(self, data: Any) -> tuple[Comparison, dict[str, float]]:
        """A comparison of which the metric says something."""
        comparison = self.comparison(data)
        found = self.plugin(comparison)
        hypothesis.assume(found)
        return comparison, found

    @law(2, **ANY)
    def test_values_are_finite_and_named(self, data: Any) -> None:
        """Every value is a finite number, and its name is one that better says the good direction of."""
        _, found = self._measure(data)
        directions = set(self.plugin.better.values())
        assert directions <= {"higher", "lower"}, f"better says {directions}, expected 'higher' or 'lower'"
        for name, value in found.items():
            assert name in self.plugin.better, f"better does not say which way {name!r} is better"
            assert isinstance(value, float | int), f"{name!r} is {type(value).__name__}, expected a number"
            assert math.isfinite(value), f"{name!r} is {value}"

    @law(9, **ANY)
    def test_the_same_clip_has_the_same_values(self, data: Any) -> None:
        """A metric is a function: asked twice it says the same, and leaves the clips alone."""
        comparison, found = self._measure(data)
        before = {name: value.clone() for name, value in comparison.generated.items()}
        assert self.plugin(comparison) == found, "the same clip has different values"
        same = all(torch.equal(bits(comparison.generated[name]), bits(before[name])) for name in before)
        assert same, "the metric changed the clip that it measured"

    @law(8, **ANY)
    def test_the_order_of_the_modalities_does_not_matter(self, data: Any) -> None:
        """With the modalities in another order the values are the same."""
        comparison, found = self._measure(data)
        fields = ("generated", "real", "given", "rates")
        turned = {field: dict(reversed(getattr(comparison, field).items())) for field in fields}
        other = self.plugin(attrs.evolve(comparison, **turned))
        assert other == found, f"the order of the modalities changes the values from {found} to {other}"

    @law(12, **ANY)
    def test_given_frames_are_not_measured(self, data: Any) -> None:
        """What a task gave is not measured in the generated clip: only what was generated counts."""
        comparison, found = self._measure(data)
        generated = {}
        for name, value in comparison.generated.items():
            cells = comparison.given[name].reshape(-1, *(1,) * (value.ndim - 1))
            generated[name] = torch.where(cells, 1 - value, value)
        other = self.plugin(attrs.evolve(comparison, generated=generated))
        assert other == found, f"given frames of the generated clip change the values from {found} to {other}"

    @law(12, **ANY)
    def test_whether_it_measures_does_not_depend_on_what_was_generated(self, data: Any) -> None:
        """Which values there are follows from the real clip and what is given, not from what was generated."""
        comparison, found = self._measure(data)
        generated = {name: torch.zeros_like(value) for name, value in comparison.generated.items()}
        other = self.plugin(attrs.evolve(comparison, generated=generated))
        assert other.keys() == found.keys(), f"of a clip of zeros it says {sorted(other)}, of another {sorted(found)}"
        assert all(math.isfinite(value) for value in other.values()), f"a clip of zeros has the values {other}"
