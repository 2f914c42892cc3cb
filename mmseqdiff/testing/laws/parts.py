"""The laws of single parts: schedules, policies, tasks, plans, modalities."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmseqdiff.forward import PREDICTION_KINDS, check_prediction_kind
from mmseqdiff.layout import Interval, Layout
from mmseqdiff.modality import Modality
from mmseqdiff.protocols import (
    Cells,
    Keys,
    NoiseSchedule,
    Plan,
    Task,
    TimestepPolicy,
)
from mmseqdiff.timesteps import ALWAYS_CLEAN, PADDING

__all__ = [
    "bits",
    "check_hidden_signal_does_not_matter",
    "check_plan",
    "check_policy",
    "check_schedule",
    "check_task",
    "kinds_for",
]


def bits(x: Tensor) -> Tensor:
    """The bits of floating-point numbers: unlike ``==`` they tell 0 from −0, and find NaN equal to itself."""
    return x.contiguous().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()])


def kinds_for(schedule: NoiseSchedule) -> list[str]:
    """The prediction kinds that fit a schedule."""
    fit = []
    for kind in PREDICTION_KINDS:
        try:
            check_prediction_kind(kind, schedule)
        except ValueError:
            continue
        fit.append(kind)
    return fit


def check_schedule(schedule: NoiseSchedule) -> None:
    """Law 2 for a schedule: exact at 0, of unit variance, strictly noisier with every level, and inverted by ``level``."""
    top = float(schedule.num_levels)
    t = torch.linspace(0, top, 4 * schedule.num_levels + 1, dtype=torch.float64)
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        ends = torch.tensor([0.0, top], dtype=dtype)
        for scale in (schedule.alpha, schedule.sigma, schedule.log_snr):
            assert scale(ends).dtype == torch.promote_types(dtype, torch.float32), "results are never below float32"
        assert schedule.alpha(ends)[0] == 1, "alpha(0) is 1"
        assert schedule.sigma(ends)[0] == 0, "sigma(0) is 0"
        assert schedule.log_snr(ends)[0] == torch.inf, "log_snr(0) is +inf"
    alpha, sigma, log_snr = schedule.alpha(t), schedule.sigma(t), schedule.log_snr(t)
    assert (alpha.diff() < 0).all(), "alpha falls"
    assert (sigma.diff() > 0).all(), "sigma rises"
    assert (log_snr.diff() < 0).all(), "log_snr falls strictly"
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t))
    torch.testing.assert_close(schedule.level(log_snr), t)
    torch.testing.assert_close(torch.sigmoid(log_snr), alpha**2)
    assert schedule.level(torch.tensor([torch.inf, -torch.inf])).tolist() == [0, top], "level(±inf) are the ends"
    assert schedule.alpha(t.reshape(1, -1, 1)).shape == (1, len(t), 1), "elementwise for any shape"


def check_policy(policy: TimestepPolicy, layout: Layout, keys: Keys, num_levels: int) -> None:
    """Laws 4 and 9 for a policy: it draws what :meth:`ties` says, and the same in every batch."""
    t, component = policy.sample(layout, keys, num_levels=num_levels), policy.component(keys)
    assert t.shape == (len(keys), layout.M, layout.N)
    assert (t[:, ~layout.valid] == 0).all(), "padding has level 0"
    assert (t == t.round()).all(), "levels are whole numbers"
    assert ((t >= 0) & (t <= num_levels)).all(), "levels lie in 0 … T"
    assert component.shape == keys.shape
    assert ((component >= 0) & (component < len(policy.components))).all(), "component is an index of components"
    ties = policy.ties(layout)
    if ties is not None:
        assert len(ties) == len(policy.components), "one partition per component"
        for levels, partition in zip(t, (ties[k] for k in component.tolist())):
            assert ((partition == PADDING) == ~layout.valid).all(), "−1 marks padding, and only padding"
            assert (levels[partition == ALWAYS_CLEAN] == 0).all(), "cells marked −2 are clean"
            assert (levels[partition >= 0] >= 1).all(), "cells to denoise have levels of 1 … T"
            for group in partition[partition >= 0].unique():
                assert len(levels[partition == group].unique()) == 1, "levels are equal within a group"
    last = keys[-1:]
    assert torch.equal(policy.sample(layout, last, num_levels=num_levels), t[-1:]), "the batch changes the levels"
    assert torch.equal(policy.component(last), component[-1:]), "the batch changes the component"


def check_task(task: Task, layout: Layout) -> None:
    """Laws 7 and 12 for a task: given cells exist, and lie in what may be read but for the layout's tolerance."""
    given, known = task.given(layout), task.known(layout)
    assert given.shape == (layout.M, layout.N)
    assert given.dtype == torch.bool
    assert not (given & ~layout.valid).any(), "padding is never given"
    assert set(known) == set(layout.modalities), "known names every modality"
    for m, track in enumerate(layout.tracks):
        for (left, right), is_given in zip(track.intervals, given[m].tolist()):
            read = sum(max(0, min(right, stop) - max(left, start)) for start, stop in known[track.modality])
            assert not is_given or right - left - read <= 2 * layout.tolerance, "a given cell is hidden from the codec"


def check_plan(plan: Plan, layout: Layout, given: Cells, num_levels: int) -> None:
    """Law 7 for a maker of plans; the plan itself is validated when it is made."""
    made = plan(layout, given, num_levels=num_levels)
    assert torch.equal(made.given, given), "the plan is for another task"
    assert (made.layout, made.num_levels, made.start_below) == (layout, num_levels, False)
    assert (bits(made.levels[-1]) == 0).all(), "the last row is exactly 0"


def check_hidden_signal_does_not_matter(
    modality: Modality, signal: Tensor, other: Tensor, known: Sequence[Interval]
) -> None:
    """Law 12: signals that agree wherever a frame or sample lies in ``known`` have the same latents, bit for bit.

    Args:
        modality: what is checked.
        signal: ``(B, time, …)``.
        other: another signal of that shape; it is made to agree on what is known.
        known: stretches of time, in seconds.
    """
    rate = modality.format.rate
    shown = torch.tensor(
        [any(a * rate <= k and k + 1 <= b * rate for a, b in known) for k in range(signal.shape[1])], dtype=torch.bool
    )
    other = torch.where(shown.reshape(1, -1, *(1,) * (signal.ndim - 2)), signal, other)
    assert torch.equal(bits(modality.encode(signal, known)), bits(modality.encode(other, known)))
