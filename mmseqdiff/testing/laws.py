"""The laws that plugins must keep, as checks that raise AssertionError; call them from tests of your own.

    @given(data=st.data(), layout=strategies.layouts(), schedule=strategies.schedules(), keys=strategies.keys())
    def test_my_sampler(data, layout, schedule, keys):
        t, s = data.draw(strategies.steps(layout, schedule.num_levels))
        z = data.draw(strategies.latents(layout))
        laws.check_unmoved_cells_are_copied(MySampler(), CellwiseDenoiser(layout, schedule, "v"), z, t, s, keys)

The laws are numbered as in the project's design:

    1   a cell whose level does not change is copied bit for bit; given cells leave as they came
    2   no 0/0: level 0 and level T are exact, forward and backward
    4   levels are equal within a tied group and whole numbers of 1 … T
    5   a constant matrix is the ordinary scalar-time model
    7   a plan takes every cell that is not given from T to 0
    8   uncoupled cells on different plans equal separate runs; a pause changes nothing, nor does the order of the tracks
    9   the same key gives the same sample, whatever the batch
    12  what lies outside the known stretches changes no bit
"""

from collections.abc import Sequence

import attrs
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mmseqdiff.forward import PREDICTION_KINDS, check_prediction_kind, normal_latents
from mmseqdiff.generate import generate
from mmseqdiff.layout import Interval, Layout, Track
from mmseqdiff.modality import Modality
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.protocols import (  # fmt: skip
    Backbone,
    Denoiser,
    Guidance,
    Latents,
    Levels,
    NoiseSchedule,
    Plan,
    Sampler,
    Task,
    TimestepPolicy,
)
from mmseqdiff.testing.cellwise import CellwiseDenoiser
from mmseqdiff.timesteps import ALWAYS_CLEAN, PADDING

__all__ = [
    "bits", "check_backbone", "check_constant_matrix_is_scalar", "check_guidance",
    "check_hidden_signal_does_not_matter", "check_order_of_tracks_does_not_matter", "check_plan", "check_policy",
    "check_reset_forgets", "check_sample_is_the_keys", "check_schedule", "check_steps_are_finite", "check_task", "check_uncoupled_cells_run_alone", "check_unmoved_cells_are_copied",
    "kinds_for",
]  # fmt: skip


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


def _step(
    sampler: Sampler, denoiser: Denoiser, z: Latents, t: Levels, s: Levels, keys: Int[Tensor, " batch"]
) -> Latents:
    """One step from the sampler's first state."""
    layout = denoiser.layout
    given = torch.zeros(layout.M, layout.N, dtype=torch.bool, device=t.device)
    return sampler.step(
        z, t, s,
        denoise=lambda z, t: denoiser(z, t, given=given, keys=keys),
        state=sampler.start(z, layout),
        noise=lambda stream: normal_latents(layout, keys, stream, dtype=next(iter(z.values())).dtype),
    )[0]  # fmt: skip


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


def check_policy(policy: TimestepPolicy, layout: Layout, keys: Int[Tensor, " batch"], num_levels: int) -> None:
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


def check_plan(plan: Plan, layout: Layout, given: Bool[Tensor, "modality segment"], num_levels: int) -> None:
    """Law 7 for a maker of plans; the plan itself is validated when it is made."""
    made = plan(layout, given, num_levels=num_levels)
    assert torch.equal(made.given, given), "the plan is for another task"
    assert (made.layout, made.num_levels, made.start_below) == (layout, num_levels, False)
    assert (bits(made.levels[-1]) == 0).all(), "the last row is exactly 0"


def check_unmoved_cells_are_copied(
    sampler: Sampler, denoiser: Denoiser, z: Latents, t: Levels, s: Levels, keys: Int[Tensor, " batch"]
) -> None:
    """Law 1: one step leaves cells with ``s == t`` as they were, even −0."""
    strange = {name: value.clone() for name, value in z.items()}
    for name, still in denoiser.layout.split(s == t).items():
        strange[name][still] = -0.0 * strange[name][still].abs()
    stepped = _step(sampler, denoiser, strange, t, s, keys)
    for name, still in denoiser.layout.split(s == t).items():
        assert stepped[name].shape == z[name].shape
        same = (bits(stepped[name].to(z[name].dtype)) == bits(strange[name])).flatten(2).all(-1)
        assert same[still].all(), f"a step changed cells of {name!r} whose level does not change"


