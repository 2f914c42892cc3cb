"""Holds a plugin against the contract of its kind without pytest, and says of every law whether it holds."""

import unittest
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import hypothesis

from mmseqdiff.errors import PluginError, UserError
from mmseqdiff.host import Host, Registration
from mmseqdiff.testing.contracts import CONTRACTS, Contract, Law
from mmseqdiff.values import closest

__all__ = ["FAILS", "HOLDS", "NOT_APPLICABLE", "Verdict", "contract_of", "find", "verdict_of", "verdicts"]

HOLDS = "holds"
"""In every example that was tried."""
FAILS = "fails"
"""In some example."""
NOT_APPLICABLE = "not applicable"
"""It has nothing to say of this plugin."""


@attrs.frozen
class Verdict:
    """What was found of one law.

    Attributes:
        law: which.
        outcome: :data:`HOLDS`, :data:`FAILS` or :data:`NOT_APPLICABLE`.
        message: why it fails, or is not applicable.
        example: the smallest failing example that was found, as Hypothesis prints it.
    """

    law: Law
    outcome: str
    message: str = ""
    example: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        said = {"outcome": self.outcome, "message": self.message, "example": self.example}
        return {"law": self.law.name, "number": self.law.number, "statement": self.law.statement, **said}


def find(host: Host, name: str, kind: str | None = None) -> Registration:
    """The plugin of that name among all kinds that have a contract.

    Raises:
        UserError: if there is none, or one in several kinds and ``kind`` does not say which, or the kind has no contract.
    """
    if kind is not None:
        if kind not in CONTRACTS:
            raise UserError(f"there is no contract for the kind {kind!r}; {closest(kind, CONTRACTS)}")
        return host.registration(kind, name)
    known = [entry for entry in host.registrations() if entry.kind in CONTRACTS]
    found = [entry for entry in known if entry.name == name]
    if not found:
        reasons = "".join(f"\n  left out: {why}" for why in host.failures.values())
        raise UserError(f"there is no plugin named {name!r}; {closest(name, {one.name for one in known})}{reasons}")
    if len(found) > 1:
        kinds = " and a ".join(entry.kind for entry in found)
        raise UserError(f"{name!r} is a {kinds}: say which with --kind")
    return found[0]


def contract_of(host: Host, entry: Registration, parameters: Mapping[str, Any]) -> Contract:
    """The contract of a plugin that is built with these parameters."""

    def build(*layout: Any) -> Any:
        own = dict(zip(("layout",), layout))  # a network is built for a layout
        return host.build(entry.kind, entry.name, **own, **parameters)

    own = {"suffix": f".{entry.name}"} if entry.kind == "modality" else {}
    return CONTRACTS[entry.kind].of(build, entry.name, **own)()


def verdicts(contract: Contract, examples: int) -> Iterator[Verdict]:
    """Every law's verdict, one by one.

    Args:
        contract: of the plugin.
        examples: of which the laws are tried; those that take long are tried of fewer. They are the same every time.

    Raises:
        PluginError: if the plugin cannot be built.
    """
    for law in contract.laws():
        yield verdict_of(contract, law, examples)


def verdict_of(contract: Contract, law: Law, examples: int, shrink: bool = True) -> Verdict:
    """The verdict of one law, as of :func:`verdicts`; a failing example is made as small as possible if ``shrink``."""
    test = law.test(
        max_examples=examples,
        derandomize=True,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        phases=[hypothesis.Phase.generate, *([hypothesis.Phase.shrink] if shrink else [])],
    )
    try:
        test(contract)
    except unittest.SkipTest as why:
        return Verdict(law, NOT_APPLICABLE, str(why))
    except hypothesis.errors.Unsatisfiable:
        return Verdict(law, NOT_APPLICABLE, "the plugin has nothing to say of any example that was tried")
    except PluginError:  # it cannot be built
        raise
    except Exception as error:
        message = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        notes = "\n".join(getattr(error, "__notes__", []))
        lines = [line for line in notes.splitlines() if not line.strip().startswith("self=")]
        return Verdict(law, FAILS, message.strip(), "\n".join(lines))
    return Verdict(law, HOLDS)
