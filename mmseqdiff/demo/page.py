"""The demonstration's page: plain data in, one ``index.html`` out that opens from disk and needs nothing from outside."""

from collections.abc import Sequence
from pathlib import Path

import attrs
import torch
from jaxtyping import Bool
from jinja2 import Environment, PackageLoader, StrictUndefined
from torch import Tensor

from mmseqdiff.data.files import replacing
from mmseqdiff.errors import MediaError

__all__ = ["Bar", "Example", "Number", "Page", "Player", "Section", "Strip", "Training", "strip", "write_page"]

BARS = 68
"""Bars that a sound's strip is drawn with, at most."""


@attrs.frozen
class Bar:
    """A stretch of a strip, in percent of its width and height.

    Attributes:
        left: where it starts.
        width: how long it is.
        height: how high it is.
        given: whether it is given.
        middle: of its height.
        label: what it stands for.
    """

    left: float
    width: float
    height: float
    given: bool
    middle: float = 50.0
    label: str = ""


@attrs.frozen
class Strip:
    """What of one modality is given and what is generated, over time.

    Attributes:
        modality: its name.
        bars: pictures have one for each, all of one height; sounds show how loud they are; a discrete signal has a lane for
            each of its symbols.
    """

    modality: str
    bars: tuple[Bar, ...]


@attrs.frozen
class Player:
    """One media file with its strips.

    Attributes:
        kind: ``given``, ``generated`` or ``original``.
        file: relative to the page.
        strips: one for each modality.
        absent: modalities of which the file shows nothing.
    """

    kind: str = attrs.field(validator=attrs.validators.in_(("given", "generated", "original")))
    file: str
    strips: tuple[Strip, ...]
    absent: tuple[str, ...] = ()


@attrs.frozen
class Number:
    """A measured value, beside the same with another clip in the real one's place.

    Attributes:
        metric: what measured it.
        value: its name.
        own: beside the clip's own real clip.
        other: beside another real clip.
        better: ``higher`` or ``lower``.
    """

    metric: str
    value: str
    own: float
    other: float
    better: str

    @property
    def wins(self) -> bool:
        """Whether its own is the better one."""
        return self.own > self.other if self.better == "higher" else self.own < self.other


@attrs.frozen
class Example:
    """One clip: what was given of it, what was generated, and what is really there."""

    title: str
    players: tuple[Player, ...]
    numbers: tuple[Number, ...] = ()


@attrs.frozen
class Section:
    """One task.

    Attributes:
        task: its name.
        title: for people.
        text: what it is about.
        plan: the matrix's picture, relative to the page.
        facts: short phrases about how it was sampled.
        command: how to do the same on the command line.
        finding: what the conditional losses say; empty where nothing is given.
        examples: the clips.
    """

    task: str
    title: str
    text: str
    plan: str
    facts: tuple[str, ...]
    command: str
    finding: str
    examples: tuple[Example, ...]


@attrs.frozen
class Training:
    """The minute of training.

    Attributes:
        plot: its picture, relative to the page.
        text: what was done.
        before: the loss before it.
        after: the loss after it.
    """

    plot: str
    text: str
    before: float
    after: float


@attrs.frozen
class Page:
    """Everything on the page.

    Attributes:
        facts: short phrases about the model and the clips.
        sections: one per task.
        training: None if there was none.
    """

    facts: tuple[str, ...]
    sections: tuple[Section, ...]
    training: Training | None


def strip(modality: str, signal: Tensor, given: Bool[Tensor, " time"], symbols: Sequence[str] = ()) -> Strip:
    """The strip of a signal ``(time, …)``: a bar for each frame, or for the loudness of a stretch of samples.

    A discrete signal ``(time, symbols)``, one-hot, shows every symbol in a lane of its own, and none where it is zero.
    """
    count = min(BARS, len(signal))
    edges = [round(n * len(signal) / count) for n in range(count + 1)]
    heights, middles, labels = [100.0] * count, [50.0] * count, [""] * count
    if symbols:
        shown = [signal[a] for a in edges[:-1]]
        which = [int(step.argmax()) for step in shown]
        heights = [100 / len(symbols) if step.any() else 0.0 for step in shown]
        middles = [100 * (k + 0.5) / len(symbols) for k in which]
        labels = [symbols[k] for k in which]
    elif signal.ndim == 1:
        loudness = torch.stack([signal[a:b].square().mean().sqrt() for a, b in zip(edges[:-1], edges[1:])])
        heights = (6 + 94 * loudness / loudness.max().clamp(min=1e-3)).tolist()
    shares = [100 * edge / len(signal) for edge in edges]
    return Strip(
        modality,
        tuple(
            Bar(
                round(shares[n], 3),
                round(shares[n + 1] - shares[n], 3),
                round(heights[n], 1),
                bool(given[(edges[n] + edges[n + 1]) // 2]),
                round(middles[n], 1),
                labels[n],
            )
            for n in range(count)
        ),
    )


def write_page(page: Page, path: Path) -> None:
    """Writes the page.

    Raises:
        MediaError: if it cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("mmseqdiff.demo", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    with replacing(path, MediaError) as temporary:
        temporary.write_text(environment.get_template("page.html").render(page=page), encoding="utf-8")
