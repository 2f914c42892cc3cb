"""``mmseqdiff new``: a plugin's distribution that works as it is."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["new"]


def new(
    kind: Annotated[
        str,
        typer.Argument(help="modality, policy, task, sampler, plan, guidance, backbone, codec or metric."),
    ],
    name: Annotated[str, typer.Argument(help="The plugin's name; the distribution is mmseqdiff-NAME.")],
    out: Annotated[Path, typer.Option(help="Where its folder will be.")] = Path(),
) -> None:
    """Write a new plugin of KIND: a package that works, with its entry point, a README and a test of all laws."""
    from mmseqdiff.host import load_plugins
    from mmseqdiff.scaffold import create

    folder = create(load_plugins(), kind, name, out)
    print(f"{folder} is written; next:\n  pip install -e {folder}\n  mmseqdiff check {name} --kind {kind}")
