"""One diffusion model over several synchronised sequences, with a noise level for every modality and time-segment."""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmseqdiff.host import Host, hookimpl, load_plugins
    from mmseqdiff.pipeline import Pipeline, load

__all__ = ["Host", "Pipeline", "hookimpl", "load", "load_plugins"]
__version__ = "0.1.0"

_HOMES = {
    "Host": "mmseqdiff.host",
    "Pipeline": "mmseqdiff.pipeline",
    "hookimpl": "mmseqdiff.host",
    "load": "mmseqdiff.pipeline",
    "load_plugins": "mmseqdiff.host",
}
"""Public names are imported when they are first used, so that listing plugins does not import torch."""


def check_types() -> None:
    """Checks the types of all that is imported from here on; done at import where MMSEQDIFF_TYPECHECK is 1."""
    from jaxtyping import install_import_hook

    install_import_hook(
        ["mmseqdiff", *filter(None, os.environ.get("MMSEQDIFF_TYPECHECK_ALSO", "").split(","))],
        "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",  # an int is a float, as in PEP 484
    )


if os.environ.get("MMSEQDIFF_TYPECHECK") == "1":
    check_types()


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
