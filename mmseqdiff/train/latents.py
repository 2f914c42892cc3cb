"""Filling a latent store for a recipe: its codecs loaded, kept beside the latents, and vouched for by their hashes."""

import shutil
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

from mmseqdiff.assembly import build_modalities, layout_of
from mmseqdiff.data.encode import EncodeReport, encode_folder
from mmseqdiff.data.store import LatentStore
from mmseqdiff.errors import StoreError
from mmseqdiff.host import Host
from mmseqdiff.recipe import Recipe
from mmseqdiff.train.codec import load_codec

__all__ = ["encode_to_store"]


def encode_to_store(
    recipe: Recipe,
    host: Host,
    folder: Path,
    codecs: Mapping[str, Path],
    out: Path,
    *,
    stride: Fraction | None = None,
    batch_size: int = 8,
    device: str = "cpu",
) -> EncodeReport:
    """Encodes a folder of media files with trained codecs into the store ``out``, or completes it.

    Args:
        recipe: says what a clip is.
        host: builds the modalities.
        folder: of media files.
        codecs: modality → the folder of its trained codec; the weights are copied to ``OUT/codecs/<modality>``.
        out: the store.
        stride: seconds from one clip's start to the next; the clip's length where None.
        batch_size: clips encoded at once.
        device: where to encode.

    Raises:
        StoreError: if a codec is missing, or the store was made with other codecs or another layout.
        CheckpointError: if a codec is damaged or of another shape.
        MediaError: if the folder holds nothing to encode.
    """
    modalities = build_modalities(recipe, host)
    layout = layout_of(recipe, modalities)
    for name in layout.modalities:
        if name not in codecs:
            raise StoreError(
                f"no codec was named for {name!r}: pass --codec {name}=FOLDER, as `mmseqdiff train-codec` made it"
            )
    hashes = {name: load_codec(modality.codec, codecs[name]) for name, modality in modalities.items()}
    for modality in modalities.values():
        modality.codec.to(device).eval()
    store = LatentStore.create(out, layout, hashes)
    for name in layout.modalities:
        (out / "codecs" / name).mkdir(parents=True, exist_ok=True)
        for file in ("codec.safetensors", "manifest.json"):
            if (codecs[name] / file).resolve() != (out / "codecs" / name / file).resolve():
                shutil.copyfile(codecs[name] / file, out / "codecs" / name / file)
    return encode_folder(folder, store, modalities, recipe.seconds, stride=stride, batch_size=batch_size, device=device)
