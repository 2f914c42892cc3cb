"""``mmseqdiff prepare``: fills a folder with a data set's media files."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["prepare"]


def prepare(
    dataset: Annotated[str, typer.Argument(help="A data set, as NAME or NAME:key=value,key=value.")],
    out: Annotated[Path, typer.Argument(help="The folder; what is finished there is kept.")],
) -> None:
    """Make or complete the media files of DATASET in OUT."""
    from mmseqdiff.host import load_plugins
    from mmseqdiff.recipe import Component

    files = Component.parse(dataset).build(load_plugins(), "dataset").prepare(out)
    print(f"{len(files)} files in {out}")
