"""One clip: a person, what is said, how the face moves, and the picture and sound of it, all from a clip seed."""

import json
import math
from fractions import Fraction
from pathlib import Path

import attrs
import cattrs
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmseqdiff.data.audio import AudioFormat
from mmseqdiff.data.files import replacing
from mmseqdiff.data.media import write_clip
from mmseqdiff.data.video import VideoFormat
from mmseqdiff.errors import MediaError
from mmseqdiff_monologues.identity import Identity
from mmseqdiff_monologues.movement import move
from mmseqdiff_monologues.render import render
from mmseqdiff_monologues.speech import Phoneme, speak

__all__ = ["ClipFormat", "Monologue", "Truth", "truth_path"]


@attrs.frozen
class ClipFormat:
    """What all clips of a set have in common.

    Attributes:
        seconds: length.
        size: height and width in pixels.
        frame_rate: frames a second.
        sample_rate: audio samples a second.
        says: ``"sentences"`` or ``"digits"``.

    Raises:
        ValueError: if a number is not positive, there is not a whole frame, or ``says`` is something else.
    """

    seconds: Fraction = attrs.field(converter=Fraction)
    size: int
    frame_rate: Fraction = attrs.field(converter=Fraction)
    sample_rate: int
    says: str = attrs.field(default="sentences", validator=attrs.validators.in_(("sentences", "digits")))

    def __attrs_post_init__(self) -> None:
        if min(self.size, self.frame_rate, self.sample_rate) <= 0 or self.seconds * self.frame_rate < 1:
            raise ValueError(
                "a clip needs a positive size, frame rate and sample rate and at least one frame, "
                f"got {self.seconds} s, {self.size} pixels, {self.frame_rate} frames/s and {self.sample_rate} samples/s"
            )

    @property
    def frame_times(self) -> Float[np.ndarray, " frame"]:
        """The middle of every frame, in seconds."""
        return (np.arange(math.floor(self.seconds * self.frame_rate)) + 0.5) / float(self.frame_rate)


@attrs.frozen
class Truth:
    """Everything that is known of a clip and cannot be read off its file.

    Attributes:
        seed: the clip seed, from which the whole clip follows.
        format: of the clip.
        identity: who speaks.
        text: what is said.
        phonemes: with their times.
        words: when each word starts, in seconds.
        opening: of the mouth in every frame, 0 (closed) … 1 (widest).
    """

    seed: int
    format: ClipFormat
    identity: Identity
    text: str
    phonemes: tuple[Phoneme, ...]
    words: tuple[float, ...]
    opening: tuple[float, ...]

    def mouth_opening(self, start: Fraction, seconds: Fraction, rate: Fraction) -> Float[Tensor, " frame"]:
        """The opening in the frames shown at ``start + n / rate``, as a clip of the file would be read.

        This is what the metric ``mouth_alignment`` compares a generated mouth with.

        Raises:
            ValueError: if the clip ends before ``start + seconds``.
        """
        times = [Fraction(start) + n / Fraction(rate) for n in range(math.floor(Fraction(seconds) * rate))]
        shown = [math.floor(time * self.format.frame_rate) for time in times]
        if shown and not 0 <= shown[0] <= shown[-1] < len(self.opening):
            raise ValueError(f"{seconds} s from {start} s on do not lie in a monologue of {self.format.seconds} s")
        return torch.tensor([self.opening[n] for n in shown])

    def digits(self, start: Fraction, seconds: Fraction) -> tuple[tuple[str, float, float], ...]:
        """Every digit that is spoken whole within ``seconds`` from ``start`` on, with its times in the file.

        A digit lasts until the next begins. The last in the file is never whole: the clip may end within it. Of sentences there
        is nothing to give: espeak speaks some of their words as one.
        """
        if self.format.says != "digits":
            return ()
        words = (word.strip(".,") for word in self.text.split())
        timed = zip(words, self.words, self.words[1:])
        return tuple((word, first, last) for word, first, last in timed if start <= first and last <= start + seconds)

    def write(self, path: Path) -> None:
        """Writes JSON, under a temporary name first.

        Raises:
            MediaError: if it cannot be written.
        """
        with replacing(path, MediaError) as temporary:
            temporary.write_text(
                json.dumps(_CONVERTER.unstructure(self), ensure_ascii=False, indent=1), encoding="utf-8"
            )

    @classmethod
    def beside(cls, file: Path) -> "Truth | None":
        """The truth beside a clip's file; None where there is none, or a JSON file of something else.

        Raises:
            MediaError: if it is damaged.
        """
        path = truth_path(file)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return cls._of(values, path) if isinstance(values, dict) and {"seed", "phonemes"} <= values.keys() else None

    @classmethod
    def read(cls, path: Path) -> "Truth":
        """Reads what :meth:`write` wrote.

        Raises:
            MediaError: if it is something else.
        """
        try:
            return cls._of(json.loads(Path(path).read_text(encoding="utf-8")), path)
        except (OSError, ValueError) as error:
            raise _no_truth(path, error) from None

    @classmethod
    def _of(cls, values: object, path: Path) -> "Truth":
        try:
            return _CONVERTER.structure(values, cls)
        except (ValueError, KeyError, TypeError, AttributeError, cattrs.BaseValidationError) as error:
            raise _no_truth(path, error) from None


def _no_truth(path: Path, error: Exception) -> MediaError:
    return MediaError(f"{path} is not the ground truth of a monologue ({error}); delete it to have it made anew")


@attrs.frozen(eq=False)
class Monologue:
    """A clip as signals, with its truth.

    Attributes:
        video: float32 in [0, 1], ``(frames, size, size, 3)``.
        audio: float32 in [−1, 1], ``(samples,)``.
        truth: the rest.
    """

    video: Float[Tensor, "frame height width 3"]
    audio: Float[Tensor, " sample"]
    truth: Truth

    @classmethod
    def make(cls, seed: int, format: ClipFormat) -> "Monologue":
        """The clip of a clip seed.

        Raises:
            PluginError: if espeak-ng is not installed.
        """
        identity = Identity.draw(seed)
        speech = speak(seed, identity.voice, format.seconds, format.sample_rate, format.says)
        pose = move(seed, speech, format.frame_times)
        return cls(
            video=torch.from_numpy(render(identity, pose, (format.size, format.size))),
            audio=torch.from_numpy(speech.waveform),
            truth=Truth(
                seed=seed,
                format=format,
                identity=identity,
                text=speech.text,
                phonemes=speech.phonemes,
                words=speech.words,
                opening=tuple(pose.opening.round(5).tolist()),
            ),
        )

    def write(self, path: Path) -> None:
        """Writes the clip to ``path``, then its truth beside it, so that a truth always has its clip.

        Raises:
            MediaError: if one cannot be written.
        """
        format = self.truth.format
        formats = {
            "video": VideoFormat(format.frame_rate, format.size, format.size),
            "audio": AudioFormat(format.sample_rate),
        }
        write_clip(path, {"video": self.video, "audio": self.audio}, formats)
        self.truth.write(truth_path(path))


def truth_path(path: Path) -> Path:
    """Where the truth of a clip's file is."""
    return Path(path).with_suffix(".json")


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_unstructure_hook(Fraction, str)
    converter.register_structure_hook(Fraction, lambda value, _: Fraction(value))
    return converter


_CONVERTER = _converter()
