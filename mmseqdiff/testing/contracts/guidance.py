"""The laws of guidance."""

from typing import Any

import attrs
import torch
from hypothesis import strategies as st

from mmseqdiff.forward import Prediction
from mmseqdiff.generate import generate
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import Cells, Denoiser, Guidance, Keys, Latents, Levels, NoiseSchedule
from mmseqdiff.testing.cellwise import CellwiseDenoiser, StraightSampler
from mmseqdiff.testing.contracts.contract import Contract, bits, law
from mmseqdiff.testing.contracts.sampler_runs import kinds_for
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.testing.strategies import given_cells, keys, latents, layouts, plans, schedules, timesteps

__all__ = ["GuidanceContract"]

ANY = {"data": st.data(), "layout": layouts(min_modalities=2), "schedule": schedules(), "keys": keys()}


@attrs.frozen(eq=False)
class Asked:
    """A denoiser, and all that it is asked at: latents and levels, and what is given."""

    denoiser: Denoiser
    z: Latents
    t: Levels
    given: Cells
    keys: Keys
    self_condition: Latents | None

    @classmethod
    def draw(
        cls, data: Any, layout: Layout, schedule: NoiseSchedule, keys: Keys, denoiser: Denoiser | None = None
    ) -> "Asked":
        """Given cells are at level 0; the denoiser sees each cell by itself, unless another one is asked."""
        denoiser = denoiser or CellwiseDenoiser(layout, schedule, data.draw(st.sampled_from(kinds_for(schedule))))
        given = data.draw(given_cells(layout))
        t = torch.where(given, 0, data.draw(timesteps(layout, schedule.num_levels)))
        return cls(denoiser, data.draw(latents(layout)), t, given, keys, data.draw(st.none() | latents(layout)))

    def of(self, guidance: Guidance) -> Prediction:
        """What the guided denoiser says."""
        guided = guidance(self.denoiser)
        return guided(self.z, self.t, given=self.given, keys=self.keys, self_condition=self.self_condition)

    def example(self, b: int) -> "Asked":
        """One example of the batch by itself."""
        one = slice(b, b + 1)
        z, estimate = (part and {name: x[one] for name, x in part.items()} for part in (self.z, self.self_condition))
        return attrs.evolve(self, z=z, t=self.t[one], keys=self.keys[one], self_condition=estimate)


