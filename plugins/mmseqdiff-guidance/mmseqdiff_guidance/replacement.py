"""The replacement trick (arXiv:2011.13456 App. I.2, arXiv:2204.03458 §3.1): conditions for a model that never saw a clean one.

A joint model knows one level for everything. So what is clean, x with t = 0, is noised to the level of the rest with noise
xi that is fixed for the trajectory, the joint prediction is made, and what it says of the condition is thrown away:

    (1) t' = max over the example of t,   z' = alpha_{t'} x + sigma_{t'} xi     in clean cells; the others as they are
    (2) the prediction for the others is that at (z', t')

Where cells have different levels the condition joins the noisiest, so that it is never cleaner than what it is to guide.
Finished cells are clean, and so condition, too. At every level the prediction is E[z_0 | z'], which never sees x itself: the
samples are not those of the conditional distribution, however many the steps. This is a baseline.
"""

from collections.abc import Mapping

import attrs
import torch
from jaxtyping import Bool
from torch import Tensor

from mmseqdiff.denoiser import WrappedDenoiser
from mmseqdiff.forward import ForwardProcess, Prediction, normal_latents
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import Cells, Denoiser, Guidance, Keys, Latents, Levels
from mmseqdiff.timesteps import expand

__all__ = ["ReplacedDenoiser", "Replacement", "joined", "without"]


def joined(t: Levels, condition: Bool[Tensor, "batch modality segment"]) -> Levels:
    """The levels t' of Eq. (1)."""
    return torch.where(condition, t.amax((-2, -1), keepdim=True), t)


def without(
    latents: Latents | None, cells: Bool[Tensor, "batch modality segment"], layout: Layout
) -> Mapping[str, Tensor] | None:
    """A self-condition that is zero in ``cells``: else it would show what their noise hides."""
    if latents is None:
        return None
    rows = layout.split(cells)
    return {name: torch.where(expand(rows[name], value), 0, value) for name, value in latents.items()}


@attrs.frozen
class Replacement(Guidance):
    """Shows given cells at the level of the others; one evaluation a step."""

    def evaluations(self, layout: Layout, given: Cells) -> int:
        """One."""
        return 1

    def __call__(self, denoiser: Denoiser) -> "ReplacedDenoiser":
        """The denoiser of Eq. (2)."""
        return ReplacedDenoiser(denoiser)


@attrs.frozen(eq=False)
class ReplacedDenoiser(WrappedDenoiser):
    """What :class:`Replacement` makes of a denoiser."""

    denoiser: Denoiser

    def condition(self, t: Levels) -> Bool[Tensor, "batch modality segment"]:
        """The cells that are clean."""
        return (t == 0) & self.layout.valid.to(t.device)

    def shown(self, z: Latents, t: Levels, keys: Keys) -> tuple[dict[str, Tensor], Levels]:
        """(z', t') of Eq. (1)."""
        levels = joined(t, self.condition(t))
        noise = normal_latents(self.layout, keys, "replacement", dtype=next(iter(z.values())).dtype)
        return ForwardProcess(self.schedule, self.layout).renoise(z, noise, t, levels), levels

    def __call__(
        self, z: Latents, t: Levels, *, given: Cells, keys: Keys, self_condition: Latents | None = None
    ) -> Prediction:
        """Eq. (2), as a prediction at the loop's own (z, t), where clean cells are clean."""
        hidden = without(self_condition, self.condition(t), self.layout)
        prediction = self.denoiser(*self.shown(z, t, keys), given=given, keys=keys, self_condition=hidden)
        return attrs.evolve(prediction, z=z, t=t)
