"""What makes the demonstration model tiny: its real architecture and media, in seconds."""

from mmseqdiff.host import Host
from mmseqdiff.recipe import Recipe, load_recipe

__all__ = ["OVERRIDES", "tiny_recipe"]

OVERRIDES = (
    "modalities.video.codec.channels=4",
    "modalities.audio.codec.channels=2",
    "modalities.audio.codec.latent_channels=4",
    "backbone.layers=1",
    "backbone.dimension=32",
    "backbone.heads=2",
    "training.steps=2",
    "training.batch_size=2",
    "training.precision=float32",
    "training.checkpoint_every=2",
    "training.validate_every=1000",
    "sampling.plan.steps=3",
)
"""Overrides of the recipe ``avdit-demo``."""


def tiny_recipe(host: Host, *overrides: str) -> Recipe:
    """``avdit-demo``, tiny, with further overrides.

    Raises:
        PluginError: if mmseqdiff-avdit, which brings the recipe, is not installed.
    """
    return load_recipe(host, "avdit-demo", [*OVERRIDES, *overrides])
