"""The recipes of AVDiT, as TOML files beside this module.

What arXiv:2405.13762 App. B and C.2 state is taken as stated; where they are silent (the averaging's decay, AdamW's
betas, the weights of the losses) the values are those that docs/architecture.md gives reasons for.
"""

from importlib import resources

from mmseqdiff.recipe import Recipe

__all__ = ["avdit_420m", "avdit_aist", "avdit_demo", "avdit_landscape"]


def avdit_420m() -> Recipe:
    """AVDiT as published for the Monologues data (App. B): 17 frames at 8 fps and 128 px, 2.125 s at 16 kHz."""
    return _recipe("avdit-420m")


def avdit_aist() -> Recipe:
    """AVDiT for AIST++ (App. C.2): 64 px, 10 fps; 21 frames, of which 2 s are kept."""
    return _recipe("avdit-aist")


def avdit_landscape() -> Recipe:
    """AVDiT for Landscape (App. C.2): 64 px, 10 fps; 21 frames, of which 2 s are kept."""
    return _recipe("avdit-landscape")


def avdit_demo() -> Recipe:
    """A small AVDiT for two CPU cores: 17 frames at 8 fps and 64 px, 2.125 s of sound at 16 kHz."""
    return _recipe("avdit-demo")


def _recipe(name: str) -> Recipe:
    return Recipe.from_toml(resources.files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8"))
