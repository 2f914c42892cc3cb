"""The laws of samplers that say how near their samples come to the world's, and how fast.

In a world of one Gaussian number z_0 ~ N(mu, v) the exact prediction is affine in z, and so is a step of any sampler. A run
is then its response to z_T and to each draw of noise xi_r, r = 1 … S:

    (1) z_s = c + a z_T + Σ_r b_r xi_r,   so that   Var z_s = a² Var z_T + Σ_r b_r²,   without a sample being drawn
    (2) the world has Var z_s = alpha_s² v + sigma_s²
    (3) a sampler of order p is off by O(S^−p) along levels that are a smooth function of r / S

With noise or without, (1) is all there is to know of a distribution but its mean, which is exact where x0 is constant.
Levels fall as (r / S)³, so slowly at first that the lower order of a multi-step sampler's first steps does not show.

A sampler that can be calibrated measures what it cannot know, and is then nearer to (2) along few steps.
"""

from collections.abc import Mapping

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.layout import Layout, Track
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.protocols import Latents, Sampler
from mmseqdiff.testing.contracts.contract import Contract, law, not_applicable
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.testing.strategies import Arc

__all__ = ["SamplerConvergence"]

SCHEDULE = Arc(num_levels=1000, angle=1.5)
STOP = 300.0
"""Where a run stops: the last step, to 0, is of order 1 for all samplers."""
STEPS = 64
FEW = 4
"""Steps after which a sampler that is calibrated should be nearer than one that is not."""
TOLERANCE = 0.5
"""An order that is less than stated by this much is another order."""


@attrs.frozen(eq=False)
class Numbers:
    """Independent Gaussian numbers of mean 0, a cell for every modality.

    Attributes:
        variances: modality → v of its numbers.
    """

    variances: Mapping[str, tuple[float, ...]]

    @property
    def layout(self) -> Layout:
        """A segment of a second for every modality."""
        return Layout([Track(name, (0, 1), (), len(own)) for name, own in self.variances.items()])

    @property
    def world(self) -> GaussianWorld:
        """The exact world."""
        every = torch.tensor([v for own in self.variances.values() for v in own], dtype=torch.float64)
        return GaussianWorld(self.layout, torch.zeros_like(every), every.diag())


SEVERAL = Numbers({"one": (0.1, 0.5, 3.0)})
"""Their errors are added up, so that one that changes its sign does not count alone."""
ALIKE = Numbers({"one": (0.5,) * 8, "two": (0.1,) * 8})
"""Each modality's numbers have one variance, so that what is measured for a modality is exact for each of them."""


class SamplerConvergence(Contract):
    """A sampler may state the order of its error as ``convergence``. It is then held to it."""

    kind = "sampler"
    plugin: Sampler

    @law(5)
    def test_the_error_falls_as_stated(self) -> None:
        """Along twice as many steps the variance of samples is as much nearer to the world's as the sampler states."""
        order = getattr(self.plugin, "convergence", None)
        if order is None:
            raise not_applicable("the sampler states no order of convergence")
        coarse, fine = (self._error(self.plugin, SEVERAL, _falling(SEVERAL, steps)) for steps in (STEPS, 2 * STEPS))
        assert fine <= coarse / 2 ** (order - TOLERANCE), (
            f"a sampler of order {order} has an error of {coarse:.3g} in the variance after {STEPS} steps, and of {fine:.3g} "
            f"after {2 * STEPS}: expected about {coarse / 2**order:.3g}"
        )

    @law(5)
    def test_calibration_brings_samples_nearer(self) -> None:
        """Calibrated along a plan, few steps leave a quarter of the error in the variance of samples, or less."""
        plan, keys = _falling(ALIKE, FEW), random.example_keys(0, range(1000))
        denoiser, clean = ALIKE.world.denoiser(SCHEDULE), ALIKE.world.sample(keys)
        calibrated = self.plugin.calibrated(denoiser, plan, clean, keys)
        if calibrated == self.plugin:
            raise not_applicable("the sampler measures nothing")
        before, after = (self._error(sampler.for_plan(plan), ALIKE, plan) for sampler in (self.plugin, calibrated))
        assert after <= before / 4, f"the error is {before:.3g} before calibration, and {after:.3g} after it"

    @staticmethod
    def _error(sampler: Sampler, numbers: Numbers, plan: SamplingPlan) -> float:
        """The errors of all variances where the run stops, added up."""
        levels = plan.levels[:-1].amax((1, 2))
        expected = [
            SCHEDULE.alpha(levels[-1]) ** 2 * v + SCHEDULE.sigma(levels[-1]) ** 2
            for own in numbers.variances.values()
            for v in own
        ]
        found = numbers.world.flatten(_responses(sampler, numbers, levels)).square().sum(0)  # Eq. (1)
        return float((found - torch.stack(expected)).abs().sum())  # Eq. (2)


def _falling(numbers: Numbers, steps: int) -> SamplingPlan:
    """So many steps to where runs stop, and one to 0."""
    layout, rows = numbers.layout, torch.linspace(0, 1, steps + 1, dtype=torch.float64) ** 3
    levels = torch.cat([SCHEDULE.num_levels - (SCHEDULE.num_levels - STOP) * rows, torch.zeros(1)])
    return SamplingPlan(levels[:, None, None] * layout.valid, ~layout.valid, layout, SCHEDULE.num_levels)


def _responses(sampler: Sampler, numbers: Numbers, levels: Float[Tensor, " row"]) -> dict[str, Tensor]:
    """a, times the deviation that z starts with, and b_1 … b_S: each the run of an example in which nothing else is drawn."""
    layout, steps = numbers.layout, len(levels) - 1
    keys = torch.arange(steps + 2)
    silent = {track.modality: torch.zeros(len(keys), *track.shape, dtype=torch.float64) for track in layout.tracks}

    def loud(example: int) -> Latents:
        return {name: value.index_fill(0, torch.tensor([example]), 1.0) for name, value in silent.items()}

    z = loud(0)
    for name, own in numbers.variances.items():
        v = torch.tensor(own, dtype=torch.float64)
        z[name] = z[name] * (SCHEDULE.alpha(levels[0]) ** 2 * v + SCHEDULE.sigma(levels[0]) ** 2).sqrt()
    denoiser, state = numbers.world.denoiser(SCHEDULE), sampler.start(z, layout)
    for r in range(steps):
        t, s = (level.expand(len(keys), layout.M, layout.N) for level in levels[r : r + 2])
        z, state = sampler.step(
            z, t, s,
            denoise=lambda z, t: denoiser(z, t, given=~layout.valid, keys=keys),
            state=state,
            noise=lambda stream, r=r: loud(1 + r),
        )  # fmt: skip
    return {name: value[:-1] - value[-1:] for name, value in z.items()}  # the last example is silent throughout: c
