"""``mmseqdiff evaluate``: what a model can do, measured on held-out clips."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["evaluate"]


def evaluate(
    data: Annotated[Path, typer.Argument(help="A folder of held-out media files.")],
) -> None:
    """Placeholder."""
