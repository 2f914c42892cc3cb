"""A run's folder: everything about one denoiser, in training and afterwards.

    RUN/recipe.toml             what is trained, and how
    RUN/codecs/<modality>/      the codecs that made its latents
    RUN/checkpoints/<step>/     weights, their average, and the optimiser's state; with calibration.json, numbers that
                                samplers took from them, where `mmseqdiff calibrate` was run
    RUN/tensorboard/            curves
    RUN/samples/                what it generated while it was trained

Every checkpoint's manifest describes the model: recipe, layout, prediction, schedule, policy, the statistics that
normalise the latents, and the codecs' hashes. What is built to load it must agree in all of these.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import torch

from mmseqdiff.assembly import Assembly
from mmseqdiff.data.files import replacing
from mmseqdiff.device import usable_device
from mmseqdiff.errors import CheckpointError, RecipeError, RunError
from mmseqdiff.host import Host
from mmseqdiff.layout import Layout
from mmseqdiff.modality import Statistics
from mmseqdiff.recipe import Recipe
from mmseqdiff.train import checkpoint
from mmseqdiff.train.codec_folder import FILES, load_codec
from mmseqdiff.values import difference

__all__ = [
    "describe",
    "load_codecs",
    "load_run",
    "prepare_run",
    "read_calibration",
    "saved_statistics",
    "with_statistics",
    "write_calibration",
]

CALIBRATION = "calibration.json"


def describe(assembly: Assembly, codecs: Mapping[str, str]) -> dict[str, Any]:
    """What the weights of an assembly mean, as plain values.

    Args:
        assembly: with the statistics that training uses.
        codecs: modality → hash.
    """
    recipe = assembly.recipe.to_dict()
    return {
        "recipe": recipe,
        "layout": _describe_layout(assembly.layout),
        "prediction": recipe["prediction"],
        "schedule": recipe["schedule"],
        "policy": recipe["policy"],
        "codecs": dict(codecs),
        "statistics": {
            name: {"mean": modality.statistics.mean.tolist(), "std": modality.statistics.std.tolist()}
            for name, modality in assembly.modalities.items()
        },
    }


def _describe_layout(layout: Layout) -> dict[str, Any]:
    return {
        track.modality: {
            "segments": track.segments,
            "grid": list(track.grid),
            "channels": track.channels,
            "edges": [str(edge) for edge in track.edges],
        }
        for track in layout.tracks
    }


def with_statistics(assembly: Assembly, statistics: Mapping[str, Statistics]) -> Assembly:
    """The same assembly, its modalities normalising by ``statistics``."""
    modalities = {name: value.with_statistics(statistics[name]) for name, value in assembly.modalities.items()}
    return attrs.evolve(assembly, modalities=modalities)


def saved_statistics(manifest: Mapping[str, Any]) -> dict[str, Statistics]:
    """Modality → the statistics that a checkpoint's weights were trained with."""
    return {
        name: Statistics(torch.tensor(values["mean"]), torch.tensor(values["std"]))
        for name, values in manifest["statistics"].items()
    }


def load_codecs(assembly: Assembly, folder: Path) -> dict[str, str]:
    """Loads every modality's codec from ``FOLDER/<modality>``; returns their hashes.

    Raises:
        CheckpointError: if one is missing, damaged or of another shape.
    """
    return {name: load_codec(modality.codec, folder / name) for name, modality in assembly.modalities.items()}


def prepare_run(run: Path, recipe: Recipe, codecs: Path) -> None:
    """Writes the recipe and copies the codecs into a new run's folder; checks the recipe of an old one.

    Args:
        run: the folder.
        recipe: what is about to be trained there.
        codecs: a folder with one codec per modality.

    Raises:
        RecipeError: if the run was started with another recipe; the first field that differs is named.
        RunError: if the folder cannot be written.
    """
    file = run / "recipe.toml"
    if file.is_file():
        before = Recipe.from_toml(file.read_text(encoding="utf-8"))
        reason = difference(before.to_dict(), recipe.to_dict())
        if reason:
            raise RecipeError(f"{run} was started with another recipe: there {reason}; choose another --out")
        return
    try:
        for name in recipe.modalities:
            shutil.copytree(codecs / name, run / "codecs" / name, dirs_exist_ok=True, ignore=_not_weights)
    except OSError as error:
        raise RunError(f"{run} cannot be written: {error}") from error
    with replacing(file, RunError) as temporary:  # last: from now on the folder is a run
        temporary.write_text(recipe.to_toml(), encoding="utf-8")


def _not_weights(folder: str, names: list[str]) -> list[str]:
    """What of a codec's folder only resuming its training needs."""
    return [name for name in names if name not in FILES]


def load_run(run: Path, host: Host, device: torch.device | str = "cpu", *, path: Path | None = None) -> Assembly:
    """A trained model, ready to sample: averaged weights, codecs and statistics.

    Args:
        run: its folder.
        host: builds its parts.
        device: where to put codecs and network.
        path: one of its checkpoints; the newest where None.

    Raises:
        CheckpointError: if there is no checkpoint, or one that is damaged or fits neither the layout that its recipe
            makes now nor the codecs that lie beside it.
        PluginError: if a plugin that the recipe names is missing.
        UserError: if the device cannot be used here.
    """
    place, path = usable_device(device), path or checkpoint.newest(run / "checkpoints")
    if path is None:
        raise CheckpointError(f"{run} holds no checkpoint; train one with `mmseqdiff train --out {run}`")
    manifest = checkpoint.read_manifest(path)
    try:
        assembly = Assembly.from_recipe(Recipe.from_dict(manifest["recipe"]), host, run / "codecs")
        assembly = with_statistics(assembly, saved_statistics(manifest))
    except KeyError as error:
        raise CheckpointError(f"{path / 'manifest.json'} is damaged: it says nothing of {error}") from error
    expected = describe(assembly, load_codecs(assembly, run / "codecs"))
    del expected["recipe"]  # it is the manifest's own, but for fields that recipes did not have yet
    checkpoint.check_description(manifest, expected, str(path))
    checkpoint.load_into(assembly.backbone, checkpoint.load_group(path, "ema"), str(path))
    for module in (assembly.backbone, *(modality.codec for modality in assembly.modalities.values())):
        module.to(place).eval().requires_grad_(False)
    latents = {key: expected[key] for key in ("codecs", "statistics")}
    return attrs.evolve(assembly, denoiser=attrs.evolve(assembly.denoiser, latents=latents))


def write_calibration(run: Path, calibration: Mapping[str, Mapping[str, Any]]) -> Path:
    """Keeps samplers' calibrated parameters beside the weights that they were measured with; returns the file.

    Raises:
        CheckpointError: if the run holds no checkpoint.
        RunError: if the file cannot be written.
    """
    path = checkpoint.newest(run / "checkpoints")
    if path is None:
        raise CheckpointError(f"{run} holds no checkpoint to keep a calibration with")
    checkpoint.write_json(path / CALIBRATION, calibration)
    return path / CALIBRATION


def read_calibration(run: Path) -> dict[str, dict[str, Any]]:
    """Sampler → its calibrated parameters, for the newest checkpoint; empty where nothing was calibrated.

    Raises:
        CheckpointError: if the file is damaged.
    """
    newest = checkpoint.newest(run / "checkpoints")
    if newest is None or not (newest / CALIBRATION).is_file():
        return {}
    try:
        content = json.loads((newest / CALIBRATION).read_text(encoding="utf-8"))
        return {sampler: dict(parameters) for sampler, parameters in content.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{newest / CALIBRATION} is damaged ({error}); delete it, and run `mmseqdiff calibrate` again"
        ) from None