class GuidanceContract(Contract):
    """The laws of a :class:`~mmseqdiff.protocols.Guidance`, around a denoiser that sees each cell by itself.

    Layouts have the tracks video and audio, and some have pose.
    """

    kind = "guidance"
    plugin: Guidance

    @law(1, **ANY)
    def test_given_cells_are_clean(self, data: Any, layout: Layout, schedule: NoiseSchedule, keys: Keys) -> None:
        """The guided prediction of a given cell is the cell itself, bit for bit."""
        asked = Asked.draw(data, layout, schedule, keys)
        x0 = asked.of(self.plugin).x0
        for name, cells in layout.split(asked.given).items():
            same = torch.equal(bits(x0[name][:, cells]), bits(asked.z[name][:, cells]))
            assert same, f"given cells of {name!r} are not predicted as they are"

    @law(1, cost=2, **ANY)
    def test_given_cells_leave_a_guided_run_as_they_came(
        self, data: Any, layout: Layout, schedule: NoiseSchedule, keys: Keys
    ) -> None:
        """A whole run with the guidance, and the sampler as it wraps it, returns given cells bit for bit."""
        given = data.draw(given_cells(layout))
        plan = data.draw(plans(layout, given, schedule.num_levels, max_steps=2))
        denoiser, clean = CellwiseDenoiser(layout, schedule), data.draw(latents(layout))
        sampler = self.plugin.sampler(StraightSampler(), denoiser)
        made = generate(self.plugin(denoiser), sampler, plan, keys, given=clean)
        for name, cells in layout.split(given).items():
            same = torch.equal(bits(made[name][:, cells]), bits(clean[name][:, cells]))
            assert same, f"a guided run changes given cells of {name!r}"
            assert made[name].isfinite().all(), f"a guided run makes numbers of {name!r} that are not finite"

    @law(1, **ANY)
    def test_the_prediction_is_at_the_loops_own_latents_and_levels(
        self, data: Any, layout: Layout, schedule: NoiseSchedule, keys: Keys
    ) -> None:
        """Whatever the guidance shows the network, what it returns is a prediction at the (z, t) that it was asked for."""
        asked = Asked.draw(data, layout, schedule, keys)
        prediction, guided = asked.of(self.plugin), self.plugin(asked.denoiser)
        assert guided.layout == layout, "the guided denoiser has another layout"
        assert guided.schedule is schedule, "the guided denoiser has another schedule"
        assert torch.equal(prediction.t, asked.t), "the prediction is at other levels"
        for name, value in asked.z.items():
            assert torch.equal(bits(prediction.z[name]), bits(value)), "the prediction is at other latents"
            assert prediction.value[name].shape == value.shape, f"the prediction of {name!r} has another shape"

    @law(1, **ANY)
    def test_what_is_passed_in_is_left_alone(
        self, data: Any, layout: Layout, schedule: NoiseSchedule, keys: Keys
    ) -> None:
        """The latents, levels and self-condition that were passed in are not changed."""
        asked = Asked.draw(data, layout, schedule, keys)
        tensors = {"t": asked.t, **asked.z, **{f"estimate of {k}": v for k, v in (asked.self_condition or {}).items()}}
        before = {name: value.clone() for name, value in tensors.items()}
        asked.of(self.plugin)
        for name, value in tensors.items():
            assert torch.equal(bits(value), bits(before[name])), f"the guidance changed its input {name}"

    @law(2, **ANY)
    def test_predictions_are_finite(self, data: Any, layout: Layout, schedule: NoiseSchedule, keys: Keys) -> None:
        """The guided prediction is finite at all levels, 0 and T among them."""
        prediction = Asked.draw(data, layout, schedule, keys).of(self.plugin)
        for name, value in prediction.x0.items():
            assert value.isfinite().all(), f"the guided prediction of {name!r} is not finite"

    @law(9, **ANY)
    def test_the_batch_does_not_matter(self, data: Any, layout: Layout, schedule: NoiseSchedule, keys: Keys) -> None:
        """An example's prediction is the same whatever else is in the batch, to 1e-5, and as often as it is asked for."""
        coupled = GaussianWorld.random(layout).denoiser(schedule, "v")  # what is shown of one cell changes all others
        asked = Asked.draw(data, layout, schedule, keys, data.draw(st.sampled_from([None, coupled])))
        together = asked.of(self.plugin).x0
        for b in range(len(keys)):
            for name, value in asked.example(b).of(self.plugin).x0.items():
                torch.testing.assert_close(
                    value[0], together[name][b], msg=lambda why: f"the batch changes the prediction: {why}"
                )

    @law(9, **ANY)
    def test_evaluations_are_counted(self, data: Any, layout: Layout, schedule: NoiseSchedule, keys: Keys) -> None:
        """evaluations says how many examples the network sees for one of the guided denoiser, at most."""
        asked, seen = Asked.draw(data, layout, schedule, keys), []

        class Counted(CellwiseDenoiser):
            def __call__(self, z: Latents, t: Levels, **rest: Any) -> Prediction:
                seen.append(len(t))
                return super().__call__(z, t, **rest)

        counted = attrs.evolve(asked, denoiser=Counted(layout, schedule, asked.denoiser.kind))
        counted.of(self.plugin)
        said = self.plugin.evaluations(layout, asked.given)
        assert sum(seen) <= said * len(keys), f"evaluations = {said}, but the network sees {sum(seen) / len(keys):g}"
