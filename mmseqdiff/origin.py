"""Whose an object is, and what it returned wrong: for messages that name the plugin and not the place where it hurt."""

from collections.abc import Mapping

import entrypoints

from mmseqdiff.errors import PluginError

__all__ = ["ENTRY_POINT_GROUP", "check_latents", "check_shape", "origin"]

ENTRY_POINT_GROUP = "mmseqdiff"
"""Where distributions name their plugins."""


def origin(thing: object) -> str:
    """The class of a plugin's object, with the plugin and the distribution that brought it where there is one."""
    kind = type(thing)
    package = kind.__module__.partition(".")[0]
    brought = [
        f", plugin {point.name!r} of {_distribution(point)}," if point.distro else f", plugin {point.name!r},"
        for point in entrypoints.get_group_all(ENTRY_POINT_GROUP)
        if point.module_name.partition(".")[0] == package
    ]
    return f"{kind.__module__}.{kind.__qualname__}{''.join(brought[:1])}"


def _distribution(point: entrypoints.EntryPoint) -> str:
    """An entry point's distribution and version; on disk the name has underscores, people install it with dashes."""
    return f"{point.distro.name.replace('_', '-')} {point.distro.version}"


def check_shape(thing: object, what: str, found: object, expected: tuple[int, ...]) -> None:
    """Refuses what a plugin's object returned unless it is a tensor of the expected shape.

    Raises:
        PluginError: naming the object's class, its distribution and both shapes.
    """
    shape = getattr(found, "shape", None)
    if shape is None or tuple(shape) != tuple(expected):
        has = f"shape {tuple(shape)}" if shape is not None else f"no shape: {type(found).__name__}"
        raise PluginError(f"{origin(thing)} returned {what} with {has}, expected {tuple(expected)}")


def check_latents(thing: object, what: str, found: Mapping[str, object], expected: Mapping[str, object]) -> None:
    """Refuses latents that a plugin's object returned unless they have the modalities and shapes of others.

    Raises:
        PluginError: as :func:`check_shape`.
    """
    if not isinstance(found, Mapping) or found.keys() != expected.keys():
        has = sorted(found) if isinstance(found, Mapping) else type(found).__name__
        raise PluginError(f"{origin(thing)} returned {what} of {has}, expected {sorted(expected)}")
    for name, value in found.items():
        check_shape(thing, f"{what} of {name!r}", value, expected[name].shape)
