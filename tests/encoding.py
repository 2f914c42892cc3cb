"""Media that are numbers and codecs that are quick, for filling stores; importable in other processes too."""

import json
import os
import signal as signal_module
import time
from fractions import Fraction

import torch

from mmseqdiff.data.encode import encode_folder
from mmseqdiff.data.store import LatentStore
from mmseqdiff.errors import MediaError
from mmseqdiff.layout import Layout, Track, uniform_edges
from mmseqdiff.modality import Modality
from mmseqdiff.protocols import MediaFormat

SECONDS = Fraction(1)


class Numbers(MediaFormat):
    """A format whose files are JSON: how long they are, and from where on they cannot be read."""

    rate = Fraction(4)
    stream = None

    def shape(self, seconds):
        return (int(seconds * self.rate),)

    def duration(self, path):
        content = json.loads(path.read_text())
        if content is None:
            raise MediaError(f"{path} is not media")
        return Fraction(content["seconds"])

    def read(self, path, start, seconds):
        if start >= json.loads(path.read_text()).get("bad_from", float("inf")):
            raise MediaError(f"{path} is corrupt at {start} s")
        return torch.arange(4.0) + float(start) + 100 * ord(path.name[0])

    def fill(self, signal, known):
        return signal * bool(known)


class Halves(torch.nn.Module):
    def track(self, modality, shape, rate):
        return Track(modality, uniform_edges(shape[0] // 2, rate / 2), channels=2)

    def encode(self, signal):
        return signal.unflatten(1, (-1, 2)) / 2


def make_folder(folder, **contents):
    folder.mkdir()
    for name, content in contents.items():
        (folder / f"{name}.mp4").write_text(json.dumps(content))
    return folder


class Together(Halves):
    """Latents that depend on what else is in the batch, and take some seconds."""

    def __init__(self, pause=0.0):
        super().__init__()
        self.pause = pause

    def encode(self, signal):
        time.sleep(self.pause)
        return super().encode(signal) + signal.mean()


class Deadly(Halves):
    """Kills its process at the clips of the file ``d``."""

    def encode(self, signal):
        if (signal // 100 == ord("d")).any():
            os.kill(os.getpid(), signal_module.SIGKILL)
        return super().encode(signal)


def run(folder, at, codec=None, **options):
    """Fills the store ``at`` from a folder of numbers."""
    modalities = {"numbers": Modality(codec or Halves(), Numbers())}
    layout = Layout([modalities["numbers"].track("numbers", SECONDS)])
    latents = LatentStore.create(at, layout, {"numbers": "abc"})
    options = {"batch_size": 2, "shard_size": 4, "progress": False, **options}
    return encode_folder(folder, latents, modalities, SECONDS, **options), latents


def content(latents):
    """Every clip with its latents; a clip stored twice would show."""
    return list(zip(latents.clips(), latents.batch(range(len(latents)))["numbers"].tolist()))


def files_of(at):
    """Everything in a store's folder, byte for byte."""
    return {path.name: path.read_bytes() for path in at.iterdir()}


def run_alone(folder, at, pause, crew):
    """A run for a process of its own, which may be killed: small batches and shards, slowed down."""
    torch.set_num_threads(1)
    run(folder, at, Together(pause), crew=crew, batch_size=3, shard_size=8)


def squared(number):
    """A job."""
    return number * number
