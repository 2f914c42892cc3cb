"""A trained codec's folder: ``codec.safetensors`` and ``manifest.json``, which has its component, hash, steps and quality.

A codec whose decoder alone was trained on makes the same latents as the one that it started from. Its manifest then says so by
that one's hash, ``latents``, which is what stores and runs know a codec by.

That of a :class:`mmseqdiff.protocols.PretrainedCodec` has ``config.json``, too.
"""

import filecmp
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from mmseqdiff.data.files import replacing
from mmseqdiff.errors import CheckpointError, RunError
from mmseqdiff.protocols import PretrainedCodec
from mmseqdiff.train import checkpoint
from mmseqdiff.train.checkpoint import codec_hash

__all__ = ["FILES", "keep_codec", "latents_hash", "load_codec", "save_codec"]

FILES = ("codec.safetensors", "manifest.json", "config.json")
"""What of a codec's folder is needed to use it, the last for pretrained ones only; the rest is for resuming."""


def save_codec(codec: nn.Module, folder: Path, description: Mapping[str, Any]) -> None:
    """Writes ``codec.safetensors`` and its ``manifest.json``: the description, and the codec's hash.

    Raises:
        RunError: if they cannot be written.
    """
    if isinstance(codec, PretrainedCodec):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            codec.save_configuration(folder)
        except OSError as error:
            raise RunError(f"{folder} cannot be written: {error}") from error
    checkpoint.write_folder(folder, {"codec": codec.state_dict()}, {**description, "hash": codec_hash(codec)})


def keep_codec(codec: nn.Module, folder: Path | None, out: Path, modality: str) -> None:
    """Puts a codec into the folder ``out``: a copy of its own, or what a pretrained one was loaded as.

    Args:
        codec: with its weights.
        folder: where these came from; None if a pretrained codec found them by itself.
        out: gets the codec's files.
        modality: for the manifest.

    Raises:
        RunError: if it cannot be written.
    """
    if folder is None or not (folder / "manifest.json").is_file():
        save_codec(codec, out, {"modality": modality})
        return
    for file in FILES:
        if not (folder / file).is_file() or (
            (out / file).is_file() and filecmp.cmp(folder / file, out / file, shallow=False)
        ):
            continue
        with replacing(out / file, RunError) as temporary:
            shutil.copyfile(folder / file, temporary)


def load_codec(codec: nn.Module, folder: Path) -> str:
    """Loads trained weights into a codec; one that was built from a folder of another library has them already.

    Returns:
        The hash that its latents are known by: its own, or that of the codec that made the same latents before.

    Raises:
        CheckpointError: if the folder holds no codec, or one that is truncated, changed, or of another shape.
    """
    if isinstance(codec, PretrainedCodec) and not (folder / "manifest.json").is_file():
        return codec_hash(codec)
    expected = checkpoint.read_manifest(folder).get("hash")
    checkpoint.load_into(codec, checkpoint.load_group(folder, "codec"), str(folder))
    found = codec_hash(codec)
    if found != expected:
        raise CheckpointError(f"{folder}: the codec's hash is {found}, its manifest says {expected}: it was changed")
    return latents_hash(folder)


def latents_hash(folder: Path) -> str:
    """The hash that the latents of a folder's codec are known by.

    Raises:
        CheckpointError: if the folder holds no codec.
    """
    manifest = checkpoint.read_manifest(folder)
    try:
        return manifest.get("latents", manifest["hash"])
    except KeyError:
        raise CheckpointError(f"{folder / 'manifest.json'} is damaged: it does not say the codec's hash") from None
