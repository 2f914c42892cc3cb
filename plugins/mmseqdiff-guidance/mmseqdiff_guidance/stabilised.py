"""Stabilised context: what is finished is shown a little noisy, so that its errors are not taken for truth.

Along a plan in which some cells finish before others, the finished ones are context for the rest. A model trained on true
latents trusts them too much; so it is shown, at a small level k (arXiv:2407.01392 §3.3, App. B; arXiv:2502.06764 §5)

    (1) z' = alpha_k z + sigma_k xi   with label k,   for cells at level 0 that were generated

The noise added is the noise of the label, one draw per cell for the whole trajectory, and z' is never written back. Other
cells are shown as they are, and the prediction is for the loop's own (z, t).
"""

import attrs
import torch

from mmseqdiff.denoiser import WrappedDenoiser
from mmseqdiff.forward import ForwardProcess, Prediction, normal_latents
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import Cells, Denoiser, Guidance, Keys, Latents, Levels, Sampler
from mmseqdiff.timesteps import expand

__all__ = ["Stabilised"]


@attrs.frozen
class Stabilised(Guidance):
    """Shows finished cells at a small level.

    Attributes:
        level: k, a level and no share of T: of 1000 levels 10 to 50 are in use; 0 shows them as they are.
        given: whether given cells are shown so, too.
        guidance: another guidance, applied to what is shown.
    """

    level: float = attrs.field(default=20.0)
    given: bool = False
    guidance: Guidance | None = None

    @level.validator
    def _is_a_level(self, attribute: attrs.Attribute, value: float) -> None:
        if value != 0 and not value >= 1:
            raise ValueError(
                f"level counts levels of 1 … T, or is 0 for none; got {value:g}, which would change nothing to speak of"
            )

    def evaluations(self, layout: Layout, given: Cells) -> int:
        """The other guidance's, or one."""
        return 1 if self.guidance is None else self.guidance.evaluations(layout, given)

    def sampler(self, sampler: Sampler, denoiser: Denoiser) -> Sampler:
        """The other guidance's."""
        return sampler if self.guidance is None else self.guidance.sampler(sampler, denoiser)

    def __call__(self, denoiser: Denoiser) -> "StabilisedDenoiser":
        """The denoiser that is shown Eq. (1).

        Raises:
            ValueError: if the schedule has no such level.
        """
        top = denoiser.schedule.num_levels
        if self.level > top:
            raise ValueError(f"finished cells cannot be shown at level {self.level:g}: levels end at T = {top}")
        return StabilisedDenoiser(
            denoiser if self.guidance is None else self.guidance(denoiser), self.level, self.given
        )


@attrs.frozen(eq=False)
class StabilisedDenoiser(WrappedDenoiser):
    """What :class:`Stabilised` makes of a denoiser."""

    denoiser: Denoiser
    level: float
    given: bool

    def __call__(
        self, z: Latents, t: Levels, *, given: Cells, keys: Keys, self_condition: Latents | None = None
    ) -> Prediction:
        """The prediction from Eq. (1); the self-condition of cells shown noisy is zero, else it would show them clean."""
        context = self.layout.valid.to(t.device) & (self.given | ~given)
        finished = (t == 0) & context
        level = self.level * finished.to(t.dtype)
        noisy = level > 0
        noise = normal_latents(self.layout, keys, "stabilise", dtype=next(iter(z.values())).dtype)
        if self_condition is not None:
            self_condition = {
                name: torch.where(expand(cells, z[name]), 0, self_condition[name])
                for name, cells in self.layout.split(noisy).items()
            }
        prediction = self.denoiser(
            ForwardProcess(self.schedule, self.layout).corrupt(z, noise, level),  # Eq. (1); exact where level is 0
            t + level,
            given=given,
            keys=keys,
            self_condition=self_condition,
        )
        return attrs.evolve(prediction, z=z, t=t)
