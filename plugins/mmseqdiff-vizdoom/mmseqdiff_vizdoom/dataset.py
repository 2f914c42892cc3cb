"""The data set: a folder of numbered recordings, each a lossless media file with its actions beside it."""

import json
import math
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import attrs
import torch

from mmseqdiff import random
from mmseqdiff.data.audio import AudioFormat
from mmseqdiff.data.files import replacing
from mmseqdiff.data.media import write_clip
from mmseqdiff.data.video import VideoFormat
from mmseqdiff.errors import MediaError
from mmseqdiff.progress import progress_bars
from mmseqdiff_vizdoom.actions import ACTIONS, SUFFIX, ActionFormat
from mmseqdiff_vizdoom.game import HEIGHT, SAMPLE_RATE, STEP_RATE, WIDTH, Play, open_game, record

__all__ = ["SPLITS", "VizDoom"]

SPLITS = ("train", "held_out")
"""Recordings of one have no seed of the other's."""
FORMATS = {
    "video": VideoFormat(STEP_RATE, HEIGHT, WIDTH),
    "audio": AudioFormat(SAMPLE_RATE),
    "actions": ActionFormat(STEP_RATE, ACTIONS),
}
"""What a recording holds; its sound has two channels."""
_PART = 8
"""Recordings that one job makes with one running game."""


@attrs.frozen
class VizDoom:
    """Play of Doom by a scripted player.

    Attributes:
        count: how many recordings.
        seed: of the set.
        split: ``"train"`` or ``"held_out"``; no recording of one is in the other.
        seconds: length of every recording.
        workers: processes that record; with more than one, a script needs ``if __name__ == "__main__":``.

    Raises:
        ValueError: if a value is out of its range.
    """

    count: int
    seed: int = 0
    split: str = attrs.field(default="train", validator=attrs.validators.in_(SPLITS))
    seconds: Fraction = attrs.field(default=Fraction(30), converter=Fraction)
    workers: int = 1

    def __attrs_post_init__(self) -> None:
        if self.count < 1 or self.workers < 1:
            raise ValueError(f"count and workers must be at least 1, got {self.count} and {self.workers}")
        if self.steps < 1:
            raise ValueError(f"a recording needs at least one step of {1 / STEP_RATE} s, got {self.seconds} s")

    @property
    def steps(self) -> int:
        """Steps, and pictures, of every recording; a step that does not fit whole is not recorded."""
        return math.floor(self.seconds * STEP_RATE)

    def key(self, index: int) -> int:
        """What recording ``index`` follows from."""
        return random.fold(torch.tensor(self.seed), "vizdoom", self.split, index).item()

    def prepare(self, folder: Path) -> Sequence[Path]:
        """Writes ``000000.mkv`` with ``000000.actions``, and so on; finished recordings are kept.

        Raises:
            PluginError: if the game is not installed, or does not run.
            MediaError: if the folder holds recordings of another set, or a file cannot be written.
        """
        folder = Path(folder)
        self._claim(folder)
        paths = [folder / f"{index:06d}.mkv" for index in range(self.count)]
        missing = [
            index for index, path in enumerate(paths) if not (path.exists() and path.with_suffix(SUFFIX).exists())
        ]
        jobs = [
            ([(self.key(index), paths[index]) for index in missing[start : start + _PART]], self.steps)
            for start in range(0, len(missing), _PART)
        ]
        with progress_bars() as progress, self._pool() as run:
            bar = progress.add_task(f"play ({self.split})", total=self.count, completed=self.count - len(missing))
            for made in run(_record_all, jobs):
                progress.advance(bar, made)
        return paths

    def _claim(self, folder: Path) -> None:
        """Notes in the folder which set it is of, or checks that it is of this one."""
        own = {"seed": self.seed, "split": self.split, "seconds": str(self.seconds)}
        note = folder / "vizdoom.json"
        if not note.exists():
            with replacing(note, MediaError) as temporary:
                temporary.write_text(json.dumps(own) + "\n", encoding="utf-8")
            return
        try:
            found = json.loads(note.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise MediaError(f"{note} is damaged ({error}); empty the folder to have it recorded anew") from None
        if found != own:
            raise MediaError(
                f"{folder} holds recordings of another set ({found}); expected {own}. Use another folder, or empty this one"
            )

    @contextmanager
    def _pool(self) -> Iterator[object]:
        """Something that maps a function over jobs: here, or in several processes."""
        if self.workers == 1:
            yield map
            return
        pool = ProcessPoolExecutor(self.workers, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,))
        try:
            yield pool.map
        finally:
            pool.shutdown(cancel_futures=True)


def _record_all(job: tuple[Sequence[tuple[int, Path]], int]) -> int:
    recordings, steps = job
    with open_game() as game:
        for key, path in recordings:
            write_recording(record(game, key, steps), path)
    return len(recordings)


def write_recording(play: Play, path: Path) -> None:
    """Writes pictures and sound to ``path``, then the actions beside it, so that actions always have their media.

    Raises:
        MediaError: if one cannot be written.
    """
    write_clip(path, {"video": play.video, "audio": play.audio, "actions": play.actions}, FORMATS)
