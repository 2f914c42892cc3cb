"""The evaluation of a model on a folder of held-out media files."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from mmseqdiff import __version__
from mmseqdiff.errors import UserError
from mmseqdiff.evaluate.clips import RealClip, read_folder
from mmseqdiff.evaluate.conditional import LEVELS, encode_clips, measure_conditional
from mmseqdiff.evaluate.report import Report
from mmseqdiff.evaluate.samples import fitting_metrics, generate_comparisons, measure_samples
from mmseqdiff.pipeline import Pipeline
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.protocols import Task
from mmseqdiff.recipe import Component
from mmseqdiff.train.checkpoint import codec_hash
from mmseqdiff.train.denoiser import usual_tasks

__all__ = ["PROTOCOL", "conditional_tasks", "evaluate_model"]

PROTOCOL = "mmseqdiff/held-out@1"
"""Names what is measured and how; the number rises whenever the same settings would give other numbers."""


def conditional_tasks(pipeline: Pipeline) -> dict[str, Task]:
    """Name → every usual task that gives something."""
    tasks = usual_tasks(pipeline.assembly.host, pipeline.layout)
    return {name: task for name, task in tasks.items() if task.given(pipeline.layout).any()}


def evaluate_model(
    pipeline: Pipeline,
    folder: Path,
    tasks: Mapping[str, Task] | None = None,
    *,
    num: int = 64,
    steps: int | None = None,
    seed: int = 0,
    batch_size: int = 16,
    console: Console | None = None,
) -> Report:
    """Measures conditional losses over all files, and metrics of clips generated for the first of them.

    Args:
        pipeline: the model.
        folder: of media files that the model has not seen; the first clip of each is used.
        tasks: name → task; :func:`conditional_tasks` where None.
        num: clips to generate per task, as far as there are files; 0 for none.
        steps: sampling steps; the recipe's where None.
        seed: of all noise.
        batch_size: clips at once.
        console: for progress.

    Raises:
        UserError: if a task does not fit the model or gives nothing.
        MediaError: if the folder has fewer than two files that can be used.
    """
    console = console or Console(stderr=True)
    tasks = conditional_tasks(pipeline) if tasks is None else tasks
    plans = {name: pipeline.plan(task, steps=steps) for name, task in tasks.items()}
    for name, plan in plans.items():
        if not plan.given.any():
            raise UserError(f"task {name!r} gives nothing, so there is no condition to evaluate")

    clips, left_out = read_folder(pipeline, folder, progress=lambda files: track(files, "reading", console=console))
    z0 = encode_clips(pipeline, clips, batch_size)
    losses = {
        name: measure_conditional(pipeline, task, clips, z0, seed=seed, batch_size=batch_size)
        for name, task in track(tasks.items(), "conditional losses", console=console)
    }
    samples = {}
    chosen = clips[:num] if num > 1 else []
    for name, task in tasks.items():
        metrics = fitting_metrics(pipeline, plans[name], chosen) if chosen else {}
        if metrics:
            comparisons = generate_comparisons(
                pipeline,
                task,
                plans[name],
                chosen,
                seed=seed,
                batch_size=batch_size,
                progress=lambda rows, name=name: track(rows, f"sampling {name}", console=console),
            )
            samples[name] = measure_samples(metrics, comparisons)
    return Report(_protocol(pipeline, clips, tasks, plans, len(chosen), seed), losses, samples, left_out)


def _protocol(
    pipeline: Pipeline,
    clips: Sequence[RealClip],
    tasks: Mapping[str, Task],
    plans: Mapping[str, SamplingPlan],
    generated: int,
    seed: int,
) -> dict[str, Any]:
    """What it takes to measure the same again."""
    assembly, sampling = pipeline.assembly, pipeline.assembly.recipe.sampling
    given = {
        task: {
            name: [f"{start}-{stop}" for start, stop in known] for name, known in built.known(pipeline.layout).items()
        }
        for task, built in tasks.items()
    }
    return {
        "name": PROTOCOL,
        "version": __version__,
        "model": {
            "recipe": assembly.recipe.name,
            "weights": codec_hash(assembly.backbone),
            "codecs": {name: codec_hash(modality.codec) for name, modality in assembly.modalities.items()},
        },
        "data": {"clips": len(clips), "files": [clip.file.name for clip in clips], "sha256": _content_hash(clips)},
        "given seconds": given,
        "seed": seed,
        "conditional loss": {"levels, as parts of T": list(LEVELS)},
        "samples": {
            "clips": generated,
            "steps": {name: plan.steps for name, plan in plans.items()},
            "plan": _describe(sampling.plan),
            "sampler": _describe(sampling.sampler),
            "calibration": _hash(pipeline.calibration.get(sampling.sampler.name)),
            "guidance": None if sampling.guidance is None else _describe(sampling.guidance),
        },
        "another's": "the next clip's, cyclically",
    }


def _hash(values: Mapping[str, Any] | None) -> str | None:
    """SHA-256 of plain values; None where there are none."""
    return (
        None if values is None else hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()
    )


def _describe(component: Component) -> dict[str, Any]:
    return {"name": component.name, **component.parameters}


def _content_hash(clips: Sequence[RealClip]) -> str:
    """SHA-256 over the files' hashes, in order."""
    digest = hashlib.sha256()
    for clip in clips:
        with clip.file.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
