"""Real clips to measure a model on."""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import attrs
import torch
from torch import Tensor

from mmseqdiff.data.clips import media_files
from mmseqdiff.errors import MediaError
from mmseqdiff.pipeline import Pipeline

__all__ = ["RealClip", "read_clip", "read_folder", "stack"]


@attrs.frozen(eq=False)
class RealClip:
    """One clip of a media file.

    Attributes:
        file: the file.
        start: where in it the clip starts, in seconds.
        signals: modality → ``(time, …)``, a clip's length.
    """

    file: Path
    start: Fraction
    signals: dict[str, Tensor]


def read_clip(pipeline: Pipeline, file: Path, start: Fraction = Fraction(0)) -> RealClip:
    """The clip of a file from ``start`` on, with every modality of the model.

    Raises:
        MediaError: if the file cannot give it.
    """
    modalities = pipeline.assembly.modalities
    return RealClip(
        file, start, {name: modality.read(file, start, pipeline.seconds) for name, modality in modalities.items()}
    )


def read_folder(
    pipeline: Pipeline, folder: Path, *, progress: Callable[[Iterable[Path]], Iterable[Path]] = iter
) -> tuple[list[RealClip], dict[str, str]]:
    """The first clip of every media file of a folder: clips of one file would not be independent of each other.

    Returns:
        The clips in the order of their files' names, and file → why it was left out.

    Raises:
        MediaError: if there are not at least two clips: every clip is compared with another one.
    """
    clips, left_out = [], {}
    for file in progress(media_files(folder)):
        try:
            clips.append(read_clip(pipeline, file))
        except MediaError as error:
            left_out[file.relative_to(folder).as_posix()] = str(error)
    if len(clips) < 2:
        why = "".join(f"\n  {reason}" for reason in left_out.values())
        raise MediaError(
            f"{folder} holds {len(clips)} clip that can be used; two or more files are needed, to compare each with another{why}"
        )
    return clips, left_out


def stack(clips: Sequence[RealClip]) -> dict[str, Tensor]:
    """The signals of some clips, modality → ``(B, time, …)``."""
    return {name: torch.stack([clip.signals[name] for clip in clips]) for name in clips[0].signals}
