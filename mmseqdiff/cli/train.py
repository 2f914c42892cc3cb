"""``mmseqdiff train``: trains a denoiser."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mmseqdiff.assembly import Assembly

__all__ = ["train"]

SAMPLES = 4
"""Clips generated at a time while training."""


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, or a TOML file.")],
    data: Annotated[Path, typer.Option(help="A latent store, as `mmseqdiff encode` makes it.")],
    out: Annotated[Path, typer.Option(help="The run's folder; if training was stopped there, it goes on.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="Overrides the recipe: path.to.field=value.")] = None,
    validation: Annotated[Path | None, typer.Option(help="A store to measure on; else the end of --data.")] = None,
    start_from: Annotated[Path | None, typer.Option(help="A run whose averaged weights to start from.")] = None,
    device: Annotated[str, typer.Option(help="Where to train: cpu, cuda, cuda:1 …")] = "cpu",
) -> None:
    """Train RECIPE's denoiser. The same command on the same --out resumes."""
    from mmseqdiff.host import load_plugins
    from mmseqdiff.recipe import load_recipe
    from mmseqdiff.train.denoiser import train_denoiser

    host = load_plugins()
    done = train_denoiser(
        load_recipe(host, recipe, set_ or []),
        host,
        data,
        out,
        validation=validation,
        start_from=start_from,
        sample=_write_samples,
        device=device,
    )
    if not done:
        raise typer.Exit(130)


def _write_samples(step: int, assembly: "Assembly", folder: Path) -> None:
    """Jointly generated clips as media files, from the same keys at every step."""
    from mmseqdiff.pipeline import Pipeline

    device = next(assembly.backbone.parameters()).device
    for n, clip in enumerate(Pipeline(assembly, device).generate("joint", num=SAMPLES)):
        clip.save(folder / f"joint-{n}.mp4")
