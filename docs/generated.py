"""The parts of the reference that are made from the code, so that they cannot say anything else.

mkdocs calls the two hooks at the end (``hooks`` in mkdocs.yml). A page says ``<!-- generated: commands -->`` where a part
belongs; :data:`PARTS` lists them.
"""

import importlib
import inspect
import pkgutil
import re
import typing
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import typer.models

from mmseqdiff import recipe
from mmseqdiff.cli import app
from mmseqdiff.host import KINDS, Host, hookspecs, load_plugins

__all__ = ["PARTS", "api", "commands", "descriptions", "expand", "hooks", "plugins", "public_modules", "recipe_fields"]

MARKER = re.compile(r"<!-- generated: ([\w-]+)((?: [\w.]+)*) -->")
ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):`~?([\w.]+)`")
SECTION = re.compile(r"^(?:Attributes|Args):\n((?:[ \t]+\S.*\n?|\n)+)", re.MULTILINE)
ENTRY = re.compile(r"^    \**(\w+): (.*(?:\n {8,}.*)*)", re.MULTILINE)
RECIPE = (recipe.Recipe, recipe.Component, recipe.Training, recipe.CodecTraining, recipe.Sampling)
"""What a recipe is made of."""


def _line(text: str) -> str:
    """Text of a docstring as one line of a Markdown table."""
    return ROLE.sub(r"`\1`", " ".join(text.split())).replace("|", "\\|")


def descriptions(factory: Callable[..., Any]) -> dict[str, str]:
    """What the docstrings of a function or class say of each parameter; those of the classes it inherits from too."""
    texts = (
        [home.__dict__.get("__doc__") for home in factory.__mro__] if isinstance(factory, type) else [factory.__doc__]
    )
    found: dict[str, str] = {}
    for text in texts:
        for section in SECTION.findall(inspect.cleandoc(text or "")):
            for name, text in ENTRY.findall(section):
                found.setdefault(name, _line(text))
    return found


def _type(annotation: Any) -> str:
    """An annotation as people read it."""
    if annotation is inspect.Parameter.empty:
        return ""
    text = annotation.__name__ if isinstance(annotation, type) and not typing.get_args(annotation) else str(annotation)
    return re.sub(r"\b(?:[a-z_][\w]*\.)+(?=[A-Z])|\b(?:collections\.abc|typing|fractions)\.", "", text)


def _default(value: Any) -> str:
    """A default as a recipe has it."""
    if value is inspect.Parameter.empty or value is attrs.NOTHING:
        return "*needed*"
    if value is None:
        return "none"
    if isinstance(value, recipe.Component):
        settings = ",".join(f"{key}={item}" for key, item in value.parameters.items())
        return f"`{value.name}{':' + settings if settings else ''}`"
    if isinstance(value, attrs.Factory):
        return "empty"
    if isinstance(value, Fraction):
        return f"`{value}`"
    name = type(value).__name__
    return f"[{name}](#{name.lower()})" if type(value) in RECIPE else f"`{value!r}`"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _commands() -> Iterator[tuple[str, Callable[..., None]]]:
    """``(name, function)`` of every command, those of groups too."""
    for entry in app.registered_commands:
        yield entry.name or entry.callback.__name__, entry.callback
    for group in app.registered_groups:
        for entry in group.typer_instance.registered_commands:
            yield f"{group.name} {entry.name or entry.callback.__name__}", entry.callback


def commands() -> str:
    """Every command with its arguments and options."""
    sections = []
    for name, function in _commands():
        words, rows = [], []
        hints = typing.get_type_hints(function, include_extras=True)
        for parameter in inspect.signature(function).parameters.values():
            annotation, info = typing.get_args(hints[parameter.name])[:2]
            needed = parameter.default is inspect.Parameter.empty
            if isinstance(info, typer.models.ArgumentInfo):
                shown = parameter.name.rstrip("_").upper()
                words.append(shown if needed else f"[{shown}]")
            else:
                # What is written first in an annotation's Option is its name, which typer keeps as the default.
                written = [part for part in (info.default, *(info.param_decls or ())) if isinstance(part, str)]
                shown = ", ".join(written or ["--" + parameter.name.replace("_", "-")])
                if needed:
                    words.append(f"{shown} …")
            rows.append(
                (
                    f"`{shown}`",
                    f"`{_type(annotation)}`",
                    _default(parameter.default),
                    _line(info.help),
                )
            )
        usage = " ".join(["mmseqdiff", name, *words, "[OPTIONS]"])
        table = _table(("", "type", "default", ""), rows) if rows else ""
        sections.append(f"## {name}\n\n{inspect.cleandoc(function.__doc__)}\n\n```text\n{usage}\n```\n\n{table}")
    return "\n\n".join(sections)


