"""What calls the plugins that listen to an event, and keeps their faults from the run."""

import logging
from collections.abc import Callable
from typing import Any

import attrs

__all__ = ["Listener"]

_LOGGER = logging.getLogger("mmseqdiff")


@attrs.frozen(eq=False)
class Listener:
    """Calls every plugin that implements an event hook. Made by :meth:`mmseqdiff.host.Host.listener`.

    Attributes:
        event: the hook's name.
        callers: plugin, as a message should name it → what calls its hook; one that raised is taken out.
    """

    event: str
    callers: dict[str, Callable[..., Any]]

    def __call__(self, **arguments: Any) -> None:
        """Tells them; raises nothing but what a user's Ctrl-C does."""
        for plugin, caller in list(self.callers.items()):
            try:
                caller(**arguments)
            except (Exception, SystemExit) as error:
                del self.callers[plugin]
                _LOGGER.warning(
                    "%s: hook %r raised %s: %s; it is not called again",
                    plugin, self.event, type(error).__name__, error,
                )  # fmt: skip
