"""Plain values, as TOML, JSON and the command line have them, turned into what annotations say."""

import difflib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import attrs
import cattrs
from cattrs.errors import AttributeValidationNote, IterableValidationNote

from mmseqdiff.errors import UserError

__all__ = ["closest", "difference", "exact", "exact_seconds", "make_converter", "message", "reasons"]


def closest(word: str, known: Iterable[str]) -> str:
    """A clause that names the known words, and the closest one first where one is close."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1)
    listing = ", ".join(known) or "none"
    return f"did you mean {near[0]!r}? known: {listing}" if near else f"known: {listing}"


def exact(value: str | float | Fraction) -> Fraction:
    """A number as it is written: 0.1 is a tenth, not the nearest binary number.

    Raises:
        ValueError: if it is no number, or not finite.
    """
    return Fraction(str(value))


def exact_seconds(value: str | float | Fraction, name: str) -> Fraction:
    """A number of seconds as it is written, by :func:`exact`.

    Raises:
        UserError: if it is no number, or not finite; the message says which ``name``.
    """
    try:
        return exact(value)
    except (ValueError, ZeroDivisionError):
        raise UserError(f"{name} should be a number of seconds, such as 0.5 or 17/8, and not {value!r}") from None


def _exactly(kind: type) -> Callable[[Any, type], Any]:
    """A number or string must be one already: ``"12"`` is no integer, 1.5 is none, and True is no number."""

    def convert(value: Any, _: type) -> Any:
        accepted = (int, float) if kind is float else kind
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"expected {kind.__name__}, got {value!r}")
        return kind(value)

    return convert


def _fraction(value: Any, _: type) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Fraction):
        raise ValueError(f"expected a number or a fraction such as '17/8', got {value!r}")
    return exact(value)


def _strings(value: Any, _: object) -> tuple[str, ...]:
    """A list of strings must be a list: a bare string would fall into its letters."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"expected a list of strings, got {value!r}")
    return tuple(value)


def make_converter() -> cattrs.Converter:
    """A converter that refuses unknown keys, inexact numbers and a string for a list, and knows fractions."""
    made = cattrs.Converter(forbid_extra_keys=True)
    for kind in (int, float, str, bool):
        made.register_structure_hook(kind, _exactly(kind))
    made.register_structure_hook(Fraction, _fraction)
    made.register_structure_hook_func(lambda annotation: annotation == tuple[str, ...], _strings)
    made.register_unstructure_hook(Fraction, str)
    return made


def reasons(error: BaseException, path: str = "") -> list[str]:
    """One clause per thing that a converter found wrong, each with where it is."""
    if isinstance(error, cattrs.BaseValidationError):
        return [reason for inner in error.exceptions for reason in reasons(inner, path + _place(inner))]
    where = f"{path.lstrip('.')}: " if path else ""
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        known = [field.name for field in attrs.fields(error.cl)]
        return [f"{where}there is no key {key!r}; {closest(key, known)}" for key in sorted(error.extra_fields)]
    if isinstance(error, KeyError):
        parent = path.lstrip(".").rpartition(".")[0]  # the path ends with the missing key itself
        return [f"{parent and parent + ': '}the key {error.args[0]!r} is missing"]
    if isinstance(error, TypeError | AttributeError):
        return [f"{where}expected a table or a list"]  # all that a converter does with a value it cannot walk through
    return [f"{where}{message(error)}"]


def message(error: BaseException) -> str:
    """What an error says, without the further arguments that some validators of attrs add."""
    return str(error.args[0]) if error.args else str(error)


def _place(error: BaseException) -> str:
    """Where in its parent an error lies, as the converter noted it."""
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return f".{note.name}"
        if isinstance(note, IterableValidationNote):
            return f".{note.index}"
    return ""


def difference(found: Any, expected: Any, path: str = "") -> str | None:
    """The first place where two descriptions differ, as ``"path is …, expected …"``; None where they are equal."""
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        for key in [*expected, *(key for key in found if key not in expected)]:
            reason = difference(found.get(key), expected.get(key), f"{path}.{key}" if path else str(key))
            if reason:
                return reason
        return None
    if _is_list(found) and _is_list(expected) and len(found) == len(expected):
        places = (difference(a, b, f"{path}[{i}]") for i, (a, b) in enumerate(zip(found, expected)))
        return next(filter(None, places), None)
    return None if found == expected else f"{path} is {_short(found)}, expected {_short(expected)}"


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"
