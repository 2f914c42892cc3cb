"""What all these sets have in common: video files that are cut into clips of one size, rate and length."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import attrs

from mmseqdiff.data.audio import AudioFormat
from mmseqdiff.data.clips import VIDEO_SUFFIXES, ClipSampler, media_files
from mmseqdiff.data.files import replacing
from mmseqdiff.data.media import write_clip
from mmseqdiff.data.video import VideoFormat
from mmseqdiff.data.workers import Here, Processes
from mmseqdiff.errors import MediaError
from mmseqdiff.progress import progress_bars
from mmseqdiff.protocols import MediaFormat
from mmseqdiff.values import difference

__all__ = ["VideoClips", "names_in", "videos"]

_DESCRIPTION = "prepared.json"


@attrs.frozen(kw_only=True)
class VideoClips(ABC):
    """Clips of video files: cropped in the centre to a square, resized, resampled; the defaults are arXiv:2405.13762
    App. C.2, but for a tenth of a second that lets MAGVIT-v2 take the clip (21 frames, not 20).

    Attributes:
        source: the folder that the set lies in; it is only read.
        seconds: length of every clip.
        stride: from one clip's start to the next one's; ``seconds`` where None.
        size: height and width in pixels.
        frame_rate: frames a second.
        sample_rate: audio samples a second.
        suffix: ``.mp4``, or ``.mkv``, which loses nothing.
        workers: processes that cut; with more than one, a script needs ``if __name__ == "__main__":``.

    Raises:
        ValueError: if a value is out of its range.
    """

    source: Path = attrs.field(converter=Path)
    seconds: Fraction = attrs.field(default=Fraction(21, 10), converter=Fraction)
    stride: Fraction | None = attrs.field(default=None, converter=attrs.converters.optional(Fraction))
    size: int = 64
    frame_rate: Fraction = attrs.field(default=Fraction(10), converter=Fraction)
    sample_rate: int = 16000
    suffix: str = attrs.field(default=".mp4", validator=attrs.validators.in_((".mp4", ".mkv", ".mov")))
    workers: int = attrs.field(default=1, validator=attrs.validators.ge(1))

    def __attrs_post_init__(self) -> None:
        self.sampler, self.formats  # noqa: B018 - building them checks the rest

    @property
    def sampler(self) -> ClipSampler:
        """Where clips start."""
        return ClipSampler(self.seconds, self.seconds if self.stride is None else self.stride)

    @property
    def formats(self) -> dict[str, MediaFormat]:
        """What a clip looks and sounds like."""
        return {
            "video": VideoFormat(self.frame_rate, self.size, self.size),
            "audio": AudioFormat(Fraction(self.sample_rate)),
        }

    @abstractmethod
    def chosen(self) -> dict[str, Path]:
        """Name → file, of the chosen part of the set; a file that does not exist is left out later, and said.

        Raises:
            MediaError: if the set does not lie as it should.
        """
        ...

    def prepare(self, folder: Path) -> Sequence[Path]:
        """Writes ``<name>-000.mp4`` and so on for every chosen file; clips that are there already are kept.

        A file that cannot be read, or not to its end, is left out from there on, and said.

        Raises:
            MediaError: if the set does not lie as it should, ``folder`` holds clips of another set or lies within this
                one, or a file cannot be written.
            RunError: if a worker dies.
        """
        folder, chosen = Path(folder), self.chosen()
        if folder.resolve().is_relative_to(self.source.resolve()):
            raise MediaError(f"{folder} lies in {self.source}, whose files are read; choose a folder outside")
        if not chosen:
            raise MediaError(f"no file of {self.source} belongs to the chosen part of the set")
        _refuse_twins(chosen)
        cut = dict.fromkeys(chosen) | self._claim(folder, chosen)
        self._note(folder, cut)  # before there are clips that nobody answers for
        sizes = {name: file.stat().st_size for name, file in chosen.items() if file.is_file()}
        crew, written = Here() if self.workers == 1 else Processes(self.workers), []
        try:
            with (
                progress_bars() as progress,
                crew.at(_Cutter(folder, self.formats, self.sampler, self.suffix)) as cutter,
            ):
                bar = progress.add_task(str(self.source), total=len(chosen))
                for name, (clips, fault) in zip(chosen, cutter(chosen.items())):
                    written += clips
                    if fault is None:
                        cut[name] = sizes[name]
                    else:
                        progress.console.print(f"left out: {fault}", soft_wrap=True, highlight=False, markup=False)
                    progress.advance(bar)
        finally:
            self._note(folder, cut)
        return written

    def _description(self) -> dict[str, Any]:
        """What the clips are, in plain values."""
        places = {field.name for field in attrs.fields(type(self)) if isinstance(getattr(self, field.name), Path)}
        values = attrs.asdict(self, filter=lambda field, _: field.name not in places | {"workers"})
        return json.loads(json.dumps({"dataset": type(self).__name__.lower(), **values}, default=str))

    def _claim(self, folder: Path, chosen: Mapping[str, Path]) -> dict[str, int | None]:
        """Compares with what the folder's clips are: name → bytes of the files that were cut, None if not to their end.

        Files may be added to a set, but those whose clips are there have to be the same, and chosen still.
        """
        path, cut, reason = folder / _DESCRIPTION, {}, None
        if path.exists():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
                cut = found.pop("files", {})
                reason = difference(found, self._description())
            except (ValueError, AttributeError):
                reason = f"{_DESCRIPTION} is damaged"
        cut = {
            name: size for name, size in cut.items() if size is not None or _clip(folder, name, 0, self.suffix).exists()
        }
        for name, size in cut.items():
            if name not in chosen:
                reason = reason or f"it has clips of {name}, which is not chosen now"
            elif size is not None and chosen[name].is_file() and chosen[name].stat().st_size != size:
                reason = reason or f"{name} had {size} bytes and has {chosen[name].stat().st_size} now"
        if reason is not None:
            raise MediaError(f"{folder} holds clips of another set: {reason}; use another folder, or empty this one")
        return cut

    def _note(self, folder: Path, cut: Mapping[str, int | None]) -> None:
        with replacing(folder / _DESCRIPTION, MediaError) as temporary:
            temporary.write_text(json.dumps({**self._description(), "files": dict(cut)}, indent=1), encoding="utf-8")


@attrs.frozen
class _Cutter:
    """Cuts one file: a worker's part."""

    folder: Path
    formats: Mapping[str, MediaFormat]
    sampler: ClipSampler
    suffix: str

    def __call__(self, job: tuple[str, Path]) -> tuple[list[Path], str | None]:
        """The clips of a file that are there now, and why there are no more of them."""
        name, path = job
        clips: list[Path] = []
        try:
            length = min(format.duration(path) for format in self.formats.values())
            starts = self.sampler.starts(length)
            if not starts:
                return (
                    clips,
                    f"{path} is too short: {float(length):g} s; a clip needs {float(self.sampler.seconds):g} s",
                )
            for n, start in enumerate(starts):
                clip = _clip(self.folder, name, n, self.suffix)
                if not clip.exists():
                    signals = {
                        key: format.read(path, start, self.sampler.seconds) for key, format in self.formats.items()
                    }
                    write_clip(clip, signals, self.formats)
                clips.append(clip)
        except MediaError as error:
            return clips, str(error)
        return clips, None


def videos(folder: Path) -> dict[str, Path]:
    """Name → file, of all video files below a folder.

    Raises:
        MediaError: if there is none.
    """
    files = [path for path in media_files(folder) if path.suffix.lower() in VIDEO_SUFFIXES]
    if not files:
        raise MediaError(f"{folder} has no video file (looked for {', '.join(sorted(VIDEO_SUFFIXES))})")
    return {path.relative_to(folder).as_posix(): path for path in files}


def names_in(path: Path) -> list[str]:
    """The lines of a text file that are not empty.

    Raises:
        MediaError: if it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MediaError(f"{path}, a list of names, cannot be read: {error}") from None
    return [line.strip() for line in lines if line.strip()]


def _clip(folder: Path, name: str, n: int, suffix: str) -> Path:
    """Where clip ``n`` of a file goes."""
    return folder / f"{_stem(name)}-{n:03d}{suffix}"


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _refuse_twins(names: Iterable[str]) -> None:
    """Two files whose clips would have one name."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(_stem(name), name)
        if other != name:
            raise MediaError(
                f"{other} and {name} differ only in their suffix, so their clips would have the same names"
            )