def check_steps_are_finite(
    sampler: Sampler, denoiser: Denoiser, z: Latents, t: Levels, s: Levels, keys: Int[Tensor, " batch"]
) -> None:
    """Law 2: a step and its gradient are finite at all levels, 0 and T among them."""
    z = {name: value.clone().requires_grad_() for name, value in z.items()}
    stepped = _step(sampler, denoiser, z, t, s, keys)
    assert all(value.isfinite().all() for value in stepped.values()), "a step made a number that is not finite"
    sum(value.sum() for value in stepped.values()).backward()
    assert all(value.grad.isfinite().all() for value in z.values()), "a step's gradient is not finite"


def check_constant_matrix_is_scalar(
    sampler: Sampler, denoiser: CellwiseDenoiser, z: Latents, t: float, s: float, keys: Int[Tensor, " batch"]
) -> None:
    """Law 5: with one level everywhere, a step is that of one cell which holds all numbers, bit for bit on CPU."""
    layout = denoiser.layout
    joined = torch.cat([z[name].flatten(1) for name in layout.modalities], dim=1)
    cell = Layout([Track("all", (0, 1), (), joined.shape[1])])

    def noise(stream: str) -> Latents:
        drawn = normal_latents(layout, keys, stream, dtype=joined.dtype)
        return {"all": torch.cat([drawn[name].flatten(1) for name in layout.modalities], dim=1)[:, None]}

    levels = [torch.full((len(keys), 1, 1), level, dtype=torch.float64) for level in (t, s)]
    scalar, state = attrs.evolve(denoiser, layout=cell), sampler.start({"all": joined[:, None]}, cell)
    expected = sampler.step(
        {"all": joined[:, None]}, *levels, denoise=lambda z, t: scalar(z, t), state=state, noise=noise
    )[0]["all"][:, 0]
    matrices = [torch.where(layout.valid, level, 0.0) for level in levels]
    stepped = _step(sampler, denoiser, z, *matrices, keys)
    actual = torch.cat([stepped[name].flatten(1) for name in layout.modalities], dim=1)
    assert torch.equal(actual, expected), "with one level everywhere a step is not that of a scalar-time model"


def check_uncoupled_cells_run_alone(
    sampler: Sampler, denoiser: CellwiseDenoiser, plan: SamplingPlan, clean: Latents, keys: Int[Tensor, " batch"]
) -> None:
    """Laws 1 and 8: in a whole run, a cell ends as if it had run alone and without pauses; given cells as they came.

    The plan may re-noise cells; then the others' history must be left alone.
    """
    layout = plan.layout
    together = generate(denoiser, sampler, plan, keys, given=clean)
    for m, n in layout.valid.nonzero().tolist():
        name, path = layout.modalities[m], plan.levels[:, m, n]
        if plan.given[m, n]:
            assert torch.equal(bits(together[name][:, n]), bits(clean[name][:, n])), "a given cell was changed"
            continue
        path = torch.unique_consecutive(path)
        levels = torch.zeros(len(path), layout.M, layout.N, dtype=torch.float64)
        levels[:, m, n] = path
        given = layout.valid.clone()
        given[m, n] = False
        own = attrs.evolve(plan, levels=levels, given=given)
        alone = generate(denoiser, sampler, own, keys, given=clean)
        where = layout.describe(m, n)
        assert torch.equal(together[name][:, n], alone[name][:, n]), f"{where} depends on other cells or on its pauses"


def check_sample_is_the_keys(
    sampler: Sampler, denoiser: Denoiser, plan: SamplingPlan, clean: Latents, keys: Int[Tensor, " batch"]
) -> None:
    """Law 9: an example of a batch is what it is alone."""
    together = generate(denoiser, sampler, plan, keys, given=clean)
    alone = generate(denoiser, sampler, plan, keys[-1:], given={name: value[-1:] for name, value in clean.items()})
    assert all(torch.equal(together[name][-1:], alone[name]) for name in alone), "the batch changes the sample"


def check_order_of_tracks_does_not_matter(
    sampler: Sampler,
    denoiser: CellwiseDenoiser,
    plan: SamplingPlan,
    clean: Latents,
    keys: Int[Tensor, " batch"],
    order: Sequence[int],
) -> None:
    """Law 8: with the tracks in another order, a whole run makes the same latents, bit for bit."""
    layout = Layout([plan.layout.tracks[m] for m in order])
    permuted = SamplingPlan(plan.levels[:, order], plan.given[order], layout, plan.num_levels)
    expected = generate(denoiser, sampler, plan, keys, given=clean)
    given = {name: clean[name] for name in layout.modalities}
    made = generate(attrs.evolve(denoiser, layout=layout), sampler, permuted, keys, given=given)
    assert all(torch.equal(made[name], expected[name]) for name in made), "the order of the tracks changes the sample"


