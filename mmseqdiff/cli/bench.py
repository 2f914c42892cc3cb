"""``mmseqdiff bench …``: how far the parts are from what is known to be exact."""

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["bench"]

bench = typer.Typer(help="Hold the parts against closed forms.", no_args_is_help=True)


@bench.callback()
def group() -> None:
    """Hold the parts against closed forms."""


@bench.command()
def policies(
    out: Annotated[Path, typer.Option(help="The folder of the runs; the same command there goes on.")] = Path(
        "bench-policies"
    ),
    policy: Annotated[list[str] | None, typer.Option(help="Only this policy; may be repeated.")] = None,
    full: Annotated[bool, typer.Option("--full", help="6,000 steps, one model per task too, three seeds.")] = False,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps of every model.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Only this seed; may be repeated.")] = None,
    report: Annotated[Path | None, typer.Option(help="Also write the report to this JSON file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Train one small AVDiT under each policy on an exact world, and print its excess risk over Bayes per task."""
    from rich.console import Console

    from mmseqdiff.bench.policies import POLICIES, PolicyBench
    from mmseqdiff.errors import UserError
    from mmseqdiff.host import load_plugins

    if steps is not None and steps < 1:
        raise UserError(f"--steps must be at least 1, got {steps}")
    console = Console(stderr=True)
    made = PolicyBench(
        host=load_plugins(),
        folder=out,
        policies=tuple(policy or POLICIES),
        per_task=full,
        seeds=tuple(seed or (range(3) if full else (0,))),
        steps=steps or (6000 if full else 4000),
        console=console,
    )()
    if made is None:
        raise typer.Exit(130)
    if report is not None:
        made.write(report)
    if as_json:
        print(json.dumps(made.to_dict(), indent=1))
        return
    for table in made.tables():
        Console(width=120).print(table)
