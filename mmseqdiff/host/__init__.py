"""The plugin host: pluggy hooks, one entry-point group, and a registry that knows where everything came from."""

from mmseqdiff.host.hookspecs import ENTRY_POINT_GROUP, hookimpl
from mmseqdiff.host.registry import KINDS, Host, Registration, load_plugins

__all__ = ["ENTRY_POINT_GROUP", "KINDS", "Host", "Registration", "hookimpl", "load_plugins"]
