"""Our codecs beside well-known ones of the same kind and size: time for what they compute, and memory of a long clip.

    (1) speed    CPU seconds of encode and decode / floating-point operations counted     the minimum over interleaved repeats
    (2) memory   the most that is resident while a long clip is encoded and decoded, less what the built codec takes

All have their weights as initialised: neither time nor memory depends on them. A competitor encodes a long clip in the way
its own library has for it; where that wants the whole clip as one tensor, the tensor counts. Quantisers are left out.
"""

import importlib.util
import multiprocessing
import re
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import attrs
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmseqdiff.bench.codec_report import CodecReport, Measured
from mmseqdiff.errors import UserError
from mmseqdiff.host import load_plugins
from mmseqdiff.protocols import StreamingCodec

__all__ = ["COMPETITORS", "KINDS", "Contender", "Size", "bench_codec", "build"]

OURS = {"video": "magvit2", "audio": "soundstream"}
KINDS = tuple(OURS)
"""What there are codecs of."""
COMPETITORS = {
    "video": {"diffusers AutoencoderKLMagvit": "diffusers", "magvit2-pytorch": "magvit2_pytorch"},
    "audio": {"transformers EnCodec": "transformers"},
}
"""Kind → competitor → the package that it comes from."""

AUDIO_RATE = 16000
VIDEO_RATE = 8


@attrs.frozen
class Size:
    """How large codecs and clips are.

    Attributes:
        channels: of the first layer; for the video codecs a multiple of 8.
        blocks: residual blocks at every resolution of the video codecs.
        pixels: rows and columns of the video.
        frames: of the video that is timed, 1 + 4 n.
        audio_seconds: of the sound that is timed.
    """

    channels: int = 32
    blocks: int = 2
    pixels: int = 64
    frames: int = 17
    audio_seconds: int = 2

    def clip(self, kind: str, seconds: int | None = None) -> tuple[int, ...]:
        """The shape ``(time, …)`` of the clip that is timed, or of one of so many seconds."""
        if kind == "audio":
            return ((self.audio_seconds if seconds is None else seconds) * AUDIO_RATE,)
        return (self.frames if seconds is None else 1 + VIDEO_RATE * seconds, self.pixels, self.pixels, 3)


@attrs.frozen(eq=False)
class Contender:
    """A codec, as what it does to a clip ``(1, time, …)``.

    Attributes:
        module: its weights.
        encode: clip → latents, in whatever form.
        decode: those → the clip.
    """

    module: nn.Module
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]

    def __call__(self, clip: Tensor) -> None:
        """There and back, at once."""
        self.decode(self.encode(clip))

    def long(self, shape: tuple[int, ...]) -> None:
        """There and back for a long clip of this shape, in this codec's own way."""
        if not isinstance(self.module, StreamingCodec):
            return self(torch.rand(1, *shape))
        first, other = self.module.segment_lengths
        step = other * (1 if len(shape) > 1 else 50)  # one latent of video, a second of sound
        encoded, decoded, done = None, None, 0
        while done < shape[0]:
            length = min(step if done else first + step - other, shape[0] - done)
            latents, encoded = self.module.encode_chunk(torch.rand(1, length, *shape[1:]), encoded)
            _, decoded = self.module.decode_chunk(latents, decoded)
            done += length
        return None


def _ours(kind: str, size: Size) -> Contender:
    parameters = {
        "video": {"blocks": size.blocks, "multipliers": [1, 2, 4, 4], "latent_channels": 8},
        "audio": {"latent_channels": 128},
    }
    codec = load_plugins().build("codec", OURS[kind], channels=size.channels, **parameters[kind])
    return Contender(codec, codec.encode, codec.decode)


def _diffusers(kind: str, size: Size) -> Contender:
    from diffusers import AutoencoderKLMagvit

    widths = [size.channels * multiplier for multiplier in (1, 2, 4, 4)]
    codec = AutoencoderKLMagvit(
        latent_channels=8, block_out_channels=widths, layers_per_block=size.blocks, norm_num_groups=8
    )
    return Contender(
        codec,
        lambda clip: codec.encode(clip.movedim(-1, 1)).latent_dist.mode(),
        lambda latents: codec.decode(latents).sample.movedim(1, -1),
    )


