"""From a folder of media files to a latent store."""

import copy
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import attrs
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mmseqdiff.data.clips import Clip, ClipSampler, media_files
from mmseqdiff.data.store import LatentStore
from mmseqdiff.data.stream import in_seconds
from mmseqdiff.data.workers import Crew, Here
from mmseqdiff.errors import MediaError, RunError, StoreError, UserError
from mmseqdiff.modality import Modality
from mmseqdiff.progress import progress_bars

__all__ = ["EncodeReport", "encode_folder"]


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
    stride: Fraction | None = None,
    batch_size: int = 8,
    shard_size: int = 128,
    device: str = "cpu",
    crew: Crew | None = None,
    progress: bool = True,
) -> EncodeReport:
    """Encodes every clip of every media file of a folder that the store does not hold yet.

    A file that cannot be read is left out and the reason kept; the clips before the fault stay, and the next run tries
    the file again. Interrupted at any moment, the store is whole and the next run goes on where it stopped: Ctrl-C
    first keeps what is already encoded, a kill loses at most ``shard_size`` clips of work. Batches and shards are the
    same whoever encodes, and after a kill: workers encode, this process alone commits, in the order of the clips.

    Args:
        folder: searched with its subfolders.
        store: where the raw latents go.
        modalities: name → modality, those of the store's layout.
        seconds: the length of a clip.
        stride: from one clip's start to the next one's; None means ``seconds``.
        batch_size: clips encoded at a time.
        shard_size: clips per commit, at least.
        device: where the codecs run; they are moved there.
        crew: who encodes; this process where None. Workers have one thread each, and numbers may depend on that.
        progress: shows a bar with an estimate on stderr.

    Raises:
        MediaError: if the folder has no media file.
        StoreError: if the disk is full, a codec gives latents that do not fit, or a file that is in the store has changed.
        RunError: if a worker dies; what is encoded is kept.
        UserError: if the batch size is not positive.
    """
    if batch_size < 1:
        raise UserError(f"clips are encoded one at a time or more, not {batch_size}")
    folder = Path(folder)
    paths, before = media_files(folder), len(store)
    sampler = ClipSampler(seconds, seconds if stride is None else stride)
    encoder = _Encoder(folder.absolute(), modalities, seconds, device)
    with (
        progress_bars(disable=not progress) as bars,
        (crew or Here()).at(encoder) as encode,
    ):
        looking = bars.add_task("looking at files", total=len(paths))
        stored, plan, left_out, sizes = _by_file(store.clips()), {}, {}, {}
        for path in paths:
            file = path.relative_to(folder).as_posix()
            sizes[file] = _size(path, modalities)
            try:
                _refuse_another(path, sizes[file], store.sizes.get(file), store)
                plan[file] = stored[file] if file in store.done else _clips(path, file, modalities, sampler)
            except MediaError as error:
                left_out[file] = str(error)
            bars.advance(looking)

        batches = _batches(plan, stored, batch_size)
        encoding = bars.add_task("encoding clips", total=sum(map(len, batches)))
        remaining = {file: len(set(clips) - set(stored[file])) for file, clips in plan.items()}
        pending = _Pending(store, remaining, left_out, sizes)
        try:
            for encoded in encode(batch for batch in batches if not all(clip.file in left_out for clip in batch)):
                pending.add(encoded)
                bars.advance(encoding, encoded.tried)
                if len(pending) >= shard_size:
                    pending.commit()
        except (KeyboardInterrupt, RunError):
            pending.commit()
            raise
        pending.commit()
    return EncodeReport(len(paths), len(store) - before, len(store), dict(store.left_out))


def _size(path: Path, modalities: Mapping[str, Modality]) -> int:
    """Bytes of a media file, and of what the modalities read beside it."""
    files = {path}.union(*(modality.format.files(path) for modality in modalities.values()))
    return sum(file.stat().st_size for file in files if file.is_file())


def _refuse_another(path: Path, size: int, before: int | None, store: LatentStore) -> None:
    """Raises StoreError if a file is not the one that is in the store under its name."""
    if before not in (None, size):
        raise StoreError(
            f"{store.folder} holds another {path.name}: it had {before} bytes when it was encoded, {path} has {size} (with what is "
            "read beside it); encode into another folder, or delete this one and encode again"
        )


def _by_file(clips: Iterable[Clip]) -> defaultdict[str, list[Clip]]:
    files = defaultdict(list)
    for clip in clips:
        files[clip.file].append(clip)
    return files


def _clips(path: Path, file: str, modalities: Mapping[str, Modality], sampler: ClipSampler) -> list[Clip]:
    """The clips that a file should give, going by its header."""
    durations = {name: modality.format.duration(path) for name, modality in modalities.items()}
    shortest = min(durations, key=durations.__getitem__)
    starts = sampler.starts(durations[shortest])
    if not starts:
        raise MediaError(
            f"{path} is too short: its {shortest} is {in_seconds(durations[shortest])} long, but a clip needs "
            f"{in_seconds(sampler.seconds)}"
        )
    return [Clip(file, start) for start in starts]


