"""From a folder of media files to a latent store."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import attrs
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from mmseqdiff.data.clips import Clip, ClipSampler, media_files
from mmseqdiff.data.store import LatentStore
from mmseqdiff.data.stream import in_seconds
from mmseqdiff.errors import MediaError
from mmseqdiff.layout import Interval
from mmseqdiff.modality import Modality

__all__ = ["EncodeReport", "encode_folder"]


_COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
)


@attrs.frozen
class EncodeReport:
    """What an encoding run did.

    Attributes:
        files: media files in the folder.
        added: clips added by this run.
        total: clips in the store now.
        left_out: file → why it, or the rest of it, is not in the store.
    """

    files: int
    added: int
    total: int
    left_out: Mapping[str, str]

    def __str__(self) -> str:
        lines = [
            f"{self.added} clips added, {self.total} in the store; {len(self.left_out)} of {self.files} files left out"
        ]
        return "\n".join(lines + [f"  {file}: {why}" for file, why in self.left_out.items()])


def encode_folder(
    folder: Path,
    store: LatentStore,
    modalities: Mapping[str, Modality],
    seconds: Fraction,
    *,
    known: Mapping[str, Sequence[Interval]] | None = None,
    stride: Fraction | None = None,
    seed: int | None = None,
    batch_size: int = 8,
    shard_size: int = 128,
    device: str = "cpu",
    progress: bool = True,
) -> EncodeReport:
    """Encodes every clip of every media file of a folder that the store does not hold yet.

    A file that cannot be read is left out and the reason kept; the clips before the fault stay, and the next run tries
    the file again. Interrupted at any moment, the store is whole and the next run goes on where it stopped: Ctrl-C
    first keeps what is already encoded, a kill loses at most ``shard_size`` clips of work.

    Args:
        folder: searched with its subfolders.
        store: where the raw latents go.
        modalities: name → modality, those of the store's layout.
        seconds: the length of a clip.
        known: modality → the stretches that are encoded, everything else being overwritten first; None encodes all.
        stride: from one clip's start to the next one's; None means ``seconds``.
        seed: shifts each file's clips at random; None starts at 0. See :class:`mmseqdiff.data.clips.ClipSampler`.
        batch_size: clips encoded at a time.
        shard_size: clips per commit, at least.
        device: where the codecs are.
        progress: shows a bar with an estimate on stderr.

    Raises:
        MediaError: if the folder has no media file.
        StoreError: if the disk is full or a codec gives latents that do not fit.
    """
    folder = Path(folder)
    paths, before = media_files(folder), len(store)
    with Progress(*_COLUMNS, console=Console(stderr=True), disable=not progress) as bars:
        sampler = ClipSampler(seconds, seconds if stride is None else stride, seed)
        looking = bars.add_task("looking at files", total=len(paths))
        stored, work, left_out = frozenset(store.clips()), {}, {}
        for path in paths:
            file = path.relative_to(folder).as_posix()
            if file not in store.done:
                try:
                    work[file] = [clip for clip in _clips(path, file, modalities, sampler) if clip not in stored]
                except MediaError as error:
                    left_out[file] = str(error)
            bars.advance(looking)

        encoding = bars.add_task("encoding clips", total=sum(map(len, work.values())))
        pending = _Pending(store, {file: len(clips) for file, clips in work.items()}, left_out)
        try:
            for clips, signals in _batches(folder, work, modalities, seconds, left_out, batch_size):
                pending.add(clips, _encode(signals, modalities, known or {}, device))
                bars.advance(encoding, len(clips))
                if len(pending) >= shard_size:
                    pending.commit()
        except KeyboardInterrupt:
            pending.commit()
            raise
        pending.commit()
    return EncodeReport(len(paths), len(store) - before, len(store), dict(store.left_out))


def _clips(path: Path, file: str, modalities: Mapping[str, Modality], sampler: ClipSampler) -> list[Clip]:
    """The clips that a file should give, going by its header."""
    durations = {name: modality.format.duration(path) for name, modality in modalities.items()}
    shortest = min(durations, key=durations.__getitem__)
    starts = sampler.starts(file, durations[shortest])
    if not starts:
        raise MediaError(
            f"{path} is too short: its {shortest} is {in_seconds(durations[shortest])} long, but a clip needs "
            f"{in_seconds(sampler.seconds)}"
        )
    return [Clip(file, start) for start in starts]


def _batches(
    folder: Path,
    work: Mapping[str, Sequence[Clip]],
    modalities: Mapping[str, Modality],
    seconds: Fraction,
    left_out: dict[str, str],
    batch_size: int,
) -> Iterator[tuple[list[Clip], dict[str, Tensor]]]:
    """Clips with their signals, modality → ``(batch, time, …)``; notes in ``left_out`` which files fail, and why."""
    clips, signals = [], []
    for file, wanted in work.items():
        for clip in wanted:
            try:
                signals.append({name: m.read(folder / file, clip.start, seconds) for name, m in modalities.items()})
            except MediaError as error:
                left_out[file] = str(error)
                break
            clips.append(clip)
            if len(clips) == batch_size:
                yield clips, {name: torch.stack([signal[name] for signal in signals]) for name in modalities}
                clips, signals = [], []
    if clips:
        yield clips, {name: torch.stack([signal[name] for signal in signals]) for name in modalities}


def _encode(
    signals: Mapping[str, Tensor],
    modalities: Mapping[str, Modality],
    known: Mapping[str, Sequence[Interval]],
    device: str,
) -> dict[str, Tensor]:
    return {
        name: modality.encode_raw(signals[name].to(device), known.get(name)).cpu()
        for name, modality in modalities.items()
    }


@attrs.define
class _Pending:
    """What is encoded but not yet in the store.

    Attributes:
        store: where it goes.
        remaining: file → clips of it that are not in the store yet; at 0 the file is done.
        left_out: file → why.
        batches: clips with their latents.
    """

    store: LatentStore
    remaining: dict[str, int]
    left_out: dict[str, str]
    batches: list[tuple[list[Clip], dict[str, Tensor]]] = attrs.field(factory=list)

    def __len__(self) -> int:
        return sum(len(clips) for clips, _ in self.batches)

    def add(self, clips: list[Clip], latents: dict[str, Tensor]) -> None:
        self.batches.append((clips, latents))

    def commit(self) -> None:
        # Taken out first: interrupted below, these clips are at worst encoded again, never stored twice.
        batches, self.batches = self.batches, []
        clips = [clip for clips, _ in batches for clip in clips]
        coming = Counter(clip.file for clip in clips)
        remaining = {file: count - coming[file] for file, count in self.remaining.items()}
        done = [file for file, count in remaining.items() if count == 0]
        latents = (
            {name: torch.cat([part[name] for _, part in batches]) for name in self.store.codecs} if batches else {}
        )
        self.store.commit(clips, latents, done=done, left_out=self.left_out)
        self.remaining = remaining
