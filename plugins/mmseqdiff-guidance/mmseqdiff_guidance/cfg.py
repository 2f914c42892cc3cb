"""Classifier-free guidance for free (arXiv:2405.13762 App. E).

A model trained with a mixture of noise levels needs no null token: a condition is absent when it is noise, at T.

    (1) cond      prediction at z with given cells clean, t = 0 there                          Eq. 13–14
    (2) uncond    prediction at z with given cells ← h ~ N(0, I), t = T there                  prose, Fig. 10, Fig. 11
    (3) guided    (1 + s) cond − s uncond = uncond + w (cond − uncond),  w = 1 + s             Eq. 16–17

The typeset Eq. 15 keeps the condition and noises the target; the prose and Fig. 10 say the opposite, and are followed.
Fig. 11's partial forms re-noise only some modalities or some stretches of time.
"""

from fractions import Fraction

import attrs
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmseqdiff.forward import Prediction, normal_latents
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import Denoiser, Guidance, Latents, NoiseSchedule
from mmseqdiff.timesteps import expand

__all__ = ["FreeGuidance"]


@attrs.frozen
class FreeGuidance(Guidance):
    """Guidance against the condition re-noised at T; two evaluations a step, run as one batch.

    Attributes:
        scale: w = 1 + s of the paper; 1 is no guidance.
        modalities: whose given cells are re-noised; all where None.
        start: re-noise only cells from here on, in seconds.
        stop: and up to here; the clip's end where None.
    """

    scale: float = 1.5
    modalities: tuple[str, ...] | None = None
    start: Fraction = Fraction(0)
    stop: Fraction | None = None
    evaluations = 2

    def __call__(self, denoiser: Denoiser) -> "GuidedDenoiser":
        """The guided denoiser."""
        return GuidedDenoiser(denoiser, self.scale, self.selected(denoiser.layout))

    def selected(self, layout: Layout) -> Bool[Tensor, "modality segment"]:
        """The cells that are re-noised where they are given."""
        names = layout.modalities if self.modalities is None else self.modalities
        stop = max(track.edges[-1] for track in layout.tracks) if self.stop is None else self.stop
        rows = {track.modality: torch.zeros(track.segments, dtype=torch.bool) for track in layout.tracks}
        for name in names:
            rows[layout.track(name).modality] = layout.cells(name, self.start, stop)
        return layout.stack(rows)


@attrs.frozen(eq=False)
class GuidedDenoiser(Denoiser):
    """What :class:`FreeGuidance` makes of a denoiser."""

    denoiser: Denoiser
    scale: float
    selected: Bool[Tensor, "modality segment"]

    @property
    def layout(self) -> Layout:
        """The denoiser's."""
        return self.denoiser.layout

    @property
    def schedule(self) -> NoiseSchedule:
        """The denoiser's."""
        return self.denoiser.schedule

    def __call__(
        self,
        z: Latents,
        t: Float[Tensor, "batch modality segment"],
        *,
        given: Bool[Tensor, "modality segment"],
        keys: Int[Tensor, " batch"],
        self_condition: Latents | None = None,
    ) -> Prediction:
        """Eq. (3). The noise h is fixed for a trajectory, and its cells' self-condition is zero in branch (2)."""
        hidden = (given & self.selected.to(given.device)).expand_as(t)
        noise = normal_latents(self.layout, keys, "guidance", dtype=next(iter(z.values())).dtype)
        masks = {name: expand(mask, z[name]) for name, mask in self.layout.split(hidden).items()}

        def both(shown: Latents, replaced: Latents | float) -> dict[str, Tensor]:
            return {
                name: torch.cat(
                    [x, torch.where(masks[name], replaced if isinstance(replaced, float) else replaced[name], x)]
                )
                for name, x in shown.items()
            }

        prediction = self.denoiser(
            both(z, noise),
            torch.cat([t, torch.where(hidden, float(self.schedule.num_levels), t)]),
            given=given,
            keys=torch.cat([keys, keys]),
            self_condition=None if self_condition is None else both(self_condition, 0.0),
        )
        guided = {}
        for name, value in prediction.value.items():
            cond, uncond = value.chunk(2)
            guided[name] = torch.where(masks[name], cond, uncond + self.scale * (cond - uncond))
        return attrs.evolve(prediction, value=guided, z=z, t=t)
