"""The laws of samplers, for one step and for whole runs."""

from collections.abc import Sequence

import attrs
import torch
from jaxtyping import Bool
from torch import Tensor

from mmseqdiff.forward import normal_latents
from mmseqdiff.generate import generate
from mmseqdiff.layout import Layout, Track
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.protocols import (
    Denoiser,
    Keys,
    Latents,
    Levels,
    Sampler,
    State,
)
from mmseqdiff.testing.cellwise import CellwiseDenoiser
from mmseqdiff.testing.laws.parts import bits

__all__ = [
    "check_constant_matrix_is_scalar",
    "check_order_of_tracks_does_not_matter",
    "check_reset_forgets",
    "check_sample_is_the_keys",
    "check_steps_are_finite",
    "check_uncoupled_cells_run_alone",
    "check_unmoved_cells_are_copied",
]


def _step(sampler: Sampler, denoiser: Denoiser, z: Latents, t: Levels, s: Levels, keys: Keys) -> Latents:
    """One step from the sampler's first state."""
    layout = denoiser.layout
    given = torch.zeros(layout.M, layout.N, dtype=torch.bool, device=t.device)
    return sampler.step(
        z, t, s,
        denoise=lambda z, t: denoiser(z, t, given=given, keys=keys),
        state=sampler.start(z, layout),
        noise=lambda stream: normal_latents(layout, keys, stream, dtype=next(iter(z.values())).dtype),
    )[0]  # fmt: skip


def check_unmoved_cells_are_copied(
    sampler: Sampler, denoiser: Denoiser, z: Latents, t: Levels, s: Levels, keys: Keys
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


def check_steps_are_finite(sampler: Sampler, denoiser: Denoiser, z: Latents, t: Levels, s: Levels, keys: Keys) -> None:
    """Law 2: a step and its gradient are finite at all levels, 0 and T among them."""
    z = {name: value.clone().requires_grad_() for name, value in z.items()}
    stepped = _step(sampler, denoiser, z, t, s, keys)
    assert all(value.isfinite().all() for value in stepped.values()), "a step made a number that is not finite"
    sum(value.sum() for value in stepped.values()).backward()
    assert all(value.grad.isfinite().all() for value in z.values()), "a step's gradient is not finite"


def check_constant_matrix_is_scalar(
    sampler: Sampler, denoiser: CellwiseDenoiser, z: Latents, t: float, s: float, keys: Keys
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
    sampler: Sampler, denoiser: CellwiseDenoiser, plan: SamplingPlan, clean: Latents, keys: Keys
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
    sampler: Sampler, denoiser: Denoiser, plan: SamplingPlan, clean: Latents, keys: Keys
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
    keys: Keys,
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
    keys: Keys,
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

    def step(z: Latents, t: Levels, s: Levels, state: State) -> tuple[Latents, State]:
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


def _shapes(state: State) -> dict[str, tuple]:
    return {key: (value.shape, value.dtype) for key, value in state.items()}
