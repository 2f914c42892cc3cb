"""The hooks that a plugin may implement.

A plugin is a light module, named by an entry point in the group ``mmseqdiff``. It imports :data:`hookimpl` and
implements :func:`register`; nothing else is needed.

The other hooks are events. They are called in the process that leads, with copies, so that nothing a plugin does with its
arguments reaches the run; one that raises is named in a warning and not called again, and the run goes on.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import pluggy

from mmseqdiff.origin import ENTRY_POINT_GROUP

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ENTRY_POINT_GROUP", "Add", "hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker(ENTRY_POINT_GROUP)
"""Marks a hook of this module."""
hookimpl = pluggy.HookimplMarker(ENTRY_POINT_GROUP)
"""Marks a plugin's implementation of a hook."""


@runtime_checkable
class Add(Protocol):
    """What the host hands to :func:`register`."""

    def __call__(self, kind: str, name: str, address: str, *, summary: str = "") -> None:
        """Adds one thing.

        Args:
            kind: one of :data:`mmseqdiff.host.KINDS`.
            name: lower-case letters, digits, ``_`` and ``-``; unique within its kind.
            address: ``"package.module:attribute"`` of a class or function; imported when it is first built.
            summary: one line for the listing.
        """


@hookspec
def register(add: Add) -> None:
    """Declares, by calling ``add`` any number of times, what the plugin brings. Must not import anything heavy."""


@hookspec
def training_step(run: Path, step: int, scalars: Mapping[str, float]) -> None:
    """Training has read its numbers off the device, which it does every 25 steps and before each checkpoint.

    Args:
        run: the run's folder.
        step: steps done.
        scalars: what is logged, by name: the loss, a mean since the last call; the learning rate; the loss by modality …
    """


@hookspec
def checkpoint_saved(run: Path, step: int, checkpoint: Path) -> None:
    """A checkpoint is whole.

    Args:
        run: the run's folder.
        step: steps done.
        checkpoint: the checkpoint's folder.
    """


@hookspec
def sampling_step(step: int, steps: int, levels: "Tensor", latents: Mapping[str, "Tensor"]) -> None:
    """A sampler has made a step.

    Args:
        step: steps made.
        steps: of the whole plan.
        levels: where every cell is now, ``(M, N)``.
        latents: modality → ``(B, N_m, *grid, channels)``, noisy, on the run's device.
    """
