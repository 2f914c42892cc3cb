"""A recipe's parts, built by the plugin host and fitted together: what training and generating both start from."""

import inspect
from collections.abc import Mapping
from pathlib import Path

import attrs
import torch
from torch import nn

from mmseqdiff import random
from mmseqdiff.denoiser import NetworkDenoiser
from mmseqdiff.errors import RecipeError
from mmseqdiff.host import Host
from mmseqdiff.layout import Layout
from mmseqdiff.modality import Modality
from mmseqdiff.origin import check_shape
from mmseqdiff.protocols import NoiseSchedule, TimestepPolicy
from mmseqdiff.recipe import Component, Recipe

__all__ = ["Assembly", "build_modalities", "build_policy", "layout_of"]

MOST_SIGNAL = 0.2
"""alpha(T), at most; the paper's schedule ends at 0.0064."""


@attrs.frozen(eq=False)
class Assembly:
    """The parts of a model, with weights as the plugins initialise them.

    Attributes:
        recipe: what was assembled.
        host: where the parts came from.
        modalities: modality → codec and media format.
        layout: the tracks of a clip.
        schedule: the noise schedule.
        policy: the timestep policy.
        backbone: the network.
        denoiser: the network with its schedule and prediction kind.
    """

    recipe: Recipe
    host: Host
    modalities: dict[str, Modality]
    layout: Layout
    schedule: NoiseSchedule
    policy: TimestepPolicy
    backbone: nn.Module
    denoiser: NetworkDenoiser

    @classmethod
    def from_recipe(cls, recipe: Recipe, host: Host, codecs: Path | None = None) -> "Assembly":
        """Builds every part.

        Args:
            recipe: names them.
            host: builds them.
            codecs: where the codecs are kept, by modality: pretrained ones are built from there.

        Raises:
            PluginError: if a plugin is missing or refuses its parameters.
            RecipeError: if the parts do not fit: a clip length that a codec cannot take, a policy of other modalities, a
                prediction kind that the schedule rules out, a schedule that does not end in noise.
        """
        kept = {} if codecs is None else {name: codecs / name for name in recipe.modalities}
        modalities = build_modalities(recipe, host, kept)
        layout = layout_of(recipe, modalities)
        schedule = recipe.schedule.build(host, "schedule")
        _check_end(recipe, schedule)
        policy = build_policy(recipe.policy, host, layout, schedule)
        backbone = host.build("backbone", recipe.backbone.name, layout=layout, **recipe.backbone.parameters)
        try:
            denoiser = NetworkDenoiser(
                backbone,
                schedule,
                layout,
                recipe.prediction,
                recipe.self_condition_limit,
                self_conditions=recipe.training.self_condition_rate > 0,
            )
        except ValueError as error:
            raise RecipeError(f"recipe {recipe.name!r}: {error}") from error
        return cls(recipe, host, modalities, layout, schedule, policy, backbone, denoiser)


def _check_end(recipe: Recipe, schedule: NoiseSchedule) -> None:
    """Raises RecipeError where the last level still shows the signal, for sampling starts there from noise alone."""
    left = float(schedule.alpha(torch.tensor(float(schedule.num_levels), dtype=torch.float64)))
    if left > MOST_SIGNAL:
        raise RecipeError(
            f"recipe {recipe.name!r}: at level T = {schedule.num_levels} the schedule {recipe.schedule.name!r} keeps {left:.2g} of the "
            f"signal, but sampling starts there from noise alone: it should keep {MOST_SIGNAL:g} at most (more noise a level, or more levels)"
        )


def build_modalities(recipe: Recipe, host: Host, folders: Mapping[str, Path] | None = None) -> dict[str, Modality]:
    """The recipe's modalities, without statistics. Codecs are untrained, but for pretrained ones.

    Args:
        recipe: names them.
        host: builds them.
        folders: modality → the folder of its codec. A pretrained codec is built from there, whatever its ``model`` is in
            the recipe: so a store and a run need nothing outside themselves.
    """
    folders = folders or {}
    return {
        name: (_with_model(component, host, folders[name]) if name in folders else component).build(host, "modality")
        for name, component in recipe.modalities.items()
    }


def _with_model(component: Component, host: Host, folder: Path) -> Component:
    """A modality whose codec, if it is one with a parameter ``model``, takes it from ``folder``."""
    codec = component.parameters.get("codec")
    codec = {"name": codec} if isinstance(codec, str) else codec
    if not isinstance(codec, Mapping) or codec.get("name") not in host.names("codec"):
        return component
    if "model" not in inspect.signature(host.load("codec", codec["name"])).parameters:
        return component
    return Component(component.name, {**component.parameters, "codec": {**codec, "model": str(folder)}})


def build_policy(component: Component, host: Host, layout: Layout, schedule: NoiseSchedule) -> TimestepPolicy:
    """A policy that has been tried: what it says of modalities may be wrong for the layout, and shows only when it draws.

    Raises:
        PluginError: if the plugin is missing or refuses its parameters, or what it draws has a wrong shape.
        RecipeError: if it cannot draw for this layout.
    """
    policy, keys = component.build(host, "policy"), random.example_keys(0, range(16))
    try:
        levels = policy.sample(layout, keys, num_levels=schedule.num_levels)
        policy.ties(layout)
    except (ValueError, KeyError) as error:
        raise RecipeError(f"the policy {component.name!r} does not fit the model: {error.args[0]}") from error
    check_shape(policy, "levels", levels, (len(keys), layout.M, layout.N))
    return policy


def layout_of(recipe: Recipe, modalities: dict[str, Modality]) -> Layout:
    """The layout of one clip of the recipe.

    Raises:
        RecipeError: if a codec cannot take a clip of this length.
    """
    tracks = []
    for name, modality in modalities.items():
        try:
            tracks.append(modality.track(name, recipe.seconds))
        except ValueError as error:
            raise RecipeError(f"recipe {recipe.name!r}: modality {name!r}: {error}") from error
    return Layout(tracks)
