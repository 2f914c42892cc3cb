"""The recipe, as a TOML file beside this module."""

from importlib import resources

from mmseqdiff.recipe import Recipe

__all__ = ["avdit_vizdoom"]


def avdit_vizdoom() -> Recipe:
    """A small AVDiT over three tracks: 17 pictures of 48 x 64 at 35/4 a second, 1.94 s of sound, 17 actions."""
    return Recipe.from_toml(resources.files(__name__).joinpath("avdit-vizdoom.toml").read_text(encoding="utf-8"))
