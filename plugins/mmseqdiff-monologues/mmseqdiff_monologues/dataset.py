"""The data set: a folder of numbered monologues, each an mp4 file with its ground truth in JSON."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import attrs

from mmseqdiff.data.workers import Here, Processes
from mmseqdiff.errors import MediaError
from mmseqdiff.progress import progress_bars
from mmseqdiff_monologues.clips import ClipFormat, Monologue, Truth, truth_path
from mmseqdiff_monologues.seeds import clip_seed

__all__ = ["Monologues"]


@attrs.frozen
class Monologues:
    """Synthetic people who speak.

    Attributes:
        count: how many clips.
        seed: of the set; other seeds give other people who say other things.
        split: ``"train"`` or ``"held_out"``; the two never share a clip seed.
        seconds: length of every clip.
        size: height and width in pixels.
        frame_rate: frames a second.
        sample_rate: audio samples a second.
        says: what they say: ``"sentences"``, or ``"digits"``, which a small recogniser can understand.
        workers: processes that make clips; with more than one, a script needs ``if __name__ == "__main__":``.

    Raises:
        ValueError: if a value is out of its range.
    """

    count: int
    seed: int = 0
    split: str = "train"
    seconds: Fraction = attrs.field(default=Fraction(4), converter=Fraction)
    size: int = 64
    frame_rate: Fraction = attrs.field(default=Fraction(8), converter=Fraction)
    sample_rate: int = 16000
    says: str = "sentences"
    workers: int = 1

    def __attrs_post_init__(self) -> None:
        if self.count < 1 or self.workers < 1:
            raise ValueError(f"count and workers must be at least 1, got {self.count} and {self.workers}")
        self.clip_seed(self.count - 1)
        self.format  # noqa: B018 - building it checks the rest

    @property
    def format(self) -> ClipFormat:
        """What all clips have in common."""
        return ClipFormat(self.seconds, self.size, self.frame_rate, self.sample_rate, self.says)

    def clip_seed(self, index: int) -> int:
        """The seed of clip ``index``."""
        return clip_seed(self.split, self.seed, index)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Monologue:
        """Clip ``index``, made anew, without any file."""
        if not 0 <= index < self.count:
            raise IndexError(f"clip {index} of {self.count}")
        return Monologue.make(self.clip_seed(index), self.format)

    def prepare(self, folder: Path) -> Sequence[Path]:
        """Writes ``000000.mp4`` with ``000000.json``, and so on; finished clips are kept.

        Raises:
            PluginError: if espeak-ng is not installed.
            MediaError: if the folder holds clips of another set, or a file cannot be written.
            RunError: if a worker dies.
        """
        folder = Path(folder)
        paths = [folder / f"{index:06d}.mp4" for index in range(self.count)]
        missing = [index for index, path in enumerate(paths) if not self._finished(index, path)]
        crew = Here() if self.workers == 1 else Processes(self.workers)
        with progress_bars() as progress, crew.at(_write) as write:
            bar = progress.add_task(f"monologues ({self.split})", total=self.count, completed=self.count - len(missing))
            for _ in write((self.clip_seed(index), self.format, paths[index]) for index in missing):
                progress.advance(bar)
        return paths

    def _finished(self, index: int, path: Path) -> bool:
        if not path.exists() or not truth_path(path).exists():
            return False
        truth = Truth.read(truth_path(path))
        if (truth.seed, truth.format) != (self.clip_seed(index), self.format):
            raise MediaError(
                f"{path} belongs to another set of monologues (clip seed {truth.seed}, {truth.format}); "
                f"expected clip seed {self.clip_seed(index)}, {self.format}. Use another folder, or empty this one"
            )
        return True


def _write(job: tuple[int, ClipFormat, Path]) -> None:
    seed, format, path = job
    Monologue.make(seed, format).write(path)
