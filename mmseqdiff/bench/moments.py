"""What a sampler makes of a Gaussian world, without sampling: exact means and covariances.

With the world's optimal denoiser every step is an affine map of the latents, of the sampler's state and of the step's own
noise. So a batch can carry a whole Gaussian: example 0 is its mean and the others are a basis,

    (1) mean = x_0,   covariance = Σ_i (x_i − x_0)(x_i − x_0)ᵀ

and a step's noise is more examples, each with one number of one draw at 1. After such a step the basis is shortened to
as many examples as there are numbers, by QR, which keeps (1): so the cost of a step does not grow with their number.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.protocols import Latents, NoiseSchedule, Sampler
from mmseqdiff.testing.gaussian import GaussianWorld

__all__ = ["noise_streams", "push"]

Vectors = Float[Tensor, "batch dimension"]


def noise_streams(
    world: GaussianWorld,
    schedule: NoiseSchedule,
    sampler: Sampler,
    levels: Float[Tensor, "rows modality segment"],
    given: Bool[Tensor, "modality segment"],
) -> list[str]:
    """The names of the noise that a step draws; none for a deterministic sampler."""
    asked: list[str] = []

    def noise(stream: str) -> Latents:
        asked.append(stream)
        return world.unflatten(torch.zeros(1, len(world.mean), dtype=torch.float64))

    z = world.unflatten(torch.zeros(1, len(world.mean), dtype=torch.float64))
    _step(world, schedule, sampler, z, levels[0], levels[1], given, sampler.start(z, world.layout), noise)
    return list(dict.fromkeys(asked))


@torch.no_grad()
def push(
    world: GaussianWorld,
    schedule: NoiseSchedule,
    sampler: Sampler,
    levels: Float[Tensor, "rows modality segment"],
    given: Bool[Tensor, "modality segment"],
    start: Vectors,
    exact: Callable[[int], Vectors | None] = lambda row: None,
) -> Float[Tensor, "after dimension"]:
    """A Gaussian at the first of the levels, carried to the last.

    Args:
        world: whose optimal denoiser predicts.
        schedule: the noise schedule.
        sampler: makes the steps.
        levels: what cells go through, as in a plan; they need not end at 0.
        given: the given cells.
        start: mean and basis, Eq. (1); given cells clean.
        exact: latents to put in place of what the step to a row made, or None; the sampler's state is kept. Only for
            deterministic samplers.

    Returns:
        Mean and basis at the last row; the basis of a deterministic sampler is that of ``start``, example by example.
    """
    streams, dimension = noise_streams(world, schedule, sampler, levels, given), len(world.mean)
    z = world.unflatten(start)
    state = sampler.start(z, world.layout)
    for r in range(len(levels) - 1):
        if streams:
            z, state = _with_mean(z, state, dimension * len(streams))
        count = len(next(iter(z.values())))

        def noise(stream: str, count: int = count) -> Latents:
            drawn = torch.zeros(count, dimension, dtype=torch.float64)
            first = count - dimension * (1 + streams.index(stream))
            drawn[first : first + dimension] = torch.eye(dimension, dtype=torch.float64)
            return world.unflatten(drawn)

        z, state = _step(world, schedule, sampler, z, levels[r], levels[r + 1], given, state, noise)
        replaced = exact(r + 1)
        if replaced is not None:
            z = world.unflatten(replaced)
        if streams:
            z, state = _shortened(z, state)
    return world.flatten(z)


def _step(
    world: GaussianWorld,
    schedule: NoiseSchedule,
    sampler: Sampler,
    z: Latents,
    t: Float[Tensor, "modality segment"],
    s: Float[Tensor, "modality segment"],
    given: Bool[Tensor, "modality segment"],
    state: dict[str, Tensor],
    noise: Callable[[str], Latents],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    count = len(next(iter(z.values())))
    denoiser, keys = world.denoiser(schedule, "v"), random.example_keys(0, range(count))
    return sampler.step(
        z, t.expand(count, -1, -1), s.expand(count, -1, -1),
        denoise=lambda z, t: denoiser(z, t, given=given, keys=keys), state=state, noise=noise,
    )  # fmt: skip


def _with_mean(z: Latents, state: dict[str, Tensor], more: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The same batch with ``more`` copies of example 0 at its end."""
    longer = [
        {key: torch.cat([x, x[:1].expand(more, *x.shape[1:])]) for key, x in tensors.items()} for tensors in (z, state)
    ]
    return longer[0], longer[1]


def _shortened(z: Latents, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A batch of the same mean and covariance, of latents and of what the state holds of them together."""
    shapes = {x.shape[1:] for x in z.values()}
    numbers = {("z", key): x for key, x in z.items()}
    numbers.update({("state", key): x for key, x in state.items() if x.is_floating_point() and x.shape[1:] in shapes})
    flat = torch.cat([x.flatten(1).double() for x in numbers.values()], dim=1)
    basis = torch.cat([flat[:1], flat[0] + torch.linalg.qr(flat[1:] - flat[0], mode="r").R])
    parts = basis.split([x[0].numel() for x in numbers.values()], dim=1)
    short = {key: part.reshape(-1, *x.shape[1:]).to(x.dtype) for (key, x), part in zip(numbers.items(), parts)}
    rest = {key: x[:1].expand(len(basis), *x.shape[1:]) for key, x in state.items()}
    return (
        {key: short["z", key] for key in z},
        {key: short.get(("state", key), value) for key, value in rest.items()},
    )