def _batches(plan: Mapping[str, Sequence[Clip]], stored: Mapping[str, Sequence[Clip]], size: int) -> list[list[Clip]]:
    """All clips of the folder in batches of ``size``, less what the store holds already.

    What is encoded together does not depend on what was encoded before: a codec's numbers may depend on the batch.
    """
    clips = [clip for file in plan.values() for clip in file]
    held = {clip for file in stored.values() for clip in file}
    batches = ([clip for clip in clips[n : n + size] if clip not in held] for n in range(0, len(clips), size))
    return [batch for batch in batches if batch]


@attrs.frozen
class _Encoded:
    """One batch, done.

    Attributes:
        tried: how many clips it had.
        clips: those of them that could be read.
        latents: modality → array, one row for each of ``clips``.
        faults: file → why it could not be read from some clip of the batch on.
    """

    tried: int
    clips: list[Clip]
    latents: dict[str, np.ndarray]
    faults: dict[str, str]


@attrs.frozen
class _Encoder:
    """A worker's part: clips in, latents out. What it gives depends on the clips alone."""

    folder: Path
    modalities: Mapping[str, Modality]
    seconds: Fraction
    device: str

    def __reduce__(self) -> tuple:
        """For another process."""
        modalities = {
            name: attrs.evolve(each, codec=_plain(each.codec)) if isinstance(each.codec, nn.Module) else each
            for name, each in self.modalities.items()
        }
        return _Encoder, (self.folder, modalities, self.seconds, self.device)

    def __call__(self, batch: list[Clip]) -> _Encoded:
        clips, signals, faults = [], [], {}
        for clip in batch:
            if clip.file in faults:
                continue
            try:
                signals.append({name: self._read(modality, clip) for name, modality in self.modalities.items()})
                clips.append(clip)
            except MediaError as error:
                faults[clip.file] = str(error)
        latents = {name: self._encode(name, [signal[name] for signal in signals]) for name in self.modalities if clips}
        return _Encoded(len(batch), clips, latents, faults)

    def _read(self, modality: Modality, clip: Clip) -> Tensor:
        return modality.read(self.folder / clip.file, clip.start, self.seconds)

    def _encode(self, name: str, signals: list[Tensor]) -> np.ndarray:
        modality = self.modalities[name]
        modality.codec.to(self.device)  # at the first batch: where a worker is, its device is
        latents = modality.encode_raw(torch.stack(signals).to(self.device))
        return latents.to("cpu", torch.float32).numpy()  # a tensor would come from another process as an open file


def _plain(codec: nn.Module) -> nn.Module:
    """A codec that can be pickled: torch refuses weights that are computed from others, as weight normalisation's are.

    Here they are computed once instead of at every call, by the same formula: latents are the same to the last bit.
    """
    if not any(map(parametrize.is_parametrized, codec.modules())):
        return codec
    codec = copy.deepcopy(codec)
    for module in filter(parametrize.is_parametrized, list(codec.modules())):
        values = {name: getattr(module, name).detach() for name in module.parametrizations}
        # Not by remove_parametrizations, which changes the class, and that is the original's too.
        module.__class__ = parametrize.type_before_parametrizations(module)
        del module.parametrizations
        module._load_state_dict_pre_hooks.clear()  # weight_norm's cannot be pickled either
        for name, value in values.items():
            module.register_buffer(name, value)
    return codec


@attrs.define
class _Pending:
    """What is encoded but not yet in the store.

    Attributes:
        store: where it goes.
        remaining: file → clips of it that are not in the store yet; at 0 the file is done.
        left_out: file → why; of these files nothing more is taken.
        sizes: file → its bytes when encoding began.
        batches: clips with their latents.
    """

    store: LatentStore
    remaining: dict[str, int]
    left_out: dict[str, str]
    sizes: Mapping[str, int]
    batches: list[tuple[list[Clip], dict[str, Tensor]]] = attrs.field(factory=list)

    def __len__(self) -> int:
        return sum(len(clips) for clips, _ in self.batches)

    def add(self, encoded: _Encoded) -> None:
        rows = [row for row, clip in enumerate(encoded.clips) if clip.file not in self.left_out]
        for file, why in encoded.faults.items():
            self.left_out.setdefault(file, why)
        if rows:
            latents = {name: torch.from_numpy(values[rows]) for name, values in encoded.latents.items()}
            self.batches.append(([encoded.clips[row] for row in rows], latents))

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
        sizes = {file: self.sizes[file] for file in {*coming, *done}}
        self.store.commit(clips, latents, done=done, left_out=self.left_out, sizes=sizes)
        self.remaining = remaining