def recipe_fields() -> str:
    """Every field of a recipe and of its tables."""
    sections = []
    for kind in RECIPE:
        said, hints = descriptions(kind), typing.get_type_hints(kind)
        rows = [
            (
                f"`{field.name}`",
                f"`{_type(hints[field.name])}`",
                _default(field.default),
                said.get(field.name, ""),
            )
            for field in attrs.fields(kind)
        ]
        summary = _line(inspect.cleandoc(kind.__doc__).split("\n\n")[0])
        sections.append(f"## {kind.__name__}\n\n{summary}\n\n" + _table(("field", "type", "default", ""), rows))
    return "\n\n".join(sections)


PACKAGES = tuple(folder.name for folder in sorted((Path(__file__).parents[1] / "plugins").glob("*/mmseqdiff_*")))
"""Of this repository's plugins."""
BUNDLED = tuple(name.replace("_", "-") for name in PACKAGES)
"""Their distributions."""


def plugins(host: Host | None = None) -> str:
    """Every plugin of this repository, by kind, with its parameters."""
    host, sections = host or load_plugins(), []
    for kind in KINDS:
        entries = [entry for entry in host.registrations(kind) if entry.distribution in BUNDLED]
        if entries:
            sections.append(f"## {kind}")
        for entry in entries:
            factory = host.load(entry.kind, entry.name)
            said = descriptions(factory)
            hints = typing.get_type_hints(factory.__init__ if isinstance(factory, type) else factory)
            rows = [
                (
                    f"`{name}`",
                    f"`{_type(hints.get(name, parameter.annotation))}`",
                    _default(parameter.default),
                    said.get(name, ""),
                )
                for name, parameter in inspect.signature(factory).parameters.items()
                if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            ]
            table = "\n\n" + _table(("parameter", "type", "default", ""), rows) if rows else ""
            home = entry.address.replace(":", ".")
            sections.append(
                f"### {entry.name} {{ #{kind}-{entry.name} }}\n\n{entry.summary} · [`{home}`][{home}]{table}"
            )
    return "\n\n".join(sections)


def hooks() -> str:
    """Every hook, with its first sentence and a link to its page."""
    rows = []
    for name, function in hookspecs.__dict__.items():
        if hasattr(function, f"{hookspecs.ENTRY_POINT_GROUP}_spec"):
            rows.append((f"[`{name}`]({name}.md)", _line(inspect.cleandoc(function.__doc__).split("\n\n")[0])))
    return _table(("hook", ""), rows)


def public_modules(*packages: str) -> list[str]:
    """These packages, and all public modules below them, without importing any but packages."""
    found = []
    for name in packages:
        found.append(name)
        path = getattr(importlib.import_module(name), "__path__", None)
        for module in pkgutil.iter_modules(path or ()):
            if not module.name.startswith("_"):
                below = f"{name}.{module.name}"
                found += public_modules(below) if module.ispkg else [below]
    return found


def api(*packages: str) -> str:
    """What mkdocstrings makes of these packages and all public modules below them."""
    return "\n\n".join(f"::: {name}" for name in public_modules(*packages))


def plugin_api() -> str:
    """The same, for the plugins of this repository."""
    return api(*PACKAGES)


PARTS: dict[str, Callable[..., str]] = {
    "api": api, "commands": commands, "hooks": hooks, "plugin-api": plugin_api, "plugins": plugins, "recipe": recipe_fields,
}  # fmt: skip
"""What a marker may ask for; further words are its arguments."""


def expand(markdown: str) -> str:
    """A page with its markers replaced.

    Raises:
        KeyError: if a marker asks for a part that there is not.
    """
    return MARKER.sub(lambda found: PARTS[found[1]](*found[2].split()), markdown)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for every page before it is rendered."""
    return expand(markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Called by mkdocs for every page once rendered: roles of docstrings become links where there is something to link to."""
    return re.sub(
        r":(?:class|func|meth|mod|data|attr|exc):<code>(~?)([\w.]+)</code>",
        lambda found: (
            f'<autoref optional identifier="{found[2]}"><code>'
            f"{found[2].rpartition('.')[2] if found[1] else found[2]}</code></autoref>"
        ),
        html,
    )
