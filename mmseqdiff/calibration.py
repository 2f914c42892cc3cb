"""Measures what a sampler takes from a trained model, task by task, and keeps it with the model."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import cattrs
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.data.store import LatentStore
from mmseqdiff.errors import UserError
from mmseqdiff.pipeline import Pipeline
from mmseqdiff.protocols import Sampler, Task
from mmseqdiff.recipe import Component
from mmseqdiff.train.codec_folder import latents_hash

__all__ = ["calibrate_sampler", "read_latents"]


def read_latents(pipeline: Pipeline, run: Path, store: Path, clips: int) -> dict[str, Tensor]:
    """Normalised latents of a store's first clips, at most so many, of the model that was loaded from a run.

    Raises:
        StoreError: if the store is empty, damaged, or was not filled by the model's codecs.
    """
    modalities = pipeline.assembly.modalities
    codecs = {name: latents_hash(run / "codecs" / name) for name in modalities}
    opened = LatentStore.open(store, pipeline.layout, codecs)
    raw = opened.batch(range(min(clips, len(opened))))
    return {name: value.statistics.normalise(raw[name].to(pipeline.device)) for name, value in modalities.items()}


def calibrate_sampler(
    pipeline: Pipeline,
    sampler: Component,
    clean: Mapping[str, Tensor],
    tasks: Mapping[str, Task],
    *,
    steps: int | None = None,
    guidance: Component | None = None,
    seed: int = 0,
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> dict[str, Any]:
    """The parameters that a sampler measures on clean latents, for every task's own plan.

    Args:
        pipeline: the model.
        sampler: one whose :meth:`~mmseqdiff.protocols.Sampler.calibrated` measures something.
        clean: normalised latents of data.
        tasks: name → task.
        steps: of the plans, the recipe's where None; numbers hold for the levels that they visit alone.
        guidance: what will be used in sampling; the recipe's where None.
        seed: of the noise.
        progress: wraps the iteration over tasks.

    Returns:
        The sampler's ``calibration``, as plain values under that name, with what was measured for other tasks before.

    Raises:
        UserError: if the sampler cannot be calibrated, or a task does not fit the model.
    """
    assembly = pipeline.assembly
    stepper = pipeline.build_sampler(sampler)
    if type(stepper).calibrated is Sampler.calibrated:
        raise UserError(f"the sampler {sampler.name!r} has nothing to calibrate")
    guide = guidance or assembly.recipe.sampling.guidance
    denoiser = assembly.denoiser if guide is None else guide.build(assembly.host, "guidance")(assembly.denoiser)
    keys = random.example_keys(seed, range(len(next(iter(clean.values())))), str(pipeline.device))
    for name in progress(tasks):
        stepper = stepper.calibrated(denoiser, pipeline.plan(tasks[name], steps=steps), clean, keys)
    return {"calibration": cattrs.unstructure(stepper.calibration)}
