"""``mmseqdiff plugins``: what is installed."""

import json
from typing import Annotated

import typer

__all__ = ["plugins"]


def plugins(
    kind: Annotated[str | None, typer.Argument(help="Only this kind.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List every plugin with its kind, name, distribution and version.

    Plugins that cannot be loaded are named on stderr, as every command does. MMSEQDIFF_PLUGINS=noise,avdit loads only these.
    """
    import attrs

    from mmseqdiff.errors import UserError
    from mmseqdiff.host.registry import KINDS, load_plugins
    from mmseqdiff.values import closest

    if kind is not None and kind not in KINDS:
        raise UserError(f"there is no kind {kind!r}; {closest(kind, KINDS)}")
    host = load_plugins()
    found = host.registrations(kind)
    if as_json:
        print(json.dumps({"plugins": [attrs.asdict(entry) for entry in found], "failures": host.failures}, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("kind", "name", "distribution", "version", "summary"):
        table.add_column(heading, no_wrap=heading != "summary")
    for entry in found:
        table.add_row(entry.kind, entry.name, entry.distribution or entry.plugin, entry.version, entry.summary)
    Console().print(table)
