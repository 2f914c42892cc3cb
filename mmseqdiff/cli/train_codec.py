"""``mmseqdiff train-codec``: trains one modality's codec."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["train_codec"]


def train_codec(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, or a TOML file.")],
    modality: Annotated[str, typer.Argument(help="One of the recipe's modalities.")],
    data: Annotated[Path, typer.Option(help="A folder of media files.")],
    out: Annotated[Path, typer.Option(help="The codec's folder; if training was stopped there, it goes on.")],
    start_from: Annotated[
        Path | None, typer.Option(help="The folder of a trained codec whose weights to start from.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Overrides the recipe: path.to.field=value.")] = None,
    device: Annotated[str, typer.Option(help="Where to train: cpu, cuda, cuda:1 …")] = "cpu",
) -> None:
    """Train the codec of MODALITY in RECIPE. The same command on the same --out resumes."""
    from mmseqdiff.host import load_plugins
    from mmseqdiff.recipe import load_recipe
    from mmseqdiff.train.codec import train_codec as run

    host = load_plugins()
    if not run(load_recipe(host, recipe, set_ or []), host, modality, data, out, start_from=start_from, device=device):
        raise typer.Exit(130)
