"""Whole media files, decoded once and kept in one memory-mapped array, from which training clips are cut.

Decoding at every step would be slower than training. Signals are kept as float16, which is finer than 8-bit pictures
and within 74 dB of any sound.
"""

import itertools
import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.data.clips import media_files
from mmseqdiff.data.files import only_writer
from mmseqdiff.errors import MediaError, RunError
from mmseqdiff.protocols import MediaFormat
from mmseqdiff.train.checkpoint import write_json

__all__ = ["Signals"]

_PIECE = Fraction(30)
"""Seconds decoded at a time."""


@attrs.frozen(eq=False)
class Signals:
    """The signals of some files, end to end.

    Attributes:
        data: ``(total time, …)``.
        files: where they came from.
        lengths: frames or samples of each file.
        left_out: file → why it is not here.
    """

    data: Float[np.ndarray, "time ..."]
    files: tuple[str, ...]
    lengths: tuple[int, ...]
    left_out: dict[str, str] = attrs.field(factory=dict)

    @classmethod
    def load(
        cls,
        media: Path,
        format: MediaFormat,
        cache: Path,
        *,
        shortest: int,
        progress: Callable[[Sequence[Path]], Iterable[Path]] = iter,
    ) -> "Signals":
        """Decodes every media file below a folder, or takes the cache if it is of these very files.

        Args:
            media: the folder.
            format: what to read them as.
            cache: a folder for the decoded signals.
            shortest: shorter files (in frames or samples) are left out.
            progress: wraps the iteration over the files.

        Raises:
            MediaError: if there is no media file, or none that can be used.
            RunError: if the cache cannot be written.
        """
        paths = media_files(media)
        source = {
            "format": repr(format),
            "shortest": shortest,
            "files": [[str(path.relative_to(media)), *_states(path, format)] for path in paths],
        }
        index = _read_index(cache, format)
        if index is None or index["source"] != source:
            try:
                with only_writer(cache, RunError):
                    index = _decode(paths, media, format, cache, shortest, source, progress)
            except OSError as error:
                raise RunError(f"decoded signals could not be written to {cache}: {error}") from error
        if not index["files"]:
            reasons = "; ".join(index["left_out"].values())
            raise MediaError(f"no file in {media} can be used: {reasons[:500]}")
        data = np.memmap(cache / "signals.f16", dtype=np.float16, mode="r", shape=_shape(index, format))
        return cls(data, tuple(index["files"]), tuple(index["lengths"]), index["left_out"])

    def split(self, last: int) -> tuple["Signals", "Signals"]:
        """All files but the ``last`` ones, and these."""
        cut, position = len(self.files) - last, sum(self.lengths[: len(self.files) - last])
        return (
            Signals(self.data[:position], self.files[:cut], self.lengths[:cut]),
            Signals(self.data[position:], self.files[cut:], self.lengths[cut:]),
        )

    def places(self, keys: Int[Tensor, " batch"], length: int) -> list[tuple[int, int]]:
        """For each key a file and where in it a clip of ``length`` starts, uniform over all that there are."""
        room = torch.tensor(self.lengths) - length + 1
        ends = room.cumsum(0)
        drawn = random.integers(keys.cpu(), "clip", 0, int(ends[-1]) - 1)
        which = torch.searchsorted(ends, drawn, right=True)
        return list(zip(which.tolist(), (drawn - (ends - room)[which]).tolist()))

    def clips(self, places: Sequence[tuple[int, int]], length: int) -> Float[Tensor, "batch time ..."]:
        """The clips of ``length`` that start at ``(file, offset)``, as float32."""
        begins = np.concatenate([[0], np.cumsum(self.lengths)])
        cut = [self.data[begins[file] + offset :][:length].astype(np.float32) for file, offset in places]
        return torch.from_numpy(np.stack(cut))


def _states(path: Path, format: MediaFormat) -> list[list[int]]:
    """Sizes and times of the files that a signal is read from."""
    states = [file.stat() for file in format.files(path) if file.is_file()]
    return [[state.st_size, state.st_mtime_ns] for state in states]


def _shape(index: Mapping[str, Any], format: MediaFormat) -> tuple[int, ...]:
    """Of all signals together."""
    return (sum(index["lengths"]), *format.shape(Fraction(1))[1:])


def _read_index(cache: Path, format: MediaFormat) -> dict[str, Any] | None:
    """What is in the cache; None where there is nothing, or not what the index says."""
    try:
        index = json.loads((cache / "signals.json").read_text(encoding="utf-8"))
        size = (cache / "signals.f16").stat().st_size
        return index if size == np.dtype(np.float16).itemsize * math.prod(_shape(index, format)) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _decode(
    paths: Sequence[Path],
    media: Path,
    format: MediaFormat,
    cache: Path,
    shortest: int,
    source: dict[str, Any],
    progress: Callable[[Sequence[Path]], Iterable[Path]],
) -> dict[str, Any]:
    """Writes the signals of all files one after another; the index comes last, so that it never promises too much."""
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "signals.json").unlink(missing_ok=True)
    partial = cache / ".signals.partial"
    files, lengths, left_out = [], [], {}
    with partial.open("wb") as out, ThreadPoolExecutor() as pool:
        for path, signal in zip(progress(paths), _in_turn(pool, lambda path: _read(path, format, shortest), paths)):
            name = str(path.relative_to(media))
            if isinstance(signal, str):
                left_out[name] = signal
                continue
            signal.tofile(out)
            files.append(name)
            lengths.append(len(signal))
        out.flush()
        os.fsync(out.fileno())  # else the index could be on the disk before what it speaks of
    os.replace(partial, cache / "signals.f16")
    index = {"source": source, "files": files, "lengths": lengths, "left_out": left_out}
    write_json(cache / "signals.json", index)
    return index


def _in_turn(pool: ThreadPoolExecutor, work: Callable[[Path], Any], paths: Sequence[Path]) -> Iterator[Any]:
    """As ``pool.map``, with a few files ahead of the one that is waited for and no more: all of them may not fit in memory."""
    rest, ahead = iter(paths), deque()
    for path in itertools.islice(rest, 2 * (os.cpu_count() or 1)):
        ahead.append(pool.submit(work, path))
    while ahead:
        yield ahead.popleft().result()
        ahead.extend(pool.submit(work, path) for path in itertools.islice(rest, 1))


def _read(path: Path, format: MediaFormat, shortest: int) -> Float[np.ndarray, "time ..."] | str:
    """A whole file in pieces of whole frames or samples, or why it cannot be used."""
    try:
        count = format.shape(format.duration(path))[0]
        if count < shortest:
            return f"{path.name} holds {count} of the {shortest} frames or samples that a clip needs"
        piece = max(int(_PIECE * format.rate), 1)
        starts = range(0, count, piece)
        pieces = (
            format.read(path, start / format.rate, min(piece, count - start) / format.rate).to(torch.float16)
            for start in starts
        )
        return torch.cat(list(pieces)).numpy()
    except MediaError as error:
        return str(error)