def _magvit2_pytorch(kind: str, size: Size) -> Contender:
    from magvit2_pytorch import VideoTokenizer

    # Its example has the same three halvings, the last two of them in time as well; without its attention.
    blocks = ("consecutive_residual", size.blocks)
    codec = VideoTokenizer(
        image_size=size.pixels,
        init_dim=size.channels,
        codebook_size=2**8,
        layers=("residual", "compress_space", blocks, "compress_space", blocks, "compress_space", blocks,
                "compress_time", blocks, "compress_time", blocks),
        use_gan=False,
        perceptual_loss_weight=0.0,
    )  # fmt: skip
    return Contender(
        codec,
        lambda clip: codec.encode(clip.movedim(-1, 1), quantize=False),
        lambda latents: codec.decode(latents).movedim(1, -1),
    )


def _encodec(kind: str, size: Size) -> Contender:
    from transformers import EncodecConfig, EncodecModel

    config = EncodecConfig(sampling_rate=AUDIO_RATE, num_filters=size.channels, hidden_size=128)
    codec = EncodecModel(config)
    return Contender(codec, lambda clip: codec.encoder(clip[:, None]), lambda latents: codec.decoder(latents)[:, 0])


_BUILDERS = {
    "diffusers AutoencoderKLMagvit": _diffusers,
    "magvit2-pytorch": _magvit2_pytorch,
    "transformers EnCodec": _encodec,
}


def build(kind: str, name: str, size: Size) -> Contender:
    """One contender: ``"magvit2"`` or ``"soundstream"``, or one of :data:`COMPETITORS`; not training."""
    made = _BUILDERS.get(name, _ours)(kind, size)
    made.module.eval().requires_grad_(False)
    return made


def count(contender: Contender, clip: Tensor) -> int:
    """The floating-point operations of :class:`Contender` on a clip, two for every multiplication with an addition."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of settings that are put back as they were
        # oneDNN does several operations as one, which the counter does not know.
        with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
            contender(clip)
    return counter.get_total_flops()


def bench_codec(
    kinds: Sequence[str] = KINDS,
    size: Size = Size(),
    repeats: int = 5,
    seconds: int = 60,
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> CodecReport:
    """Measures all codecs of these kinds that are installed.

    Args:
        kinds: of :data:`KINDS`.
        size: of codecs and clips.
        repeats: interleaved, so that what else the machine does harms all alike.
        seconds: of the long clip; 0 leaves it out.
        progress: wraps the iteration over kinds.

    Raises:
        UserError: if a kind is unknown.
    """
    for kind in kinds:
        if kind not in OURS:
            raise UserError(f"there is no kind of codec {kind!r} to bench; there are {', '.join(KINDS)}")
    names = {kind: [OURS[kind]] for kind in kinds}
    missing: list[str] = []
    for kind in kinds:
        for name, package in COMPETITORS[kind].items():
            (names[kind] if importlib.util.find_spec(package) else missing).append(name)
    measured: list[Measured] = []
    for kind in progress(kinds):
        contenders = {name: build(kind, name, size) for name in names[kind]}
        clip = torch.rand(1, *size.clip(kind))
        times = _times(contenders, clip, repeats)
        for name, contender in contenders.items():
            weights = sum(weight.numel() for weight in contender.module.parameters())
            operations = count(contender, clip)
            memory = _in_a_process(kind, name, size, seconds) if seconds else None
            measured.append(Measured(kind, name, weights, operations, tuple(times[name]), memory))
    return CodecReport(tuple(measured), tuple(missing), attrs.asdict(size), seconds, torch.get_num_threads())


@torch.no_grad()
def _times(contenders: Mapping[str, Contender], clip: Tensor, repeats: int) -> dict[str, list[float]]:
    """CPU seconds of every repeat, of all threads: what else a machine does hardly counts. The first round is left out."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(repeats + 1):
        for name, contender in contenders.items():
            begin = time.process_time()
            contender(clip)
            if repeat:
                times[name].append(time.process_time() - begin)
    return times


def _in_a_process(kind: str, name: str, size: Size, seconds: int) -> int | None:
    """Eq. (2) in bytes, measured in a process of its own; None where the system does not tell."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_peak, args=(sender, kind, name, size, seconds, torch.get_num_threads()))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        return None
    finally:
        process.join()


@torch.no_grad()
def _peak(sender, kind: str, name: str, size: Size, seconds: int, threads: int) -> None:
    torch.set_num_threads(threads)
    contender = build(kind, name, size)
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    contender.long(size.clip(kind, seconds))
    sender.send(_resident("VmHWM") - before)


def _resident(field: str) -> int:
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1])
