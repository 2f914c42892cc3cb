"""``mmseqdiff train``: trains a denoiser."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["train"]


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
        device=device,
    )
    if not done:
        raise typer.Exit(130)
