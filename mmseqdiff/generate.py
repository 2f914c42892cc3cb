"""The one sampling loop.

For every row r of the plan, with t = levels[r] and s = levels[r + 1] (arXiv:2405.13762 Algorithms 3 and 4, for any
matrix and any sampler):

    (1) predict at (z, t), with the last estimate of the clean latents as self-condition
    (2) z ← sampler step from t to s; a cell with s = t is copied
    (3) the self-condition of every cell that fell ← its new estimate
    (4) a cell with s > t is re-noised by the forward process; its self-condition and the sampler's memory of it start anew

Random numbers are keyed by example, modality, segment and the cell's own count of moves, so that neither the batch
nor a pause nor the plan of another cell changes them.
"""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Int
from torch import Tensor

from mmseqdiff.forward import ForwardProcess, Prediction, normal_latents
from mmseqdiff.origin import check_latents
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.protocols import Denoiser, Latents, Sampler
from mmseqdiff.timesteps import expand

__all__ = ["generate"]


@torch.no_grad()
def generate(
    denoiser: Denoiser,
    sampler: Sampler,
    plan: SamplingPlan,
    keys: Int[Tensor, " batch"],
    *,
    given: Latents | None = None,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    observe: Callable[..., None] | None = None,
) -> dict[str, Tensor]:
    """Samples the cells that the plan moves, conditioned on those it does not.

    Args:
        denoiser: what predicts; its device is that of ``keys``.
        sampler: how a step is made.
        plan: the levels to visit.
        keys: one int64 key per example.
        given: latents that hold the given cells' values, and the clean values of cells that start below T (what else
            they hold is never read); needed if the plan has such cells.
        dtype: of the latents.
        progress: wraps the iteration over steps, as ``rich.progress.track`` does.
        observe: called after every step, with what :func:`mmseqdiff.host.hookspecs.sampling_step` is told.

    Returns:
        Latents ``(B, N_m, *grid, channels)``; given cells as they came, bit for bit.

    Raises:
        ValueError: if the plan is for another layout or number of levels than the denoiser's, or needs latents that ``given``
            lacks, or has in another shape.
        PluginError: if the denoiser or the sampler returns latents of other modalities or shapes.
    """
    if plan.layout != denoiser.layout or plan.num_levels != denoiser.schedule.num_levels:
        raise ValueError(
            f"the plan is for {plan.num_levels} levels of {plan.layout}, the denoiser for {denoiser.schedule.num_levels} of {denoiser.layout}"
        )
    sampler = sampler.for_plan(plan)
    layout, device, forward = plan.layout, keys.device, ForwardProcess(denoiser.schedule, plan.layout)
    is_given, rows = plan.given.to(device), plan.levels.to(device)[:, None].expand(-1, len(keys), -1, -1)
    start = normal_latents(layout, keys, "start", dtype=dtype)
    clean = _clean(plan, given or {}, start)
    z = forward.corrupt(clean, start, rows[0])
    estimate = {}
    for name, cells in layout.split(is_given[None]).items():
        from_noise = layout.split(rows[0] == plan.num_levels)[name]
        z[name] = torch.where(expand(from_noise, z[name]), start[name], z[name])
        estimate[name] = torch.where(expand(cells, z[name]), clean[name], 0)

    moves, state = plan.moves().to(device), sampler.start(z, layout)
    falls, rises = plan.falls.tolist(), plan.rises.tolist()
    for r in progress(range(plan.steps)):
        t, s = rows[r], rows[r + 1]
        first: list[Prediction] = []

        def denoise(z: Latents, t: Tensor, first: list[Prediction] = first) -> Prediction:
            prediction = denoiser(z, t, given=is_given, keys=keys, self_condition=estimate)
            check_latents(denoiser, "a prediction", prediction.value, start)
            if not first:
                first.append(prediction)
            return prediction

        def noise(stream: str, r: int = r) -> Latents:
            return normal_latents(layout, keys, f"step {stream}", moves[r], dtype)

        if falls[r]:
            z, state = sampler.step(z, t, torch.minimum(t, s), denoise=denoise, state=state, noise=noise)
            check_latents(sampler, "latents", z, start)
            for name, fell in layout.split(s < t).items():
                estimate[name] = torch.where(expand(fell, z[name]), first[0].x0[name].to(dtype), estimate[name])
        if rises[r]:
            z = forward.renoise(z, normal_latents(layout, keys, "renoise", moves[r], dtype), t, s)
            state = sampler.reset(state, s > t)
            for name, rose in layout.split(s > t).items():
                estimate[name] = torch.where(expand(rose, z[name]), 0, estimate[name])
        if observe is not None:
            copies = {name: value.clone() for name, value in z.items()}
            observe(step=r + 1, steps=plan.steps, levels=plan.levels[r + 1].clone(), latents=copies)
    return z


def _clean(plan: SamplingPlan, given: Latents, like: Latents) -> dict[str, Tensor]:
    """The latents that the plan starts from: those supplied, or zeros for a modality of which it needs none."""
    clean = {}
    needed = plan.layout.split(plan.layout.valid & (plan.levels[0] != plan.num_levels))
    for name, noise in like.items():
        if name not in given:
            if needed[name].any():
                raise ValueError(f"the plan takes cells of {name!r} as given, but no latents were given for it")
            clean[name] = torch.zeros_like(noise)
            continue
        clean[name] = given[name].to(noise.device, noise.dtype)
        if clean[name].shape != noise.shape:
            raise ValueError(f"given latents of {name!r} are {tuple(given[name].shape)}, expected {tuple(noise.shape)}")
    return clean
