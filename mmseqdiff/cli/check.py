"""``mmseqdiff check``: does a plugin keep the laws of its kind?"""

import importlib.util
import json
from typing import Annotated

import typer

__all__ = ["check"]


def check(
    name: Annotated[str, typer.Argument(help="A plugin's name, as `mmseqdiff plugins` lists it.")],
    kind: Annotated[str | None, typer.Option(help="Its kind, where several kinds have that name.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A parameter of the plugin: parameter=value, a.b=value in a table."),
    ] = None,
    examples: Annotated[int, typer.Option(min=1, help="How many examples of a law to try.")] = 25,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Hold a plugin against every law of its kind; exit code 1 if one fails, with the smallest failing example."""
    from mmseqdiff.errors import UserError

    if importlib.util.find_spec("hypothesis") is None:
        raise UserError("check needs Hypothesis, which is not installed: pip install 'mmseqdiff[testing]'")

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from mmseqdiff.host import load_plugins
    from mmseqdiff.recipe import set_value
    from mmseqdiff.testing.verdicts import FAILS, HOLDS, contract_of, find, verdicts

    host, parameters = load_plugins(), {}
    entry = find(host, name, kind)
    for setting in set_ or []:
        set_value(parameters, setting)
    contract, console = contract_of(host, entry, parameters), Console()
    found = []
    with console.status(f"{len(contract.laws())} laws") if not as_json else Console(quiet=True).status(""):
        for verdict in verdicts(contract, examples):
            found.append(verdict)
    failed = [verdict for verdict in found if verdict.outcome == FAILS]
    if as_json:
        origin = {"kind": entry.kind, "name": entry.name, "distribution": entry.distribution, "version": entry.version}
        print(json.dumps({**origin, "laws": [verdict.to_dict() for verdict in found]}, indent=2))
    else:
        table = Table(
            title=f"{entry.kind} {entry.name} of {entry.origin}", title_justify="left", box=None, pad_edge=False
        )
        for heading in ("law", "", "verdict"):
            table.add_column(heading, overflow="fold", no_wrap=heading == "verdict")
        for verdict in found:
            colour = {HOLDS: "green", FAILS: "red"}.get(verdict.outcome, "yellow")
            why = "" if verdict.outcome in (HOLDS, FAILS) else f" ({verdict.message})"
            table.add_row(
                str(verdict.law.number), escape(verdict.law.statement + why), f"[{colour}]{verdict.outcome}[/{colour}]"
            )
        console.print(table)
        for verdict in failed:
            console.print(f"\n[red]fails:[/red] {escape(verdict.law.statement)}", highlight=False, soft_wrap=True)
            console.print(escape(f"{verdict.message}\n{verdict.example}"), highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)
