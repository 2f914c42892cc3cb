"""Metrics of generated clips, each with its baseline: the same clip beside another clip's real counterpart.

Only what was generated is measured (arXiv:2405.13762 §6.1 leaves out conditioning frames): a frame or sample counts as
given if the cell that holds its middle is given.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.errors import PluginError
from mmseqdiff.evaluate.clips import RealClip, stack
from mmseqdiff.evaluate.paired import PairedTest
from mmseqdiff.layout import Track
from mmseqdiff.origin import origin
from mmseqdiff.pipeline import Pipeline
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.protocols import Comparison, Metric, Task

__all__ = ["checked", "fitting_metrics", "generate_comparisons", "given_part", "measure_samples"]


def given_part(track: Track, given: Bool[Tensor, " segment"], rate: Fraction, length: int) -> Bool[Tensor, " time"]:
    """Which of ``length`` frames or samples have their middle in a given cell; beyond the track its last cell counts."""
    first = [max(math.ceil(left * rate - Fraction(1, 2)), 0) for left, _ in track.intervals]
    part = torch.zeros(length, dtype=torch.bool)
    for start, stop, is_given in zip(first, [*first[1:], length], given.tolist()):
        part[start:stop] = is_given
    return part


def generate_comparisons(
    pipeline: Pipeline,
    task: Task,
    plan: SamplingPlan,
    clips: Sequence[RealClip],
    *,
    seed: int = 0,
    batch_size: int = 8,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[Comparison]:
    """One generated clip for each real one, given what the task gives of it.

    Args:
        pipeline: the model.
        task: what is given.
        plan: the levels to visit.
        clips: the real clips.
        seed: clip n is sample n of it.
        batch_size: clips at once.
        progress: wraps the iteration over the steps of one batch.
    """
    comparisons = []
    for start in range(0, len(clips), batch_size):
        part = clips[start : start + batch_size]
        keys = random.example_keys(seed, range(start, start + len(part)))
        latents = pipeline.sample(plan, keys, pipeline.encode(task, stack(part)), progress=progress)
        decoded = {name: signal.cpu() for name, signal in pipeline.decode(latents).items()}
        comparisons += [
            _compare(pipeline, plan, clip, {name: signal[n] for name, signal in decoded.items()})
            for n, clip in enumerate(part)
        ]
    return comparisons


def _compare(pipeline: Pipeline, plan: SamplingPlan, clip: RealClip, generated: Mapping[str, Tensor]) -> Comparison:
    rates = {name: modality.format.rate for name, modality in pipeline.assembly.modalities.items()}
    rows = plan.layout.split(plan.given)
    return Comparison(
        generated=generated,
        real={name: clip.signals[name][: len(signal)] for name, signal in generated.items()},
        given={
            name: given_part(plan.layout.track(name), rows[name], rates[name], len(signal))
            for name, signal in generated.items()
        },
        rates=rates,
        file=clip.file,
        start=clip.start,
    )


def fitting_metrics(pipeline: Pipeline, plan: SamplingPlan, clips: Sequence[RealClip]) -> dict[str, Metric]:
    """Name → every installed metric that says something about all of these clips under this plan."""
    host = pipeline.assembly.host
    metrics = {name: host.build("metric", name) for name in host.names("metric")}
    selves = [_compare(pipeline, plan, clip, clip.signals) for clip in clips]
    return {name: metric for name, metric in metrics.items() if all(metric(itself) for itself in selves)}


def measure_samples(
    metrics: Mapping[str, Metric], comparisons: Sequence[Comparison]
) -> dict[str, dict[str, PairedTest]]:
    """Metric → value → each generated clip beside its own real clip, and beside the next one's."""
    results = {}
    for name, metric in metrics.items():
        others = [
            comparison.beside(comparisons[(n + 1) % len(comparisons)]) for n, comparison in enumerate(comparisons)
        ]
        own, other = (
            [checked(metric, metric(comparison), comparison.file) for comparison in each]
            for each in (comparisons, others)
        )
        results[name] = {
            value: PairedTest([row[value] for row in own], [row[value] for row in other], better)
            for value, better in metric.better.items()
        }
    return results


def checked(metric: Metric, values: dict[str, float], file: Path) -> dict[str, float]:
    """What a metric returned for the clip of a file.

    Raises:
        PluginError: if these are other values than it declares, or not finite.
    """
    if values.keys() != metric.better.keys():
        raise PluginError(f"{origin(metric)} returned {sorted(values)}, expected {sorted(metric.better)}")
    for name, value in values.items():
        if not math.isfinite(value):
            raise PluginError(f"{origin(metric)} returned {name} = {value} for {file}, expected a finite number")
    return values
