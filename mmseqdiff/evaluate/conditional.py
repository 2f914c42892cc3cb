"""Does a model use what it is given?

For a task that gives some cells, a clip i with latents z, its honestly encoded condition c_i and a level t:

    (1) own_i,t   = the loss on the cells that are not given, at level t, given c_i
    (2) other_i,t = the same loss, of the same z under the same noise, given another clip's condition c_j
    (3) own_i, other_i = means over the levels, for the paired test of :mod:`mmseqdiff.evaluate.paired`

The loss is that of training, as a mean over the modalities that are generated (:func:`mmseqdiff.train.objective.conditional_loss`).
A condition is encoded as in generating: whatever the task does not give is overwritten first, so that nothing hidden leaks in.
"""

from collections.abc import Mapping, Sequence

import attrs
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.evaluate.clips import RealClip, stack
from mmseqdiff.evaluate.paired import PairedTest
from mmseqdiff.pipeline import Pipeline
from mmseqdiff.protocols import Denoiser, Latents, Task
from mmseqdiff.train.objective import conditional_loss

__all__ = ["LEVELS", "ConditionalLoss", "conditional_losses", "encode_clips", "measure_conditional"]

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Where the loss is measured, as parts of T."""


@attrs.frozen
class ConditionalLoss:
    """The losses of one task.

    Attributes:
        overall: Eq. (3).
        by_level: level, as a part of T → Eq. (1) and (2) there.
    """

    overall: PairedTest
    by_level: dict[float, PairedTest]

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        levels = {f"{level:g}": test.to_dict() for level, test in self.by_level.items()}
        return {**self.overall.to_dict(), "by level": levels}


def encode_clips(pipeline: Pipeline, clips: Sequence[RealClip], batch_size: int = 16) -> dict[str, Tensor]:
    """Normalised latents of whole clips: encoded once, they serve every task."""
    batches = [stack(clips[part]) for part in _parts(len(clips), batch_size)]
    return {
        name: torch.cat([modality.encode(signals[name].to(pipeline.device)) for signals in batches])
        for name, modality in pipeline.assembly.modalities.items()
    }


def measure_conditional(
    pipeline: Pipeline,
    task: Task,
    clips: Sequence[RealClip],
    z0: Latents,
    *,
    levels: Sequence[float] = LEVELS,
    seed: int = 0,
    batch_size: int = 16,
) -> ConditionalLoss:
    """The losses of one task over real clips.

    Args:
        pipeline: the model.
        task: gives some cells and leaves some.
        clips: at least two.
        z0: the clips' latents, from :func:`encode_clips`.
        levels: where the loss is measured, as parts of T.
        seed: of the noise.
        batch_size: clips at once.
    """
    conditions: dict[str, list[Tensor]] = {}
    for part in _parts(len(clips), batch_size):
        for name, latents in pipeline.encode(task, stack(clips[part])).items():
            conditions.setdefault(name, []).append(latents)
    own, other = conditional_losses(
        pipeline.assembly.denoiser,
        z0,
        {name: torch.cat(batches) for name, batches in conditions.items()},
        task.given(pipeline.layout),
        [share * pipeline.assembly.schedule.num_levels for share in levels],
        random.example_keys(seed, range(len(clips)), str(pipeline.device)),
        batch_size,
    )
    by_level = {level: PairedTest(own[:, k].tolist(), other[:, k].tolist(), "lower") for k, level in enumerate(levels)}
    return ConditionalLoss(PairedTest(own.mean(1).tolist(), other.mean(1).tolist(), "lower"), by_level)  # Eq. (3)


def conditional_losses(
    denoiser: Denoiser,
    z0: Latents,
    conditions: Mapping[str, Tensor],
    given: Bool[Tensor, "modality segment"],
    levels: Sequence[float],
    keys: Int[Tensor, " clip"],
    batch_size: int = 16,
) -> tuple[Float[Tensor, "clip level"], Float[Tensor, "clip level"]]:
    """Eq. (1) and (2) for every clip and level.

    Args:
        denoiser: what is measured.
        z0: clean normalised latents of the clips.
        conditions: modality → latents whose given cells are the condition, for every modality that has given cells.
        given: the cells that are given.
        levels: in (0, T].
        keys: one per clip, for the noise.
        batch_size: clips at once.
    """
    own = {**z0, **conditions}
    other = {name: latents.roll(-1, 0) for name, latents in own.items()}
    generated = (denoiser.layout.valid & ~given).any(1).to(keys.device)
    results: list[list[Tensor]] = [[], []]
    for k, level in enumerate(levels):
        noise_keys = random.fold(keys, "conditional loss", k)
        for result, source in zip(results, (own, other)):
            losses = [
                conditional_loss(denoiser, _slice(z0, part), given, level, noise_keys[part], _slice(source, part))
                for part in _parts(len(keys), batch_size)
            ]
            result.append(torch.cat(losses)[:, generated].mean(1).cpu())
    return torch.stack(results[0], 1), torch.stack(results[1], 1)


def _parts(length: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, length, size)]


def _slice(latents: Latents, part: slice) -> dict[str, Tensor]:
    return {name: values[part] for name, values in latents.items()}
