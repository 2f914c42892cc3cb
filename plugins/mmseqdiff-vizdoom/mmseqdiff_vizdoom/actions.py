"""The modality of actions: what a player does, one action a step, in a file beside the media file.

    clip.mkv        pictures and sound
    clip.actions    {"rate": "35/4", "actions": ["forward", "forward", "left", …]}

An action is held from its step's start to the next one's.
"""

import json
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import attrs
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mmseqdiff.data.files import replacing
from mmseqdiff.data.stream import SLACK, in_seconds
from mmseqdiff.errors import MediaError
from mmseqdiff.layout import Interval
from mmseqdiff.modality import Modality
from mmseqdiff.protocols import Codec, MediaFormat

__all__ = ["ACTIONS", "ActionFormat", "actions"]

ACTIONS = ("still", "forward", "backward", "left", "right", "shoot")
"""What the player of the data set ``vizdoom`` does; left and right are turns."""
SUFFIX = ".actions"


def _names(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(values)


@attrs.frozen
class ActionFormat(MediaFormat):
    """Actions ``(steps, symbols)``, one-hot; zero where nothing is known.

    Attributes:
        rate: steps a second.
        symbols: the names of the actions.

    Raises:
        ValueError: if the rate is not positive, or there are not at least two actions, all different.
    """

    rate: Fraction = attrs.field(converter=Fraction)
    symbols: tuple[str, ...] = attrs.field(default=ACTIONS, converter=_names)
    stream = None

    def __attrs_post_init__(self) -> None:
        if self.rate <= 0:
            raise ValueError(f"actions need a positive rate, got {self.rate} a second")
        if len(set(self.symbols)) != len(self.symbols) or len(self.symbols) < 2:
            raise ValueError(f"a player needs two or more actions with different names, got {list(self.symbols)}")

    def shape(self, seconds: Fraction) -> tuple[int, int]:
        """``(steps, symbols)`` of so many seconds; a step that does not fit whole is not counted."""
        return math.floor(seconds * self.rate), len(self.symbols)

    def files(self, path: Path) -> tuple[Path]:
        """The file of actions."""
        return (self._beside(path),)

    def duration(self, path: Path) -> Fraction:
        """Where the last action ends, in seconds."""
        rate, held = self._load(path)
        return len(held) / rate

    def read(self, path: Path, start: Fraction, seconds: Fraction) -> Float[Tensor, "step symbol"]:
        """The actions held at ``start + n / rate``.

        Args:
            path: a media file with its actions beside it, or a file of actions.
            start: in seconds.
            seconds: how many.

        Raises:
            MediaError: if there is no such file, it is something else, knows other actions or is too short.
        """
        own, held = self._load(path)
        if start < 0 or len(held) / own + SLACK < start + seconds:
            raise MediaError(
                f"{self._beside(path)} holds {in_seconds(len(held) / own)} of actions, but a clip of "
                f"{in_seconds(seconds)} from {in_seconds(start)} on was asked for"
            )
        times = [start + n / self.rate for n in range(self.shape(seconds)[0])]
        shown = [held[min(math.floor(time * own), len(held) - 1)] for time in times]
        return F.one_hot(torch.tensor(shown, dtype=torch.int64), len(self.symbols)).to(torch.float32)

    def write(self, path: Path, signal: Float[Tensor, "step symbol"]) -> None:
        """Writes a file of actions; where none is known, the first.

        Raises:
            MediaError: if it cannot be written.
        """
        held = [self.symbols[index] for index in signal.argmax(-1).tolist()]
        with replacing(path, MediaError) as temporary:
            temporary.write_text(json.dumps({"rate": str(self.rate), "actions": held}) + "\n", encoding="utf-8")

    def fill(
        self, signal: Float[Tensor, "batch step symbol"], known: Sequence[Interval]
    ) -> Float[Tensor, "batch step symbol"]:
        """Every step that does not lie in one of ``known`` becomes zero."""
        filled = torch.zeros_like(signal)
        for left, right in known:
            inside = slice(max(math.ceil(left * self.rate), 0), max(math.floor(right * self.rate), 0))
            filled[:, inside] = signal[:, inside]
        return filled

    def _beside(self, path: Path) -> Path:
        """The file of actions itself, or the one beside a media file."""
        path = Path(path)
        return path if path.suffix in (SUFFIX, ".json") else path.with_suffix(SUFFIX)

    def _load(self, path: Path) -> tuple[Fraction, list[int]]:
        """The rate of a file, and the index of every action."""
        file = self._beside(path)
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            rate, held = Fraction(content["rate"]), [self.symbols.index(name) for name in content["actions"]]
            if not (rate > 0 and held):
                raise ValueError("it needs a positive rate and an action")
        except FileNotFoundError:
            raise MediaError(f"{path}: there is no {file.name}, where the actions should be") from None
        except OSError as error:
            raise MediaError(f"{file} cannot be read: {error.strerror or error}") from None
        except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
            raise MediaError(
                f'{file} is no file of actions ({error}); expected {{"rate": "{self.rate}", "actions": [names]}} with '
                f"names among {', '.join(self.symbols)}"
            ) from None
        return rate, held


def actions(codec: Codec, rate: Fraction, symbols: tuple[str, ...] = ACTIONS) -> Modality:
    """The modality of actions.

    Args:
        codec: takes ``(B, steps, symbols)``, one-hot.
        rate: steps a second; files at other rates are sampled at the steps' starts.
        symbols: the names of the actions.
    """
    return Modality(codec=codec, format=ActionFormat(rate, symbols))
