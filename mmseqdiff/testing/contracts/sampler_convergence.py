"""The law of samplers that says how fast their samples approach the world's.

In a world of one Gaussian number z_0 ~ N(mu, v) the exact prediction is affine in z, and so is a step of any sampler. A run
is then its response to z_T and to each draw of noise xi_r, r = 1 … S:

    (1) z_s = c + a z_T + Σ_r b_r xi_r,   so that   Var z_s = a² Var z_T + Σ_r b_r²,   without a sample being drawn
    (2) the world has Var z_s = alpha_s² v + sigma_s²
    (3) a sampler of order p is off by O(S^−p) along levels that are a smooth function of r / S

With noise or without, (1) is all there is to know of a distribution but its mean, which is exact where x0 is constant.
Levels fall as (r / S)³, so slowly at first that the lower order of a multi-step sampler's first steps does not show.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from mmseqdiff.layout import Layout, Track
from mmseqdiff.protocols import Latents, Sampler
from mmseqdiff.testing.contracts.contract import Contract, law, not_applicable
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.testing.strategies import Arc

__all__ = ["SamplerConvergence"]

VARIANCES = torch.tensor([0.1, 0.5, 3.0], dtype=torch.float64)
"""v of three independent numbers, whose errors are added up, so that one that changes its sign does not count alone."""
ONE = Layout([Track("one", (0, 1), (), len(VARIANCES))])
WORLD = GaussianWorld(ONE, torch.zeros_like(VARIANCES), VARIANCES.diag())
SCHEDULE = Arc(num_levels=1000, angle=1.5)
STOP = 300.0
"""Where a run stops: the last step, to 0, is of order 1 for all samplers."""
STEPS = 64
TOLERANCE = 0.5
"""An order that is less than stated by this much is another order."""


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
        coarse, fine = (self._error(steps) for steps in (STEPS, 2 * STEPS))
        assert fine <= coarse / 2 ** (order - TOLERANCE), (
            f"a sampler of order {order} has an error of {coarse:.3g} in the variance after {STEPS} steps, and of {fine:.3g} "
            f"after {2 * STEPS}: expected about {coarse / 2**order:.3g}"
        )

    def _error(self, steps: int) -> float:
        rows = torch.linspace(0, 1, steps + 1, dtype=torch.float64) ** 3
        levels = SCHEDULE.num_levels - (SCHEDULE.num_levels - STOP) * rows
        start, stop = (SCHEDULE.alpha(level) ** 2 * VARIANCES + SCHEDULE.sigma(level) ** 2 for level in levels[[0, -1]])
        return float((self._responses(levels, start.sqrt()).square().sum(0) - stop).abs().sum())  # Eq. (1), (2)

    def _responses(
        self, levels: Float[Tensor, " row"], start: Float[Tensor, " number"]
    ) -> Float[Tensor, "draw number"]:
        """a, times the deviation that z starts with, and b_1 … b_S: each the run of an example in which nothing else is drawn."""
        steps = len(levels) - 1
        keys, none = torch.arange(steps + 2), torch.zeros(1, 1, dtype=torch.bool)
        silent = torch.zeros(len(keys), 1, len(VARIANCES), dtype=torch.float64)
        z = {"one": silent.clone()}
        z["one"][0, 0] = start
        denoiser, state = WORLD.denoiser(SCHEDULE), self.plugin.start(z, ONE)
        for r in range(steps):
            t, s = (torch.full_like(silent[:, :, :1], float(level)) for level in levels[r : r + 2])

            def noise(stream: str, r: int = r) -> Latents:
                return {"one": silent.index_fill(0, torch.tensor([1 + r]), 1.0)}

            z, state = self.plugin.step(
                z, t, s, denoise=lambda z, t: denoiser(z, t, given=none, keys=keys), state=state, noise=noise
            )
        ends = z["one"][:, 0]
        return ends[:-1] - ends[-1]  # the last example is silent throughout: c
