"""Errors that are meant for people: each message says what was wrong, where, what was expected, and what to do."""

__all__ = ["CheckpointError", "MediaError", "PluginError", "RecipeError", "RunError", "StoreError", "UserError"]


class UserError(Exception):
    """Bad input. The command line prints the message alone and exits with code 2."""


class MediaError(UserError):
    """A media file that cannot be read or written as asked."""


class RecipeError(UserError):
    """A recipe with a wrong type, an unknown name or contradictory sizes."""


class StoreError(UserError):
    """A latent store that does not fit the recipe or is damaged."""


class CheckpointError(UserError):
    """A checkpoint that does not fit, is truncated or was changed."""


class PluginError(UserError):
    """A plugin that cannot be found, loaded or built."""


class RunError(Exception):
    """A run that failed through no fault of its input. The command line exits with code 1."""
