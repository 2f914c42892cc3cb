"""Checkpoints: a folder of safetensors files and a JSON manifest that says what they are.

    FOLDER/00001000/manifest.json           format, step, description, and of every file its size, hash and tensors
    FOLDER/00001000/weights.safetensors     one file per group of tensors

A checkpoint appears whole or not at all: it is written under a temporary name and then renamed. Nothing is unpickled.
The description is what the tensors mean (recipe, layout, codecs …); loading compares it with what is expected, so that
training and generating cannot disagree.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mmseqdiff.data.files import replacing
from mmseqdiff.errors import CheckpointError, RecipeError, RunError
from mmseqdiff.recipe import CodecTraining, Recipe, completed
from mmseqdiff.values import difference

__all__ = [
    "FORMAT", "check_description", "codec_hash", "load_group", "load_into", "newest", "read_manifest",
    "save", "write_folder", "write_json",
]  # fmt: skip

FORMAT = 1
"""The version of the manifest; a newer one is refused."""

Group = Mapping[str, Tensor]
"""Tensors by name."""

_STEP = re.compile(r"\d{8,}")
_PARTIAL = ".partial-"
"""Starts the name of what is not yet whole; such leftovers of a killed run are written over."""


def codec_hash(codec: nn.Module) -> str:
    """SHA-256 over the sorted names, types, shapes and bytes of a codec's state dict: what identifies its weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(codec.state_dict().items()):
        data = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {data.dtype} {tuple(data.shape)}\n".encode())
        digest.update(data.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file, lists of numbers on one line.

    Raises:
        RunError: if it cannot be written.
    """
    # A string of JSON has no line break in it, so none is changed.
    text = re.sub(r"\[\n[\d\s,.e+-]*\]", lambda numbers: " ".join(numbers[0].split()), json.dumps(value, indent=1))
    with replacing(path, RunError) as temporary:
        temporary.write_text(f"{text}\n", encoding="utf-8")


def save(
    folder: Path, step: int, groups: Mapping[str, Group], description: Mapping[str, Any], *, keep: int = 2
) -> Path:
    """Writes the checkpoint ``FOLDER/<step>`` and removes all but the newest ``keep``.

    Args:
        folder: where the checkpoints of a run lie; made if it does not exist.
        step: optimiser steps done.
        groups: what to save, one file each.
        description: what the tensors mean: plain values, as JSON has them.
        keep: how many checkpoints stay.

    Raises:
        RunError: if it cannot be written, on a full disk for example. Earlier checkpoints are then as they were.
    """
    final = folder / f"{step:08d}"
    partial = folder / f"{_PARTIAL}{final.name}"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        write_folder(partial, groups, {"step": step, **description})
        shutil.rmtree(final, ignore_errors=True)  # only ever the same step, written again
        os.replace(partial, final)
    except (RunError, OSError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        last = newest(folder)
        kept = f"the last one is {last}" if last else "there is none yet"
        raise RunError(
            f"{final} could not be written ({error}); {kept}. Make room and start again to resume"
        ) from error
    for old in _checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def write_folder(folder: Path, groups: Mapping[str, Group], description: Mapping[str, Any]) -> None:
    """Writes groups of tensors, each under a temporary name first, and last of all the manifest that vouches for them.

    Raises:
        RunError: if they cannot be written, on a full disk for example.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = {
            f"{name}.safetensors": _write_group(folder / f"{name}.safetensors", group) for name, group in groups.items()
        }
        write_json(folder / "manifest.json", {"format": FORMAT, **description, "files": files})
    except (OSError, SafetensorError) as error:
        raise RunError(f"{folder} cannot be written: {error}") from error


def _write_group(path: Path, group: Group) -> dict[str, Any]:
    """Writes one file; what the manifest says about it."""
    # Cloned, because safetensors refuses tensors that share memory, as tied weights do; sorted, so that equal states
    # make equal files.
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in sorted(group.items())
    }
    with replacing(path, RunError) as temporary:
        save_file(tensors, temporary)
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    return {"bytes": path.stat().st_size, "sha256": _file_hash(path), "tensors": shapes}


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checkpoints(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _STEP.fullmatch(path.name)), key=lambda path: int(path.name))


def newest(folder: Path) -> Path | None:
    """The checkpoint of the highest step in ``folder``, or None."""
    return next(reversed(_checkpoints(folder)), None)


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the checkpoint folder ``path``.

    Raises:
        CheckpointError: if there is none, it is not JSON, or it is of a newer format.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        version = manifest["format"]
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is no checkpoint: it has no manifest.json") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path / 'manifest.json'} is damaged: {error}") from error
    if version > FORMAT:
        raise CheckpointError(
            f"{path} has format {version}, this version reads up to {FORMAT}: install a newer mmseqdiff"
        )
    return manifest


def load_group(path: Path, group: str) -> dict[str, Tensor]:
    """The tensors of one group of the checkpoint ``path``, checked against its manifest.

    Raises:
        CheckpointError: if the group is missing, truncated or changed.
    """
    name = f"{group}.safetensors"
    entry, file = read_manifest(path)["files"].get(name), path / name
    if entry is None or not file.is_file():
        raise CheckpointError(f"checkpoint {path} has no {name}")
    size = file.stat().st_size
    if size != entry["bytes"]:
        raise CheckpointError(f"{file} is truncated or too long: {size} bytes, expected {entry['bytes']}")
    if _file_hash(file) != entry["sha256"]:
        raise CheckpointError(f"{file} was changed: its hash is not the manifest's")
    tensors = load_file(file)
    if {key: list(tensor.shape) for key, tensor in tensors.items()} != entry["tensors"]:
        raise CheckpointError(f"{file} does not hold the tensors that its manifest lists")
    return tensors


def load_into(module: nn.Module, tensors: Group, where: str) -> None:
    """Copies tensors into a module, which must have exactly these.

    Raises:
        CheckpointError: naming the first tensor that is missing, unknown or of another shape; the message starts
            with ``where``.
    """
    own = module.state_dict()
    for name in own:
        if name not in tensors:
            raise CheckpointError(f"{where}: tensor {name!r} is missing; it was made for another network")
        if tensors[name].shape != own[name].shape:
            shapes = f"{tuple(tensors[name].shape)}, expected {tuple(own[name].shape)}"
            raise CheckpointError(f"{where}: tensor {name!r} has shape {shapes}; it was made for another network")
    for name in tensors:
        if name not in own:
            raise CheckpointError(f"{where}: there is no place for tensor {name!r}; it was made for another network")
    module.load_state_dict(tensors)


_COMPLETED = {"recipe": Recipe, "codec_training": CodecTraining}
"""Entries of a description that are the plain values of a class."""


def check_description(manifest: Mapping[str, Any], expected: Mapping[str, Any], where: str) -> None:
    """Refuses a checkpoint whose description differs from what is expected, key by key of ``expected``.

    A field of the recipe that is newer than the checkpoint had its default.

    Raises:
        CheckpointError: naming the first field that differs; ``where`` starts the message.
    """
    plain = json.loads(json.dumps(expected))  # tuples become lists, as they did in the manifest
    for key, value in plain.items():
        found = manifest.get(key)
        if key in _COMPLETED and isinstance(found, Mapping):
            with suppress(RecipeError):  # what cannot be read differs, and is said to
                found = json.loads(json.dumps(completed(found, _COMPLETED[key])))
        reason = difference(found, value, key)
        if reason:
            raise CheckpointError(f"{where} was made with another {key.replace('_', ' ')}: {reason}")