def check_reset_forgets(
    sampler: Sampler,
    denoiser: CellwiseDenoiser,
    z: Latents,
    visited: Sequence[Levels],
    cells: Bool[Tensor, "batch modality segment"],
    keys: Int[Tensor, " batch"],
) -> None:
    """Law 8: after :meth:`Sampler.reset` these cells step as at first, and the others as without it, bit for bit.

    Args:
        sampler: what is checked; the shapes of its state are too.
        denoiser: predicts.
        z: latents at the first of the levels.
        visited: at least two matrices of levels that do not rise; ``cells`` are reset before the last step.
        cells: those reset.
        keys: what noise follows from.
    """
    layout, first = denoiser.layout, sampler.start(z, denoiser.layout)
    given, state = torch.zeros(layout.M, layout.N, dtype=torch.bool), first

    def step(z: Latents, t: Levels, s: Levels, state: dict[str, Tensor]) -> tuple[Latents, dict[str, Tensor]]:
        def noise(stream: str) -> Latents:
            return normal_latents(layout, keys, stream, dtype=next(iter(z.values())).dtype)

        made, after = sampler.step(
            z, t, s, denoise=lambda z, t: denoiser(z, t, given=given, keys=keys), state=state, noise=noise
        )
        assert _shapes(after) == _shapes(first), "the shapes of a sampler's state are fixed"
        return made, after

    for key, value in first.items():
        name = key.partition("/")[2]
        assert value.shape[:2] == (len(keys), layout.track(name).segments), f"state {key!r} does not lead with (B, N_m)"
    for t, s in zip(visited[:-2], visited[1:-1]):
        z, state = step(z, t, s, state)
    before = {key: value.clone() for key, value in state.items()}
    t, s = visited[-2:]
    (kept, _), (reset, _), (fresh, _) = (
        step(z, t, s, memory) for memory in (state, sampler.reset(state, cells), first)
    )
    assert all(torch.equal(bits(before[key]), bits(state[key])) for key in state), "a step or reset changed its input"
    for name, forgotten in layout.split(cells).items():
        assert torch.equal(bits(reset[name][forgotten]), bits(fresh[name][forgotten])), "reset leaves a history"
        assert torch.equal(bits(reset[name][~forgotten]), bits(kept[name][~forgotten])), "reset touches other cells"


def _shapes(state: dict[str, Tensor]) -> dict[str, tuple]:
    return {key: (value.shape, value.dtype) for key, value in state.items()}


def check_guidance(
    guidance: Guidance,
    denoiser: Denoiser,
    z: Latents,
    t: Levels,
    given: Bool[Tensor, "modality segment"],
    keys: Int[Tensor, " batch"],
    self_condition: Latents | None = None,
) -> None:
    """Laws 1, 2 and 9 for guidance: given cells stay clean, the prediction is finite, at the loop's own (z, t), and the
    same in every batch; what was passed in is left alone.
    """
    layout, guided = denoiser.layout, guidance(denoiser)
    before = {name: value.clone() for name, value in z.items()}
    prediction = guided(z, t, given=given, keys=keys, self_condition=self_condition)
    assert guided.layout == layout
    assert guided.schedule is denoiser.schedule
    assert torch.equal(prediction.t, t), "the prediction is at other levels"
    for name, cells in layout.split(given).items():
        assert torch.equal(bits(z[name]), bits(before[name])), "guidance changed its input"
        assert torch.equal(bits(prediction.z[name]), bits(z[name])), "the prediction is at other latents"
        assert prediction.value[name].shape == z[name].shape
        assert prediction.x0[name].isfinite().all()
        assert torch.equal(bits(prediction.x0[name][:, cells]), bits(z[name][:, cells])), "given cells are not clean"
    for b in range(len(keys)):
        one = slice(b, b + 1)
        alone = guided(
            {name: value[one] for name, value in z.items()}, t[one], given=given, keys=keys[one],
            self_condition=self_condition and {name: value[one] for name, value in self_condition.items()},
        )  # fmt: skip
        for name, value in alone.x0.items():
            torch.testing.assert_close(value[0], prediction.x0[name][b], msg="the batch changes the prediction")


def check_backbone(backbone: Backbone, z: Latents, t: Levels) -> None:
    """Laws 2 and 9 for a network: finite at all levels, shaped as its input, the same in every batch to 1e-5."""
    value = backbone(z, t)
    for name, latents in z.items():
        assert value[name].shape == latents.shape
        assert value[name].dtype == latents.dtype
        assert value[name].isfinite().all()
    for b in range(len(t)):
        alone = backbone({name: latents[b : b + 1] for name, latents in z.items()}, t[b : b + 1])
        for name in z:
            torch.testing.assert_close(alone[name][0], value[name][b], rtol=1e-5, atol=1e-5)


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
