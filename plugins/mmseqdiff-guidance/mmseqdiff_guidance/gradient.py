"""MM-Diffusion's gradient guidance (arXiv:2212.09478 §3.4; arXiv:2405.13762 Eq. 8–12).

Replacement, corrected after every step towards samples for which the joint step takes the condition where it belongs. With
x the clean cells, c, at level t' and noise xi as in :mod:`mmseqdiff_guidance.replacement`, s' the level they would step to:

    (1) y = step(z', t' → s')                                                         Eq. 8, 10
    (2) L = Σ_c (y_c − (alpha_{s'} x + sigma_{s'} xi))²                               Eq. 9, 11–12
    (3) z_s = y − λ g(t) ∂L/∂z'    in cells with s > 0;  g = alpha or sigma

The published code takes the gradient at z', applies it at the next level as (3) does, weighs it by alpha_t and not at all in
the last step, and means L (λ = 3); the papers print sigma (λ = 0.02, and divergence above, with the sum). Eq. 9 prints a
norm where Eq. 11 and 12 print its square; here it is the square. The mean is over each example's own numbers, so that a
sample does not depend on its batch. The noise that a stochastic step would add to y_c is left out: it would add noise to
the correction, and nothing else. Along a plan in which some cells finish before others, finished cells join the condition,
but keep their self-condition: it still shows them clean. This is a baseline.
"""

import attrs
import torch
from jaxtyping import Bool
from torch import Tensor

from mmseqdiff.denoiser import WrappedDenoiser
from mmseqdiff.forward import ForwardProcess, Prediction
from mmseqdiff.layout import Layout
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.protocols import (
    Cells,
    Denoise,
    Denoiser,
    Guidance,
    Keys,
    Latents,
    Levels,
    Noise,
    NoiseSchedule,
    Sampler,
    State,
)
from mmseqdiff.timesteps import expand
from mmseqdiff_guidance.replacement import joined, without

__all__ = ["Gradient", "GradientSampler"]


@attrs.frozen
class Gradient(Guidance):
    """Guides the sampler, which it wraps; one evaluation where the sampler has one, and its gradient.

    Attributes:
        scale: λ.
        weight: g: ``alpha`` (as in the code, sqrt(alpha_bar)) or ``sigma`` (as in the papers, sqrt(1 − alpha_bar)).
        reduce: ``mean`` or ``sum`` over an example's condition in L.
    """

    scale: float = 3.0
    weight: str = attrs.field(default="alpha", validator=attrs.validators.in_(("alpha", "sigma")))
    reduce: str = attrs.field(default="mean", validator=attrs.validators.in_(("mean", "sum")))

    def evaluations(self, layout: Layout, given: Cells) -> int:
        """One; its gradient is not counted."""
        return 1

    def __call__(self, denoiser: Denoiser) -> "BlindDenoiser":
        """The same denoiser, but that a given cell which is shown noisy has no self-condition."""
        return BlindDenoiser(denoiser)

    def sampler(self, sampler: Sampler, denoiser: Denoiser) -> "GradientSampler":
        """The sampler whose steps are Eq. (3)."""
        return GradientSampler(sampler, self, denoiser.layout, denoiser.schedule)


@attrs.frozen(eq=False)
class BlindDenoiser(WrappedDenoiser):
    """A denoiser that hides the self-condition of given cells where they are not clean."""

    denoiser: Denoiser

    def __call__(
        self, z: Latents, t: Levels, *, given: Cells, keys: Keys, self_condition: Latents | None = None
    ) -> Prediction:
        """The denoiser's prediction."""
        hidden = without(self_condition, given & (t > 0), self.layout)
        return self.denoiser(z, t, given=given, keys=keys, self_condition=hidden)


@attrs.frozen(eq=False)
class GradientSampler(Sampler):
    """What :class:`Gradient` makes of a sampler: any, also one with several evaluations or a history."""

    inner: Sampler
    guidance: Gradient
    layout: Layout
    schedule: NoiseSchedule

    @property
    def evaluations(self) -> int:
        """The inner sampler's."""
        return self.inner.evaluations

    def for_plan(self, plan: SamplingPlan) -> "GradientSampler":
        """With the inner sampler for the plan."""
        return attrs.evolve(self, inner=self.inner.for_plan(plan))

    def start(self, z: Latents, layout: Layout) -> dict[str, Tensor]:
        """The inner sampler's state."""
        return self.inner.start(z, layout)

    def reset(self, state: dict[str, Tensor], cells: Bool[Tensor, "batch modality segment"]) -> dict[str, Tensor]:
        """The inner sampler's."""
        return self.inner.reset(state, cells)

    def step(
        self, z: Latents, t: Levels, s: Levels, *, denoise: Denoise, state: State, noise: Noise
    ) -> tuple[Latents, State]:
        """Eq. (3); clean cells are copied bit for bit."""
        forward, clean = ForwardProcess(self.schedule, self.layout), (t == 0) & self.layout.valid.to(t.device)
        before, after = joined(t, clean), joined(s, clean)
        cells = {name: expand(row, z[name]) for name, row in self.layout.split(clean).items()}
        fixed = noise("condition")  # given cells never move: the same numbers at every step
        shown, wanted = (forward.renoise(z, fixed, t, torch.where(clean, level, t)) for level in (before, after))

        def noise_of_the_others(stream: str) -> Latents:
            return {name: torch.where(cells[name], 0, value) for name, value in noise(stream).items()}

        with torch.enable_grad():
            leaves = {name: value.detach().requires_grad_() for name, value in shown.items()}
            stepped, state = self.inner.step(
                leaves, before, after, denoise=denoise, state=state, noise=noise_of_the_others
            )  # Eq. (1)
            loss = 0
            for name, value in stepped.items():
                loss = loss + torch.where(cells[name], value - wanted[name], 0).square().flatten(1).sum(1)  # Eq. (2)
            if self.guidance.reduce == "mean":
                loss = loss / sum(row.expand_as(z[name]).flatten(1).sum(1) for name, row in cells.items()).clamp(min=1)
            gradient = torch.autograd.grad(loss.sum(), [leaves[name] for name in z])
        scale = self.guidance.scale * getattr(self.schedule, self.guidance.weight)(t)
        scales, corrected = self.layout.split(scale), self.layout.split((s < t) & (s > 0))
        made = {}
        for name, slope in zip(z, gradient):
            value = stepped[name].detach()
            moved = value - expand(scales[name], value) * slope  # Eq. (3)
            value = torch.where(expand(corrected[name], value), moved, value)
            made[name] = torch.where(cells[name], z[name], value)
        return made, {name: value.detach() for name, value in state.items()}
