"""The hooks that a plugin may implement.

A plugin is a light module, named by an entry point in the group ``mmseqdiff``. It imports :data:`hookimpl` and
implements :func:`register`; nothing else is needed.
"""

from typing import Protocol, runtime_checkable

import pluggy

__all__ = ["ENTRY_POINT_GROUP", "Add", "hookimpl", "hookspec"]

ENTRY_POINT_GROUP = "mmseqdiff"

hookspec = pluggy.HookspecMarker(ENTRY_POINT_GROUP)
hookimpl = pluggy.HookimplMarker(ENTRY_POINT_GROUP)


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
