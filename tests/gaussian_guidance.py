"""One Gaussian world for the tests of guidance, and the exact moments of what a guided run samples from it."""

import math

import attrs
import torch
from hypothesis import strategies as st

from mmseqdiff import random
from mmseqdiff.forward import normal_latents
from mmseqdiff.generate import generate
from mmseqdiff.layout import Layout, Track
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.testing.strategies import Arc, given_cells, keys, latents, timesteps

LAYOUT = Layout([Track("video", [0, 1, 2], (2,), 1), Track("audio", [0, "0.5", 1, 2]), Track("pose", [0, 2])])
WORLD = GaussianWorld.random(LAYOUT, seed=4)
PURE = Arc(8, math.pi / 2)
"""A schedule whose level T is noise and nothing else: there a re-noised condition is exactly absent."""


def absent(hidden):
    """The world of the cells that are not hidden: a marginal, in which hidden cells share nothing with the others."""
    kept = WORLD.coordinates((~hidden).double()) > 0
    covariance = WORLD.covariance * (kept[:, None] & kept) + torch.diag((~kept).double())
    return attrs.evolve(WORLD, covariance=covariance)


@st.composite
def situations(draw):
    """Cells given, the levels of the others, latents and keys."""
    given = draw(given_cells(LAYOUT))
    t = torch.where(given, 0, draw(timesteps(LAYOUT, PURE.num_levels, dtype=torch.float64)))
    return given, t, draw(latents(LAYOUT, dtype=torch.float64)), draw(keys())


def moments(world, fact, plan, sampler, schedule, guidance=None, streams=(), counts=()):
    """The mean and covariance of the generated cells, and those of the exact conditional.

    A run with exact denoisers is an affine map of its noise. Runs on more draws than there are numbers in the noise are
    fitted by that map, without remainder, and its coefficients are the moments: there is no Monte Carlo error.

    Args:
        fact: one clip, whose given cells are the condition.
        streams: names of the noise that the guidance draws, as often as cells move or not.
        counts: how often a cell has moved before each draw of a stochastic sampler's noise ``step ddpm``.
    """
    layout, f64 = world.layout, torch.float64
    draws, zero = 2 + (len(streams) + 1 + len(counts)) * len(world.mean), torch.zeros(layout.M, layout.N).long()
    keys, denoiser = random.example_keys(1, range(draws + 8)), world.denoiser(schedule, "v")
    if guidance is not None:
        sampler, denoiser = guidance.sampler(sampler, denoiser), guidance(denoiser)
    noise = [normal_latents(layout, keys, "start", dtype=f64)]
    noise += [normal_latents(layout, keys, name, zero if name.startswith("step") else None, f64) for name in streams]
    noise += [normal_latents(layout, keys, "step ddpm", zero + count, f64) for count in counts]
    known = {name: value.expand(len(keys), *value.shape[1:]) for name, value in fact.items()}
    made = world.flatten(generate(denoiser, sampler, plan, keys, given=known, dtype=f64))
    truth = world.conditional(plan.given)
    inputs = torch.cat([torch.ones(len(keys), 1, dtype=f64), *(world.flatten(one) for one in noise)], dim=1)
    outputs = made[:, truth.free]
    map_ = torch.linalg.lstsq(inputs, outputs, driver="gelsd").solution
    torch.testing.assert_close(inputs @ map_, outputs, rtol=0, atol=1e-9)
    return (map_[0], map_[1:].T @ map_[1:]), (truth.mean(world.flatten(fact))[0], truth.covariance)


def errors(found, truth):
    """Of the mean and of the covariance, relative (Frobenius)."""
    return tuple(float((one - other).norm() / other.norm()) for one, other in zip(found, truth))
