"""A tiny world to train in: two modalities of vectors, a linear network, and stores of random latents."""

import sys
from fractions import Fraction
from pathlib import Path

import attrs
import torch
from torch import Tensor, nn

from mmseqdiff import random
from mmseqdiff.assembly import Assembly
from mmseqdiff.data.clips import Clip
from mmseqdiff.data.store import LatentStore
from mmseqdiff.host import Host, hookimpl
from mmseqdiff.layout import Layout, Track, uniform_edges
from mmseqdiff.modality import Modality
from mmseqdiff.protocols import Codec, MediaFormat, NoiseSchedule, Task, TimestepPolicy
from mmseqdiff.recipe import Component, Recipe, Training
from mmseqdiff.timesteps import expand
from mmseqdiff.train.checkpoint import codec_hash
from mmseqdiff.train.codec_folder import save_codec
from mmseqdiff.train.denoiser import train_denoiser

LAYOUT = Layout([Track("slow", uniform_edges(2, 2), (3,), 2), Track("fast", uniform_edges(5, 5), (), 3)])


class PairCodec(nn.Module, Codec):
    """A linear map of pairs of numbers: (B, 2n) ↔ (B, n, channels)."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.channels = channels
        self.encoder, self.decoder = nn.Linear(2, channels), nn.Linear(channels, 2)

    def segments(self, length: int) -> int:
        if length % 2:
            raise ValueError(f"this codec takes even lengths, not {length}")
        return length // 2

    def track(self, modality: str, shape: tuple[int, ...], rate: Fraction) -> Track:
        return Track(modality, uniform_edges(self.segments(shape[0]), rate / 2), (), self.channels)

    def encode(self, signal: Tensor) -> Tensor:
        return self.encoder(signal.unflatten(1, (-1, 2)))

    def decode(self, latents: Tensor) -> Tensor:
        return self.decoder(latents).flatten(1)

    def training_loss(self, signal: Tensor, keys: Tensor, *, adversary: nn.Module | None = None) -> dict[str, Tensor]:
        reconstruction = self.decode(self.encode(signal))
        error = (reconstruction - signal).square().mean()
        terms = {"twice": 2 * error, "noise": 0 * random.uniform(keys, "noise").mean() + error}
        if adversary is not None:
            terms["deceive"] = -adversary(reconstruction, moves=False).mean()
            terms["adversary/tell"] = (adversary(reconstruction.detach()) - adversary(signal)).mean()
        return terms

    def adversary(self, shape: tuple[int, ...]) -> nn.Module:
        return Judge(*shape)

    def image_codec(self) -> nn.Module:
        return OnePairCodec(self.channels)

    def inflate_from(self, image_codec: nn.Module) -> None:
        self.load_state_dict(image_codec.inner.state_dict())


class Judge(nn.Module):
    """An adversary with a bounded opinion, dropout and a memory."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Dropout(0.2), nn.Linear(length, 1))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, signal: Tensor, *, moves: bool = True) -> Tensor:
        self.calls += moves
        weights = dict(self.layers.named_parameters())
        if not moves:
            weights = {name: value.detach() for name, value in weights.items()}
        return torch.func.functional_call(self.layers, weights, signal / 40).tanh()


class SumPerceptual(nn.Module):
    def forward(self, signal: Tensor) -> Tensor:
        return signal.sum(1, keepdim=True)


class OnePairCodec(nn.Module):
    """The same for one number, which is repeated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = PairCodec(channels)

    def training_loss(self, signal: Tensor, keys: Tensor) -> dict[str, Tensor]:
        assert signal.shape[1] == 1
        return self.inner.training_loss(signal.expand(-1, 2), keys)


@attrs.frozen
class LineFormat(MediaFormat):
    """Numbers in text files, one a line."""

    rate: Fraction = Fraction(4)
    stream = None

    def shape(self, seconds: Fraction) -> tuple[int]:
        return (int(seconds * self.rate),)

    def read(self, path: Path, start: Fraction, seconds: Fraction) -> Tensor:
        values = torch.tensor([float(line) for line in path.read_text().split()])
        begin = int(start * self.rate)
        return values[begin : begin + self.shape(seconds)[0]]

    def duration(self, path: Path) -> Fraction:
        return len(path.read_text().split()) / self.rate


def line_modality(codec: Codec, rate: int = 4) -> Modality:
    return Modality(codec=codec, format=LineFormat(Fraction(rate)))


class LinearBackbone(nn.Module):
    """Per modality one linear map of its tokens, the other modalities' mean, the level and the self-condition."""

    def __init__(self, layout, gain: float = 0.3) -> None:
        super().__init__()
        self.layout = layout
        context = sum(track.channels for track in layout.tracks)
        self.maps = nn.ModuleDict(
            {track.modality: nn.Linear(2 * track.channels + context + 1, track.channels) for track in layout.tracks}
        )
        for module in self.maps.values():
            nn.init.normal_(module.weight, std=gain)

    def forward(self, z: dict, t: Tensor, *, self_condition: dict | None = None) -> dict[str, Tensor]:
        context = torch.cat([value.flatten(1, -2).mean(1) for value in z.values()], -1)
        rows, out = self.layout.split(t), {}
        for name, value in z.items():
            shape = value.shape[:-1]
            parts = [
                value,
                torch.zeros_like(value) if self_condition is None else self_condition[name],
                context.view(len(value), *(1,) * (value.ndim - 2), -1).expand(*shape, -1),
                (expand(rows[name], value) / 1000).expand(*shape, 1),
            ]
            out[name] = self.maps[name](torch.cat(parts, -1)).tanh()
        return out


