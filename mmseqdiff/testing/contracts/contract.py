"""What a contract is: the laws of one kind of plugin, each a method that is a Hypothesis test.

A plugin's tests subclass the contract of its kind and say how the plugin is built; pytest finds the laws:

    class TestAlternating(PolicyContract):
        def build(self):
            return Alternating()

``mmseqdiff check`` runs the same methods without pytest (:mod:`mmseqdiff.testing.verdicts`).
"""

import unittest
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import attrs
import hypothesis
from hypothesis import strategies as st
from torch import Tensor, int16, int32, int64

__all__ = ["Contract", "Law", "bits", "law", "not_applicable"]


def bits(x: Tensor) -> Tensor:
    """The bits of floating-point numbers: unlike ``==`` they tell 0 from −0, and find NaN equal to itself."""
    return x.contiguous().view({2: int16, 4: int32, 8: int64}[x.element_size()])


def not_applicable(why: str) -> unittest.SkipTest:
    """What a law raises where it has nothing to say of a plugin; pytest shows it as skipped."""
    return unittest.SkipTest(why)


@attrs.frozen(eq=False)
class Law:
    """One law of a contract.

    Attributes:
        number: of the law in the project's design, 1 to 12.
        method: asserts the law for one example.
        strategies: parameter of the method → where its values are drawn from; none if there is one example only.
        cost: a law that takes long tries 1 / cost of the examples.
    """

    number: int
    method: Callable[..., None]
    strategies: Mapping[str, st.SearchStrategy]
    cost: int

    @property
    def name(self) -> str:
        """The method's name."""
        return self.method.__name__

    @property
    def statement(self) -> str:
        """The law in words."""
        return (self.method.__doc__ or "").strip().splitlines()[0]

    def test(self, **changes: Any) -> Callable[..., None]:
        """The method as a Hypothesis test.

        Args:
            **changes: to the settings of the profile that is loaded.
        """
        if not self.strategies:
            return self.method
        # A contract is subclassed, so that one method is run for many plugins; and time is no law.
        settings = {"deadline": None, "suppress_health_check": list(hypothesis.HealthCheck), **changes}
        examples = settings.pop("max_examples", hypothesis.settings.default.max_examples)
        settings["max_examples"] = max(examples // self.cost, 1)
        return hypothesis.settings(**settings)(hypothesis.given(**self.strategies)(self.method))


def law(number: int, *, cost: int = 1, **strategies: st.SearchStrategy) -> Callable[[Callable], Callable]:
    """Makes a method of a contract a law; the parameters are those of :class:`Law`."""

    def decorate(method: Callable[..., None]) -> Callable[..., None]:
        made = Law(number, method, strategies, cost)
        test = made.test()
        test.law = made
        return test

    return decorate


class Contract:
    """The laws of one kind of plugin; a subclass says what is held against them.

    Laws hold for every plugin of a kind. What one plugin does within them its author may state as worked examples in
    ``stated``; the kinds that take some say of which class, and ``test_worked_examples_hold`` asserts them.
    """

    kind: ClassVar[str]
    stated: ClassVar[Sequence[Any]] = ()

    def build(self) -> Any:
        """The plugin; called once for every test."""
        raise NotImplementedError(f"{type(self).__name__} should say how the {self.kind} is built: def build(self)")

    @cached_property
    def plugin(self) -> Any:
        """What :meth:`build` made."""
        return self.build()

    def examples(self) -> Sequence[Any]:
        """The worked examples; a law that needs some has nothing to say where there are none."""
        if not self.stated:
            raise not_applicable("no worked example is stated")
        return self.stated

    def __repr__(self) -> str:
        return type(self).__name__

    @classmethod
    def laws(cls) -> list[Law]:
        """The laws, as they are written down."""
        names = dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base))
        return [made.law for made in (getattr(cls, name) for name in names) if hasattr(made, "law")]

    @classmethod
    def of(cls, build: Callable[..., Any], name: str = "Plugin", **attributes: Any) -> "type[Contract]":
        """The contract for one plugin.

        Args:
            build: makes the plugin.
            name: of the class.
            **attributes: of the contract that are other than its own.
        """
        return type(name, (cls,), {"build": lambda self, *given: build(*given), "__module__": __name__, **attributes})

    def check(self, **example: Any) -> None:
        """Asserts every law for one example of yours: a value for every parameter that a law has."""
        for one in self.laws():
            one.method(self, **{parameter: example[parameter] for parameter in one.strategies})
