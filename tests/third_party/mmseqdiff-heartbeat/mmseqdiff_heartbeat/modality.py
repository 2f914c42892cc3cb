"""A pulse curve at a few samples a second, kept as JSON beside a media file."""

import json
import math
from fractions import Fraction

import attrs
import torch

from mmseqdiff.errors import MediaError
from mmseqdiff.layout import Track, uniform_edges
from mmseqdiff.modality import Modality
from mmseqdiff.protocols import Codec, MediaFormat


@attrs.frozen
class PulseFormat(MediaFormat):
    rate: Fraction
    stream = None

    def shape(self, seconds):
        return (math.floor(seconds * self.rate),)

    def _values(self, path):
        beside = path.with_suffix(".heartbeat")
        if not beside.exists():
            raise MediaError(f"{path} has no {beside.name} beside it")
        return torch.tensor(json.loads(beside.read_text()), dtype=torch.float32)

    def duration(self, path):
        return len(self._values(path)) / self.rate

    def read(self, path, start, seconds):
        first = math.floor(start * self.rate)
        return self._values(path)[first : first + self.shape(seconds)[0]]

    def write(self, path, signal):
        path.write_text(json.dumps(signal.tolist()))

    def fill(self, signal, known):
        time = torch.arange(signal.shape[1]) / float(self.rate)
        keep = torch.zeros_like(time, dtype=torch.bool)
        for start, stop in known:
            keep |= (time >= float(start)) & (time + 1 / float(self.rate) <= float(stop))
        return torch.where(keep, signal, 0.0)


class PulsePairs(torch.nn.Module, Codec):
    """Two samples make a latent of two channels, by a learned rotation."""

    def __init__(self, angle: float = 0.3):
        super().__init__()
        self.angle = torch.nn.Parameter(torch.tensor(angle))

    def segments(self, length):
        return length // 2

    def track(self, modality, shape, rate):
        return Track(modality, uniform_edges(self.segments(shape[0]), rate / 2), (), 2)

    def _rotation(self, sign):
        c, s = torch.cos(self.angle), torch.sin(self.angle) * sign
        return torch.stack([torch.stack([c, -s]), torch.stack([s, c])])

    def encode(self, signal):
        return signal[:, : signal.shape[1] // 2 * 2].unflatten(1, (-1, 2)) @ self._rotation(1)

    def decode(self, latents):
        return (latents @ self._rotation(-1)).flatten(1)

    def training_loss(self, signal, keys):
        return {"error": (self.decode(self.encode(signal)) - signal).square().mean() + self.angle**2}


def heartbeat(codec: Codec, rate: Fraction) -> Modality:
    return Modality(codec, PulseFormat(rate))