class LineSchedule(NoiseSchedule):
    """alpha_bar = 1 − t / T, for T = 8 levels; or as far as 1 − ``depth``."""

    def __init__(self, num_levels: int = 8, depth: float = 0.99) -> None:
        self.num_levels, self.depth = num_levels, depth

    def alpha(self, t: Tensor) -> Tensor:
        return (1 - self.depth * t / self.num_levels).sqrt()

    def sigma(self, t: Tensor) -> Tensor:
        return (self.depth * t / self.num_levels).sqrt()


@attrs.frozen
class HalfPolicy(TimestepPolicy):
    """All cells alike; or, one time in four, the first modality clean and the others alike."""

    def sample(self, layout: Layout, keys: Tensor, *, num_levels: int) -> Tensor:
        t = random.integers(keys, "level", 1, num_levels)[:, None, None] * layout.valid.to(keys.device).float()
        t[self.component(keys) == 1, 0] = 0
        return t

    @property
    def components(self) -> tuple[str, ...]:
        return ("alike", "given")

    def component(self, keys: Tensor) -> Tensor:
        return (random.uniform(keys, "half") < 0.25).long()


@attrs.frozen
class GivenFirst(Task):
    def given(self, layout: Layout) -> Tensor:
        given = layout.valid.clone()
        given[1:] = False
        return given


class Plugin:
    @hookimpl
    def register(self, add) -> None:
        for kind, name, attribute in (
            ("codec", "pair", "PairCodec"),
            ("modality", "line", "line_modality"),
            ("backbone", "linear", "LinearBackbone"),
            ("schedule", "line", "LineSchedule"),
            ("policy", "half", "HalfPolicy"),
            ("task", "given_first", "GivenFirst"),
            ("perceptual", "sum", "SumPerceptual"),
            ("perceptual", "missing", "NothingOfThisName"),
        ):
            add(kind, name, f"train_fakes:{attribute}")


def fake_host() -> Host:
    host = Host()
    host.add_plugin(Plugin(), "fakes")
    return host


def fake_recipe(**training) -> Recipe:
    defaults = {
        "steps": 12,
        "batch_size": 4,
        "learning_rate": 0.01,
        "warmup_steps": 3,
        "checkpoint_every": 4,
        "validate_every": 6,
    }
    return Recipe(
        name="fake",
        seconds=Fraction(2),
        modalities={
            "slow": Component("line", {"codec": {"name": "pair", "channels": 2}, "rate": 2}),
            "fast": Component("line", {"codec": {"name": "pair", "channels": 3}, "rate": 5}),
        },
        backbone=Component("linear"),
        schedule=Component("line"),
        policy=Component("half"),
        training=Training(**(defaults | training)),
    )


def fake_store(folder: Path, clips: int = 30, seed: int = 0) -> Path:
    """A store of random latents of the fake recipe, with the codecs that could have made them."""
    torch.manual_seed(seed)
    assembly = Assembly.from_recipe(fake_recipe(), fake_host())
    for name, modality in assembly.modalities.items():
        save_codec(modality.codec, folder / "codecs" / name, {"modality": name})
    hashes = {name: codec_hash(modality.codec) for name, modality in assembly.modalities.items()}
    store = LatentStore.create(folder, assembly.layout, hashes)
    latents = {track.modality: 2 + 3 * torch.randn(clips, *track.shape) for track in assembly.layout.tracks}
    store.commit([Clip(f"{i}.txt", Fraction(0)) for i in range(clips)], latents)
    return folder


if __name__ == "__main__":  # a training run to be killed, or one of several processes: STORE RUN [steps=… …]
    torch.set_num_threads(1)
    store, run, *overrides = sys.argv[1:]
    train_denoiser(
        fake_recipe().override([f"training.{entry}" for entry in overrides]), fake_host(), Path(store), Path(run)
    )
