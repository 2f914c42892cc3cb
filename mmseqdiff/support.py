"""Whether a policy ever trained what a plan will ask for.

A policy's support is a set of partitions: cells of one group always share a level. A matrix is on the support of a
partition if it is constant on every group and 0 where the partition says always clean. A plan with a row that is on no
component's support, and from which something is predicted, asks the network for something that it has never seen.
"""

import warnings

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmseqdiff.plan import SamplingPlan
from mmseqdiff.protocols import TimestepPolicy
from mmseqdiff.timesteps import ALWAYS_CLEAN

__all__ = ["off_support_warning", "on_support", "warn_off_support"]


def on_support(
    levels: Float[Tensor, "rows modality segment"], partition: Int[Tensor, "modality segment"]
) -> Bool[Tensor, " rows"]:
    """For every row, whether its matrix could come from the partition."""
    rows = levels.flatten(1)
    groups = partition.flatten()
    fits = (rows[:, groups == ALWAYS_CLEAN] == 0).all(1)
    live = groups >= 0
    if live.any():
        shape, index = (len(rows), int(groups.max()) + 1), groups[live].expand(len(rows), -1)
        low = rows.new_full(shape, torch.inf).scatter_reduce(1, index, rows[:, live], "amin")
        high = rows.new_full(shape, -torch.inf).scatter_reduce(1, index, rows[:, live], "amax")
        fits &= (high <= low).all(1)
    return fits


def off_support_warning(plan: SamplingPlan, policy: TimestepPolicy) -> str | None:
    """One sentence if the policy never trains some row of the plan; None if it does, or cannot say."""
    ties = policy.ties(plan.layout)
    if ties is None:
        return None
    trained = torch.stack([on_support(plan.levels[:-1], partition) for partition in ties]).any(0) | ~plan.falls
    if trained.all():
        return None
    row = int((~trained).nonzero()[0])
    return (
        f"the model was trained on the noise levels of {' and '.join(policy.components)}, which never give row {row} of "
        "this plan: expect poor samples"
    )


def warn_off_support(plan: SamplingPlan, policy: TimestepPolicy) -> None:
    """Warns, as Python does, where :func:`off_support_warning` has something to say."""
    text = off_support_warning(plan, policy)
    if text:
        warnings.warn(text, stacklevel=3)  # at the line that asked for samples
