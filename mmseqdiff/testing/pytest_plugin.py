"""Fixtures for plugin authors, there as soon as mmseqdiff is installed beside pytest.

Nothing heavy is imported before a test asks for a fixture.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mmseqdiff.host import Host
    from mmseqdiff.layout import Layout
    from mmseqdiff.recipe import Recipe
    from mmseqdiff.testing.world import World

__all__ = ["audiovisual_world", "gaussian_world", "mixture_world", "plugin_host", "tiny_recipe"]


@pytest.fixture
def plugin_host() -> "Host":
    """A host with every installed plugin, this test's own: what is added to it is gone afterwards."""
    from mmseqdiff.host import load_plugins

    return load_plugins()


@pytest.fixture
def tiny_recipe(plugin_host: "Host") -> "Callable[..., Recipe]":
    """Makes the recipe of a tiny model of video and audio, with overrides such as ``policy=alternating``."""
    from mmseqdiff.testing.tiny import tiny_recipe

    if "avdit-demo" not in plugin_host.names("recipe"):
        pytest.skip("the tiny recipe needs mmseqdiff-avdit")
    return lambda *overrides: tiny_recipe(plugin_host, *overrides)


@pytest.fixture
def gaussian_world() -> "Callable[[Layout], World]":
    """Makes a Gaussian world over a layout, of which everything is known in closed form."""
    from mmseqdiff.testing.gaussian import GaussianWorld

    return GaussianWorld.random


@pytest.fixture
def mixture_world() -> "Callable[[Layout], World]":
    """Makes a world of several modes over a layout, of which everything is known in closed form."""
    from mmseqdiff.testing.mixture import GaussianMixtureWorld

    return GaussianMixtureWorld.random


@pytest.fixture
def audiovisual_world() -> "World":
    """The Gaussian world of video and audio that the benches train on."""
    from mmseqdiff.testing.audiovisual import audiovisual_world

    return audiovisual_world()
