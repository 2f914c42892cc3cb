"""Denoisers that see every number by itself, so that what cells do together can be compared with what they do alone; and a
sampler to try with them."""

import attrs

from mmseqdiff.forward import Prediction, check_prediction_kind
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import Cells, Denoise, Denoiser, Keys, Latents, Levels, Noise, NoiseSchedule, Sampler, State
from mmseqdiff.timesteps import expand
from mmseqdiff.transition import Transition, combine

__all__ = ["CellwiseDenoiser", "KnownDenoiser", "StraightSampler"]


@attrs.frozen(eq=False)
class CellwiseDenoiser(Denoiser):
    """x0 = alpha z, optimal for standard normal latents, plus a tenth of the self-condition: exact to the last bit.

    Attributes:
        layout: the tracks.
        schedule: the noise schedule.
        kind: what it says that it predicts.

    Raises:
        ValueError: if the kind does not fit the schedule.
    """

    layout: Layout
    schedule: NoiseSchedule
    kind: str = "v"

    def __attrs_post_init__(self) -> None:
        check_prediction_kind(self.kind, self.schedule)

    def __call__(
        self,
        z: Latents,
        t: Levels,
        *,
        given: Cells | None = None,
        keys: Keys | None = None,
        self_condition: Latents | None = None,
    ) -> Prediction:
        """The prediction."""
        x0 = {
            name: expand(alpha, z[name]) * z[name] for name, alpha in self.layout.split(self.schedule.alpha(t)).items()
        }
        if self_condition is not None:
            x0 = {name: value + 0.1 * self_condition[name] for name, value in x0.items()}
        return Prediction(value=x0, kind="x0", z=z, t=t, schedule=self.schedule, layout=self.layout).to(self.kind)


@attrs.frozen(eq=False)
class KnownDenoiser(Denoiser):
    """Knows the clean latents, and predicts them whatever it is shown.

    Attributes:
        clean: the clean latents.
        layout: the tracks.
        schedule: the noise schedule.
    """

    clean: Latents
    layout: Layout
    schedule: NoiseSchedule

    def __call__(
        self,
        z: Latents,
        t: Levels,
        *,
        given: Cells | None = None,
        keys: Keys | None = None,
        self_condition: Latents | None = None,
    ) -> Prediction:
        """The clean latents."""
        return Prediction(value=self.clean, kind="x0", z=z, t=t, schedule=self.schedule, layout=self.layout)


@attrs.frozen
class StraightSampler(Sampler):
    """z_s = alpha_s x0 + sigma_s epsilon: DDIM, to try with what wraps a sampler."""

    evaluations = 1

    def step(
        self, z: Latents, t: Levels, s: Levels, *, denoise: Denoise, state: State, noise: Noise
    ) -> tuple[Latents, State]:
        """The step."""
        prediction = denoise(z, t)
        move = Transition.between(prediction.schedule, t, s)
        terms = [(move.alpha_s, lambda: prediction.x0), (move.sigma_s, lambda: prediction.epsilon)]
        return combine(prediction.layout, t, s, z, terms), state
