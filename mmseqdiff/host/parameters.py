"""Turns plain values, as TOML and the command line have them, into the parameters of a plugin's class or function."""

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import cattrs

from mmseqdiff import protocols
from mmseqdiff.errors import PluginError
from mmseqdiff.modality import Modality
from mmseqdiff.values import closest, make_converter, reasons

if TYPE_CHECKING:
    from mmseqdiff.host.registry import Host

__all__ = ["structure"]

PROTOCOLS = {
    Modality: "modality",
    protocols.Codec: "codec",
    protocols.NoiseSchedule: "schedule",
    protocols.TimestepPolicy: "policy",
    protocols.Task: "task",
    protocols.Plan: "plan",
    protocols.Sampler: "sampler",
    protocols.Guidance: "guidance",
}
"""Which kind of plugin an annotation asks for."""


def converter(host: "Host") -> cattrs.Converter:
    """A converter that knows exact numbers and builds plugins where an annotation is one of the protocols."""
    made = make_converter()

    def plugin_hook(protocol: type, kind: str) -> Callable[[Any, type], Any]:
        def convert(value: Any, _: type) -> Any:
            if isinstance(value, str):
                return host.build(kind, value)
            if isinstance(value, Mapping):
                if "name" not in value:
                    raise ValueError(f"expected the name of a {kind}, or a table with its 'name', got {dict(value)!r}")
                return host.build(kind, value["name"], **{key: item for key, item in value.items() if key != "name"})
            if not isinstance(value, protocol):
                raise ValueError(f"expected a {kind}, by name or built already, got {value!r}")
            return value

        return convert

    for protocol, kind in PROTOCOLS.items():
        hook = plugin_hook(protocol, kind)
        made.register_structure_hook_func(lambda annotation, protocol=protocol: annotation is protocol, hook)
    return made


def structure(host: "Host", factory: Callable[..., Any], parameters: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The arguments for ``factory``.

    Raises:
        PluginError: if a parameter is unknown, missing or of the wrong type; ``where`` starts the message.
    """
    signature = {
        name: entry
        for name, entry in inspect.signature(factory).parameters.items()
        # A subclass of a Protocol without an __init__ of its own shows these two.
        if entry.kind not in (entry.VAR_POSITIONAL, entry.VAR_KEYWORD)
    }
    annotations = typing.get_type_hints(factory.__init__ if isinstance(factory, type) else factory)
    unknown = [name for name in parameters if name not in signature]
    if unknown:
        raise PluginError(f"{where} has no parameter {unknown[0]!r}; {closest(unknown[0], signature)}")
    missing = [name for name, entry in signature.items() if entry.default is entry.empty and name not in parameters]
    if missing:
        raise PluginError(f"{where} needs {', '.join(map(repr, missing))}")
    made = converter(host)
    arguments = {}
    for name, value in parameters.items():
        annotation = annotations.get(name, Any)
        if value is None and isinstance(annotation, types.UnionType) and types.NoneType in annotation.__args__:
            arguments[name] = None
            continue
        if attrs.has(annotation) and isinstance(value, annotation):  # a layout, for example: nothing to convert
            arguments[name] = value
            continue
        try:
            arguments[name] = made.structure(value, annotation)
        except Exception as error:
            raise PluginError(f"{where}: parameter {'; '.join(reasons(error, name))}") from error
    return arguments
