"""Finds the plugins, keeps what they declare, and builds it by name.

The host is strict: a hook name that does not exist, a name taken twice, a kind that does not exist, an unknown
parameter or a parameter of the wrong type is an error that says so. A plugin that fails to import or to register, or whose
distribution requires another version of mmseqdiff, is reported in :attr:`Host.failures` and in a warning, and does not
take the others down. Nothing is imported before it is built.
"""

import importlib
import importlib.metadata
import logging
import os
import re
import types
from collections.abc import Callable, Collection
from typing import Any

import attrs
import entrypoints
import pluggy
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mmseqdiff.errors import PluginError
from mmseqdiff.host import hookspecs
from mmseqdiff.host.listener import Listener
from mmseqdiff.values import closest, message

__all__ = ["KINDS", "Host", "Registration", "load_plugins"]

KINDS = (
    "modality", "codec", "schedule", "policy", "task", "plan", "sampler", "guidance", "backbone", "recipe", "model",
    "dataset", "metric", "perceptual",
)  # fmt: skip
"""What a plugin can bring."""

_LOGGER = logging.getLogger("mmseqdiff")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_ADDRESS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@attrs.frozen
class Registration:
    """One thing that a plugin brought.

    Attributes:
        kind: one of :data:`KINDS`.
        name: its name within the kind.
        address: ``"package.module:attribute"``.
        summary: one line.
        plugin: the entry point's name.
        distribution: the distribution that brought it; empty if the plugin was registered by hand.
        version: the distribution's version.
    """

    kind: str
    name: str
    address: str
    summary: str
    plugin: str
    distribution: str
    version: str

    @property
    def origin(self) -> str:
        """The distribution and version, or the plugin's name where it has no distribution."""
        return f"{self.distribution} {self.version}" if self.distribution else f"plugin {self.plugin!r}"


