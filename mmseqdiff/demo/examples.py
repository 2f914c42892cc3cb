"""Generated clips made into what the page shows: media files, strips and numbers."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from mmseqdiff.data.media import write_clip
from mmseqdiff.demo.page import Example, Number, Player, strip
from mmseqdiff.pipeline import Pipeline
from mmseqdiff.protocols import Comparison

__all__ = ["make_example"]


def make_example(
    pipeline: Pipeline, comparison: Comparison, other: Comparison, title: str, stem: str, out: Path
) -> Example:
    """Writes the media files of one generated clip, and measures it.

    Args:
        pipeline: knows the media formats and the metrics.
        comparison: the clip.
        other: another clip of the same task, to measure against.
        title: for people.
        stem: starts the files' names.
        out: the page's folder.

    Raises:
        MediaError: if a file cannot be written.
    """
    shown = {"generated": comparison.generated}
    if any(part.any() for part in comparison.given.values()):
        shown = {"given": _given_alone(comparison), **shown, "original": comparison.real}
    players = []
    formats = {name: modality.format for name, modality in pipeline.assembly.modalities.items()}
    symbols = {name: getattr(media, "symbols", ()) for name, media in formats.items()}
    for kind, signals in shown.items():
        file = write_clip(out / f"{stem}-{kind}.mp4", signals, formats)[0]
        strips = tuple(strip(name, signal, comparison.given[name], symbols[name]) for name, signal in signals.items())
        absent = tuple(name for name, part in comparison.given.items() if kind == "given" and not part.any())
        players.append(Player(kind, file.name, strips, absent))
    return Example(title, tuple(players), _measure(pipeline, comparison, other))


def _given_alone(comparison: Comparison) -> dict[str, Tensor]:
    """What the task gives; black and silence elsewhere."""
    return {
        name: signal * comparison.given[name].view(-1, *(1,) * (signal.ndim - 1))
        for name, signal in comparison.real.items()
    }


def _measure(pipeline: Pipeline, comparison: Comparison, other: Comparison) -> tuple[Number, ...]:
    """Every installed metric that says something about this clip."""
    host, numbers = pipeline.assembly.host, []
    for name in host.names("metric"):
        metric = host.build("metric", name)
        own: Mapping[str, float] = metric(comparison)
        beside = metric(comparison.beside(other))
        numbers += [
            Number(name.replace("_", " "), value, own[value], beside[value], better)
            for value, better in metric.better.items()
            if value in own and value in beside
        ]
    return tuple(numbers)
