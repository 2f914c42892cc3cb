"""Filling a latent store for a recipe: its codecs loaded, kept beside the latents, and vouched for by their hashes."""

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from mmseqdiff.assembly import build_modalities, layout_of
from mmseqdiff.data.encode import EncodeReport, encode_folder
from mmseqdiff.data.files import only_writer
from mmseqdiff.data.store import LatentStore
from mmseqdiff.data.workers import Crew
from mmseqdiff.errors import StoreError, UserError
from mmseqdiff.host import Host
from mmseqdiff.protocols import PretrainedCodec
from mmseqdiff.recipe import Recipe
from mmseqdiff.train.checkpoint import codec_hash
from mmseqdiff.train.codec_folder import keep_codec, load_codec

__all__ = ["encode_to_store", "encoded_with"]


def encoded_with(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe its latents depend on, in plain values: a store made with anything else is refused.

    The codecs are not in it: the store has their hashes, which hold wherever a codec was taken from.
    """
    values = json.loads(json.dumps(recipe.to_dict()))
    modalities = {
        name: {key: value for key, value in component.items() if key != "codec"}
        for name, component in values["modalities"].items()
    }
    return {"seconds": values["seconds"], "modalities": modalities}


def encode_to_store(
    recipe: Recipe,
    host: Host,
    folder: Path,
    codecs: Mapping[str, Path],
    out: Path,
    *,
    stride: Fraction | None = None,
    batch_size: int = 8,
    dtype: str | None = None,
    device: str = "cpu",
    crew: Crew | None = None,
) -> EncodeReport:
    """Encodes a folder of media files with trained codecs into the store ``out``, or completes it.

    Args:
        recipe: says what a clip is.
        host: builds the modalities.
        folder: of media files.
        codecs: modality → the folder of its codec; the weights are copied to ``OUT/codecs/<modality>``. A codec
            without weights, and a pretrained one whose ``model`` the recipe names, need none.
        out: the store.
        stride: seconds from one clip's start to the next; the clip's length where None.
        batch_size: clips encoded at once.
        dtype: how latents are stored, one of :data:`mmseqdiff.data.store.DTYPES`; None is the store's own.
        device: where to encode.
        crew: who encodes; this process where None.

    Raises:
        StoreError: if a codec is missing, or the store was made with another codec, layout, recipe or stride, or of
            another file of the same name, or another process writes to it.
        CheckpointError: if a codec is damaged or of another shape.
        MediaError: if the folder holds nothing to encode.
        RunError: if a worker dies; what is encoded is kept.
        UserError: if the stride is not positive.
    """
    if stride is not None and stride <= 0:
        raise UserError(f"the stride should be a positive number of seconds, got {float(stride):g}")
    modalities = build_modalities(recipe, host, codecs)
    layout = layout_of(recipe, modalities)
    for name, modality in modalities.items():
        by_itself = isinstance(modality.codec, PretrainedCodec) or not modality.codec.state_dict()
        if name not in codecs and not by_itself:
            raise StoreError(
                f"no codec was named for {name!r}: pass --codec {name}=FOLDER, as `mmseqdiff train-codec` made it"
            )
    hashes = {
        name: load_codec(modality.codec, codecs[name]) if name in codecs else codec_hash(modality.codec)
        for name, modality in modalities.items()
    }
    for modality in modalities.values():
        modality.codec.eval()
    how = {**encoded_with(recipe), "stride": str(recipe.seconds if stride is None else stride)}
    with only_writer(out, StoreError):
        store = LatentStore.create(out, layout, hashes, recipe=how, dtype=dtype)
        for name, modality in modalities.items():
            keep_codec(modality.codec, codecs.get(name), out / "codecs" / name, name)
        return encode_folder(
            folder,
            store,
            modalities,
            recipe.seconds,
            stride=stride,
            batch_size=batch_size,
            device=device,
            crew=crew,
        )