class Host:
    """A set of plugins, and everything that they declared."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(hookspecs.ENTRY_POINT_GROUP)
        self.manager.add_hookspecs(hookspecs)
        self.failures: dict[str, str] = {}
        """Plugin → why it could not be loaded."""
        self._registrations: dict[tuple[str, str], Registration] = {}
        self._origins: dict[str, str] = {}

    def add_plugin(self, plugin: object, name: str, distribution: str = "", version: str = "") -> None:
        """Registers a plugin: a module or object with a ``register`` hook.

        Raises:
            PluginError: if it has an unknown hook, declares something wrong, or takes a name that is taken. Then nothing
                that it declared is kept.
        """
        if self.manager.has_plugin(name):
            raise PluginError(f"{distribution or 'a plugin added by hand'}: there is already {self._origins[name]}")
        origin = f"plugin {name!r}" + (f" of {distribution} {version}" if distribution else "")
        found: dict[tuple[str, str], Registration] = {}

        def add(kind: str, name_: str, address: str, *, summary: str = "") -> None:
            entry = Registration(kind, name_, address, summary, name, distribution, version)
            self._check(entry, found)
            found[kind, name_] = entry

        try:
            self.manager.register(plugin, name=name)
            self.manager.check_pending()
            # Each plugin is called by itself, so that one that raises harms no other.
            others = [other for other in self.manager.get_plugins() if other is not plugin]
            self.manager.subset_hook_caller("register", others)(add=add)
        except (Exception, SystemExit) as error:
            if self.manager.has_plugin(name):
                self.manager.unregister(name=name)
            if isinstance(error, PluginError):
                raise
            raise PluginError(f"{origin}: {type(error).__name__}: {error}") from error
        self._registrations.update(found)
        self._origins[name] = origin

    def _check(self, entry: Registration, found: dict[tuple[str, str], Registration]) -> None:
        where = f"{entry.origin}: {entry.kind} {entry.name!r}"
        if entry.kind not in KINDS:
            raise PluginError(f"{where}: there is no kind {entry.kind!r}; {closest(entry.kind, KINDS)}")
        if not _NAME.fullmatch(entry.name):
            raise PluginError(
                f"{where}: a name is lower-case letters, digits, '_' and '-', starting with none of these two"
            )
        if not _ADDRESS.fullmatch(entry.address):
            raise PluginError(f"{where}: the address {entry.address!r} should read 'package.module:attribute'")
        taken = {**self._registrations, **found}.get((entry.kind, entry.name))
        if taken is not None:
            raise PluginError(
                f"{entry.kind} {entry.name!r} is brought by both {taken.origin} and {entry.origin}; uninstall one"
            )

    def registrations(self, kind: str | None = None) -> list[Registration]:
        """Everything declared, by kind and name."""
        entries = [entry for entry in self._registrations.values() if kind in (None, entry.kind)]
        return sorted(entries, key=lambda entry: (KINDS.index(entry.kind), entry.name))

    def names(self, kind: str) -> list[str]:
        """The names of a kind."""
        return [entry.name for entry in self.registrations(kind)]

    def registration(self, kind: str, name: str) -> Registration:
        """Where a name came from.

        Raises:
            PluginError: if nothing of that kind has that name; the message lists the known names and the closest.
        """
        if kind not in KINDS:
            raise PluginError(f"there is no kind {kind!r}; {closest(kind, KINDS)}")
        entry = self._registrations.get((kind, name))
        if entry is None:
            reasons = "".join(f"\n  left out: {why}" for why in self.failures.values())
            raise PluginError(f"there is no {kind} named {name!r}; {closest(name, self.names(kind))}{reasons}")
        return entry

    def listener(self, event: str) -> Listener | None:
        """What tells an event to every plugin that listens to it, or None if none does; to be asked for before a loop."""
        listening = [each.plugin for each in getattr(self.manager.hook, event).get_hookimpls()]
        plugins, callers = self.manager.list_name_plugin(), {}
        for name, plugin in plugins:
            if plugin in listening:
                others = [other for _, other in plugins if other is not plugin]
                callers[self._origins[name]] = self.manager.subset_hook_caller(event, others)
        return Listener(event, callers) if callers else None

    def load(self, kind: str, name: str) -> Callable[..., Any]:
        """Imports the class or function behind a name.

        Raises:
            PluginError: if there is no such name, or importing it fails.
        """
        entry = self.registration(kind, name)
        module, attribute = entry.address.split(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:
            raise PluginError(
                f"{kind} {name!r} of {entry.origin} cannot be loaded from {entry.address!r}: {type(error).__name__}: {error}"
            ) from error

    def build(self, kind: str, name: str, /, **parameters: Any) -> Any:
        """Builds what a name stands for.

        Args:
            kind: one of :data:`KINDS`.
            name: a name of that kind.
            **parameters: of the class or function. Plain values (numbers, strings, lists, tables, as TOML has them) are
                turned into what its annotations say; a table with a ``name`` or a bare string stands for another plugin
                where the annotation is one of the protocols.

        Raises:
            PluginError: if there is no such name, a parameter is unknown, missing or of the wrong type, or building fails
                on its values.
        """
        from mmseqdiff.host.parameters import structure  # imports torch by way of the protocols, so only when building

        factory = self.load(kind, name)
        where = f"{kind} {name!r} of {self.registration(kind, name).origin}"
        arguments = structure(self, factory, parameters, where)
        try:
            return factory(**arguments)
        except (TypeError, ValueError) as error:
            raise PluginError(f"{where}: {message(error)}") from error


def load_plugins(only: Collection[str] | None = None) -> Host:
    """A host with the installed plugins: the entry points of the group ``mmseqdiff``.

    Args:
        only: names of entry points; where None, those that the environment variable ``MMSEQDIFF_PLUGINS`` lists, separated by
            commas, or all of them where it is not set.

    Raises:
        PluginError: if one of these names is not installed.
    """
    points = sorted(entrypoints.get_group_all(hookspecs.ENTRY_POINT_GROUP), key=lambda point: point.name)
    listed = os.environ.get("MMSEQDIFF_PLUGINS", "")
    where = "MMSEQDIFF_PLUGINS" if only is None else "load_plugins"
    if only is None and listed.strip():
        only = [name.strip() for name in listed.split(",") if name.strip()]
    for name in only or ():
        if name not in {point.name for point in points}:
            raise PluginError(
                f"{where}: no plugin named {name!r} is installed; {closest(name, [point.name for point in points])}"
            )
    host = Host()
    for point in points:
        if only is None or point.name in only:
            _load(host, point)
    return host


def _load(host: Host, point: entrypoints.EntryPoint) -> None:
    """Adds one entry point's plugin, or says why not."""
    distribution = point.distro
    # The name on disk has underscores; the one people install has dashes.
    name, version = (distribution.name.replace("_", "-"), distribution.version) if distribution else ("", "")
    try:
        _check_requirement(name)
        plugin = point.load()
        if not isinstance(plugin, types.ModuleType) and not hasattr(plugin, "register"):
            raise PluginError("an entry point should name a module or object with a 'register' hook")
        host.add_plugin(plugin, point.name, name, version)
    except (Exception, SystemExit) as error:
        reason = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        if not name or name not in reason:
            reason = f"plugin {point.name!r} of {name} {version}: {reason}"
        host.failures[point.name] = reason
        _LOGGER.warning("left out: %s", reason)


def _check_requirement(distribution: str) -> None:
    """Refuses a distribution that requires another version of the core, which pip only warns of.

    Raises:
        PluginError: naming both versions.
    """
    try:
        installed = importlib.metadata.version("mmseqdiff")
        stated = importlib.metadata.requires(distribution) or []
    except (importlib.metadata.PackageNotFoundError, ValueError):  # run from sources that nothing has installed
        return
    for requirement in map(Requirement, stated):
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if canonicalize_name(requirement.name) != "mmseqdiff" or not applies:
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            raise PluginError(f"it requires {requirement}, but mmseqdiff {installed} is installed; upgrade one of them")
