"""``mmseqdiff demo``: every task on a few clips, on one page."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo"]


def demo(
    out: Annotated[Path, typer.Option(help="The folder of the page.")] = Path("demo"),
    video: Annotated[
        Path | None, typer.Option(help="A file of yours, with picture and sound, to generate from too.")
    ] = None,
    start: Annotated[float, typer.Option(help="Where in it the clip starts, in seconds.")] = 0.0,
    model: Annotated[
        str | None, typer.Option(help="A run's folder, or a shipped model; the demo's by default.")
    ] = None,
    clips: Annotated[
        str, typer.Option(help="A folder of media files, or a data set that a plugin ships.")
    ] = "demo-clips",
    task: Annotated[
        list[str] | None, typer.Option(help="What to show, as `generate` takes it; the paper's five by default.")
    ] = None,
    num: Annotated[int, typer.Option(help="Clips shown per task.")] = 4,
    steps: Annotated[int | None, typer.Option(help="Sampling steps; the recipe's if not given.")] = None,
    training_seconds: Annotated[float, typer.Option(help="How long to train on; 0 for not at all.")] = 60.0,
    seed: Annotated[int, typer.Option(help="The samples follow from it.")] = 0,
    device: Annotated[str, typer.Option(help="Where to run: cpu, cuda …")] = "cpu",
) -> None:
    """Generate clips for every task, train for a minute, and write OUT/index.html."""
    from mmseqdiff.demo.run import TASKS, Demo
    from mmseqdiff.errors import UserError
    from mmseqdiff.host import load_plugins
    from mmseqdiff.pipeline import find_model, load
    from mmseqdiff.values import exact_seconds

    if num < 2:
        raise UserError(f"--num must be at least 2 clips, to compare each with another, got {num}")
    host = load_plugins()
    run, folder = find_model(host, model), Path(clips)
    if not folder.is_dir():
        folder = out / "clips"
        host.build("dataset", clips).prepare(folder)
    page = Demo(
        pipeline=load(run, device=device, host=host),
        run=run,
        clips=folder,
        out=out,
        video=video,
        start=exact_seconds(start, "--start"),
        tasks=tuple(task or TASKS),
        num=num,
        steps=steps,
        training_seconds=training_seconds,
        seed=seed,
    )()
    print(page)
