"""``mmseqdiff evaluate``: what a model can do, measured on held-out clips."""

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["evaluate"]


def evaluate(
    folder: Annotated[Path, typer.Argument(help="A folder of media files that the model has not seen.")],
    model: Annotated[
        str | None, typer.Option(help="A run's folder, or a shipped model; the demo's by default.")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="As `generate` takes it; every one that gives something by default.")
    ] = None,
    num: Annotated[
        int, typer.Option(help="Clips to generate per task, at most one per file; 0 for losses alone.")
    ] = 64,
    steps: Annotated[int | None, typer.Option(help="Sampling steps; the recipe's if not given.")] = None,
    seed: Annotated[int, typer.Option(help="All noise follows from it.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Clips at once.")] = 16,
    device: Annotated[str, typer.Option(help="Where to measure: cpu, cuda …")] = "cpu",
    out: Annotated[Path | None, typer.Option(help="Also write the report to this JSON file, with every clip.")] = None,
    page: Annotated[
        Path | None,
        typer.Option(help="Also show clips of joint generation and of every task on a page in this folder."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Measure whether MODEL uses what it is given: losses and metrics, each with another clip's condition beside it."""
    from rich.console import Console

    from mmseqdiff.demo.run import Demo
    from mmseqdiff.errors import UserError
    from mmseqdiff.evaluate.run import evaluate_model
    from mmseqdiff.pipeline import build_task, find_model, load

    if num < 0 or num == 1:
        raise UserError(f"--num must be 0, or at least 2 clips to compare with each other, got {num}")
    if batch_size < 1:
        raise UserError(f"--batch-size must be at least 1, got {batch_size}")
    pipeline = load(model, device=device)
    tasks = {text: build_task(pipeline.assembly.host, text) for text in task} if task else None
    report = evaluate_model(pipeline, folder, tasks, num=num, steps=steps, seed=seed, batch_size=batch_size)
    if out is not None:
        report.write(out)
    if page is not None:
        Demo(
            pipeline=pipeline,
            run=find_model(pipeline.assembly.host, model),
            clips=folder,
            out=page,
            tasks=("joint", *report.conditional),
            steps=steps,
            training_seconds=0,
            seed=seed,
        )()
    if as_json:
        print(json.dumps(report.to_dict(), indent=1))
        return
    console = Console()
    console.print(report.tables())
    for file, reason in report.left_out.items():
        console.print(f"left out: {file}: {reason}", markup=False)
    if out is not None:
        console.print(f"report: {out}", markup=False)
    if page is not None:
        console.print(f"page: {page / 'index.html'}", markup=False)
