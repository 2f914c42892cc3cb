"""Reconstruction guidance (arXiv:2204.03458 Eq. 7): replacement, pulled towards latents that explain the condition.

With (z', t') as replacement shows them, x the clean cells and x̂0(z') the joint prediction,

    (1) x̃0_e = x̂0_e(z') − w alpha_e / 2 · ∂/∂z'_e Σ_{clean} ‖x − x̂0(z')‖²         in every cell e that is not clean

w = 1 is what Bayes' rule says if x given z' were normal about x̂0 with variance sigma² / alpha² in each number by itself. It
is not: the error of x̂0 is smaller, and correlated. So this lessens replacement's bias and does not end it.

The gradient goes through the network: two to three times the memory, and it needs autograd even in a loop without.
"""

import attrs
import torch

from mmseqdiff.denoiser import WrappedDenoiser
from mmseqdiff.forward import Prediction
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import Cells, Denoiser, Guidance, Keys, Latents, Levels
from mmseqdiff.timesteps import expand
from mmseqdiff_guidance.replacement import ReplacedDenoiser, without

__all__ = ["ReconstructedDenoiser", "Reconstruction"]


@attrs.frozen
class Reconstruction(Guidance):
    """Eq. (1); one evaluation a step, and its gradient.

    Attributes:
        weight: w; 0 is replacement.
    """

    weight: float = attrs.field(default=1.0, validator=attrs.validators.ge(0))

    def evaluations(self, layout: Layout, given: Cells) -> int:
        """One; its gradient is not counted."""
        return 1

    def __call__(self, denoiser: Denoiser) -> "ReconstructedDenoiser":
        """The denoiser of Eq. (1)."""
        return ReconstructedDenoiser(ReplacedDenoiser(denoiser), self.weight)


@attrs.frozen(eq=False)
class ReconstructedDenoiser(WrappedDenoiser):
    """What :class:`Reconstruction` makes of a denoiser."""

    denoiser: ReplacedDenoiser
    weight: float

    def __call__(
        self, z: Latents, t: Levels, *, given: Cells, keys: Keys, self_condition: Latents | None = None
    ) -> Prediction:
        """Eq. (1), as a prediction at the loop's own (z, t)."""
        clean = self.denoiser.condition(t)
        cells = {name: expand(row, z[name]) for name, row in self.layout.split(clean).items()}
        shown, levels = self.denoiser.shown(z, t, keys)
        with torch.enable_grad():
            leaves = {name: value.detach().requires_grad_() for name, value in shown.items()}
            hidden = without(self_condition, clean, self.layout)
            prediction = self.denoiser.denoiser(leaves, levels, given=given, keys=keys, self_condition=hidden)
            error = sum(torch.where(cells[name], z[name] - x0, 0).square().sum() for name, x0 in prediction.x0.items())
            gradient = torch.autograd.grad(error, [leaves[name] for name in z])
        x0, alpha = {}, self.layout.split(self.schedule.alpha(t))
        for name, slope in zip(z, gradient):
            x0[name] = prediction.x0[name].detach() - self.weight / 2 * expand(alpha[name], slope) * slope
        return attrs.evolve(prediction, value=x0, kind="x0", z=z, t=t).to(prediction.kind)
