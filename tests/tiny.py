"""A tiny model of the real architecture, in seconds: rendered clips, codecs as initialised, a denoiser of a few steps."""

from pathlib import Path

import torch
from rich.console import Console

from mmseqdiff.assembly import build_modalities
from mmseqdiff.host import Host
from mmseqdiff.testing.tiny import tiny_recipe
from mmseqdiff.train.codec_folder import save_codec
from mmseqdiff.train.denoiser import train_denoiser
from mmseqdiff.train.latents import encode_to_store


def tiny_clips(host: Host, folder: Path, count: int = 3) -> Path:
    """A folder of so many monologues with their ground truth."""
    host.build("dataset", "monologues", count=count, split="held_out", seconds="9/4").prepare(folder)
    return folder


def tiny_run(host: Host, folder: Path, clips: Path, *overrides: str) -> Path:
    """A run's folder, trained for two steps on the latents of some clips."""
    recipe = tiny_recipe(host, *overrides)
    torch.manual_seed(0)
    codecs = {name: folder / "codecs" / name for name in recipe.modalities}
    for name, modality in build_modalities(recipe, host).items():
        save_codec(modality.codec, codecs[name], {"modality": name})
    encode_to_store(recipe, host, clips, codecs, folder / "store")
    train_denoiser(recipe, host, folder / "store", folder / "run", console=Console(quiet=True))
    return folder / "run"
