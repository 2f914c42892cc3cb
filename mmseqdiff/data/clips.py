"""Which stretches of which files are used."""

import math
import os
from fractions import Fraction
from pathlib import Path

import attrs

from mmseqdiff.data.stream import SLACK
from mmseqdiff.errors import MediaError

__all__ = ["MEDIA_SUFFIXES", "VIDEO_SUFFIXES", "Clip", "ClipSampler", "media_files"]

VIDEO_SUFFIXES = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".ogv"}
"""What the name of a file with pictures ends in."""
AUDIO_SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac"}
"""What the name of a file with sound alone ends in."""
MEDIA_SUFFIXES = frozenset(VIDEO_SUFFIXES | AUDIO_SUFFIXES)
"""What a file's name ends in if it is read as media."""


@attrs.frozen
class Clip:
    """A stretch of a file.

    Attributes:
        file: the file's path within its folder, with forward slashes.
        start: where the clip starts, in seconds.
    """

    file: str
    start: Fraction = attrs.field(converter=Fraction)

    def __str__(self) -> str:
        return f"{self.file}@{self.start}"


def media_files(folder: Path) -> list[Path]:
    """All media files below a folder, by their suffix, in the order of their names; hidden ones are passed over.

    Links are followed, to folders as well; a folder that links lead back to is entered once.

    Raises:
        MediaError: if there is no such folder or no media file in it, or a name in it is not UTF-8.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MediaError(f"{folder} is not a folder; a folder of media files was expected")
    files, entered = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in sorted(folders) if not name.startswith(".")]
        real = os.path.realpath(place)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        paths = [Path(place) / name for name in names if not name.startswith(".")]
        files += [path for path in paths if path.suffix.lower() in MEDIA_SUFFIXES and path.is_file()]
    for path in files:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise MediaError(f"{folder} has a file {path.name!r}, whose name is not UTF-8: rename it") from None
    if not files:
        raise MediaError(f"{folder} has no media file (looked for {', '.join(sorted(MEDIA_SUFFIXES))})")
    return sorted(files, key=lambda path: path.relative_to(folder).as_posix())


@attrs.frozen
class ClipSampler:
    """Cuts a file into clips of one length, from its start on.

    Attributes:
        seconds: the length of a clip.
        stride: from one clip's start to the next one's; by default ``seconds``, so that clips neither overlap nor
            leave gaps. Smaller strides overlap.

    Raises:
        ValueError: if a length is not positive.
    """

    seconds: Fraction = attrs.field(converter=Fraction)
    stride: Fraction = attrs.field(
        converter=Fraction, default=attrs.Factory(lambda self: self.seconds, takes_self=True)
    )

    def __attrs_post_init__(self) -> None:
        if min(self.seconds, self.stride) <= 0:
            raise ValueError(f"clips need a positive length and stride, got {self.seconds} s every {self.stride} s")

    def starts(self, duration: Fraction) -> tuple[Fraction, ...]:
        """Where the clips of a file of this length start; empty if the file is shorter than a clip."""
        room = duration + SLACK - self.seconds
        if room < 0:
            return ()
        return tuple(n * self.stride for n in range(math.floor(room / self.stride) + 1))
