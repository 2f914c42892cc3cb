"""``mmseqdiff calibrate``: what a sampler takes from a trained model."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["calibrate"]


def calibrate(
    sampler: Annotated[str, typer.Argument(help="analytic_dpm, analytic_ddim, or another that can be calibrated.")],
    model: Annotated[Path, typer.Option(help="A run's folder; its newest checkpoint gets calibration.json.")],
    data: Annotated[Path, typer.Option(help="A latent store, as `mmseqdiff encode` makes it.")],
    task: Annotated[
        list[str] | None,
        typer.Option(help="As `generate` takes it; every one that needs no parameter by default."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps; the recipe's if not given.")] = None,
    guidance: Annotated[str | None, typer.Option(help="What will guide; the recipe's if not given.")] = None,
    clips: Annotated[int, typer.Option(help="Clips of the store to measure on, at most.")] = 64,
    seed: Annotated[int, typer.Option(help="All noise follows from it.")] = 0,
    device: Annotated[str, typer.Option(help="Where to measure: cpu, cuda …")] = "cpu",
) -> None:
    """Measure what SAMPLER takes from MODEL for each task and keep it with the model, where `generate` finds it."""
    from rich.console import Console
    from rich.progress import track

    from mmseqdiff.calibration import calibrate_sampler, read_latents
    from mmseqdiff.errors import UserError
    from mmseqdiff.pipeline import build_task, load
    from mmseqdiff.recipe import Component
    from mmseqdiff.train.denoiser import usual_tasks
    from mmseqdiff.train.run import write_calibration

    if clips < 1:
        raise UserError(f"--clips must be at least 1, got {clips}")
    pipeline, console = load(model, device=device), Console()
    host = pipeline.assembly.host
    tasks = {text: build_task(host, text) for text in task} if task else usual_tasks(host, pipeline.layout)
    component = Component.parse(sampler)
    parameters = calibrate_sampler(
        pipeline,
        component,
        read_latents(pipeline, model, data, clips),
        tasks,
        steps=steps,
        guidance=Component.parse(guidance) if guidance else None,
        seed=seed,
        progress=lambda names: track(names, f"calibrating {component.name}", total=len(tasks), console=console),
    )
    file = write_calibration(model, {**pipeline.calibration, component.name: parameters})
    console.print(f"{component.name} for {', '.join(tasks)}: {file}", markup=False)
