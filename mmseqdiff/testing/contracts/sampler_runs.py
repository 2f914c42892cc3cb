"""The laws of samplers, for whole runs."""

from typing import Any

import attrs
import torch
from hypothesis import strategies as st

from mmseqdiff.forward import PREDICTION_KINDS, check_prediction_kind
from mmseqdiff.generate import generate
from mmseqdiff.layout import Layout
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.protocols import Keys, Latents, NoiseSchedule, Sampler
from mmseqdiff.testing.cellwise import CellwiseDenoiser
from mmseqdiff.testing.contracts.contract import Contract, bits, law
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.testing.strategies import given_cells, halting_plans, keys, latents, layouts, plans, schedules

__all__ = ["RUN", "SamplerRuns", "cellwise", "kinds_for", "no_cells"]

RUN = {
    "data": st.data(),
    "layout": layouts(max_modalities=2, max_segments=2),
    "schedule": schedules(),
    "keys": keys(),
}
"""What a law of whole runs draws."""


def kinds_for(schedule: NoiseSchedule) -> list[str]:
    """The prediction kinds that fit a schedule."""
    fit = []
    for kind in PREDICTION_KINDS:
        try:
            check_prediction_kind(kind, schedule)
        except ValueError:
            continue
        fit.append(kind)
    return fit


def cellwise(data: Any, layout: Layout, schedule: NoiseSchedule) -> CellwiseDenoiser:
    """A denoiser that sees each cell by itself, of any prediction kind that fits."""
    return CellwiseDenoiser(layout, schedule, data.draw(st.sampled_from(kinds_for(schedule))))


def no_cells(layout: Layout) -> torch.Tensor:
    """A task that gives nothing."""
    return torch.zeros(layout.M, layout.N, dtype=torch.bool)


class SamplerRuns(Contract):
    """What a sampler does in the one loop, :func:`mmseqdiff.generate.generate`."""

    kind = "sampler"
    plugin: Sampler

    @law(1, cost=2, **RUN)
    def test_given_cells_leave_a_run_as_they_came(
        self, data: Any, layout: Layout, schedule: NoiseSchedule, keys: Keys
    ) -> None:
        """A whole run returns given cells bit for bit, and all others finite."""
        given = data.draw(given_cells(layout))
        plan = data.draw(plans(layout, given, schedule.num_levels, max_steps=2, allow_rise=data.draw(st.booleans())))
        clean = data.draw(latents(layout))
        for value in clean.values():
            value[0] *= -0.0
        made = generate(cellwise(data, layout, schedule), self.plugin, plan, keys, given=clean)
        for name, cells in layout.split(given).items():
            assert torch.equal(bits(made[name][:, cells]), bits(clean[name][:, cells])), "a given cell was changed"
            assert made[name].isfinite().all(), f"a run made numbers of {name!r} that are not finite"

    @law(8, cost=2, **RUN)
    def test_uncoupled_cells_run_alone(self, data: Any, layout: Layout, schedule: NoiseSchedule, keys: Keys) -> None:
        """In a whole run each cell ends as if it had run alone and without its pauses, bit for bit."""
        given = data.draw(given_cells(layout))
        plan = data.draw(plans(layout, given, schedule.num_levels, allow_rise=data.draw(st.booleans())))
        self._held_against_runs_alone(cellwise(data, layout, schedule), plan, data.draw(latents(layout)), keys)

    @law(8, cost=3, **RUN)
    def test_a_pause_is_not_remembered(self, data: Any, layout: Layout, schedule: NoiseSchedule, keys: Keys) -> None:
        """A cell that waits between moves, where a multi-step sampler has a history, ends as if it never had."""
        plan = data.draw(halting_plans(layout, data.draw(given_cells(layout)), schedule.num_levels))
        self._held_against_runs_alone(CellwiseDenoiser(layout, schedule), plan, data.draw(latents(layout)), keys)

    def _held_against_runs_alone(
        self, denoiser: CellwiseDenoiser, plan: SamplingPlan, clean: Latents, keys: Keys
    ) -> None:
        layout = plan.layout
        together = generate(denoiser, self.plugin, plan, keys, given=clean)
        for m, n in (layout.valid & ~plan.given).nonzero().tolist():
            path = torch.unique_consecutive(plan.levels[:, m, n])
            levels = torch.zeros(len(path), layout.M, layout.N, dtype=torch.float64)
            levels[:, m, n] = path
            others = layout.valid.clone()
            others[m, n] = False
            alone = generate(denoiser, self.plugin, attrs.evolve(plan, levels=levels, given=others), keys, given=clean)
            name = layout.modalities[m]
            same = torch.equal(together[name][:, n], alone[name][:, n])
            assert same, f"{layout.describe(m, n)} depends on other cells or on its pauses"

    @law(8, cost=2, **{**RUN, "layout": layouts(min_modalities=2, max_segments=2)})
    def test_the_order_of_the_tracks_does_not_matter(
        self, data: Any, layout: Layout, schedule: NoiseSchedule, keys: Keys
    ) -> None:
        """With the tracks in another order a whole run makes the same latents, bit for bit."""
        denoiser, clean = CellwiseDenoiser(layout, schedule), data.draw(latents(layout))
        plan = data.draw(plans(layout, data.draw(given_cells(layout)), schedule.num_levels))
        order = data.draw(st.permutations(range(layout.M)))
        other = Layout([layout.tracks[m] for m in order])
        permuted = SamplingPlan(plan.levels[:, order], plan.given[order], other, plan.num_levels)
        expected = generate(denoiser, self.plugin, plan, keys, given=clean)
        given = {name: clean[name] for name in other.modalities}
        made = generate(attrs.evolve(denoiser, layout=other), self.plugin, permuted, keys, given=given)
        same = all(torch.equal(made[name], expected[name]) for name in made)
        assert same, "the order of the tracks changes the sample"

    @law(8, cost=2, **RUN)
    def test_a_cell_that_waits_at_t_sees_the_others_as_given(
        self, data: Any, layout: Layout, schedule: NoiseSchedule, keys: Keys
    ) -> None:
        """What is generated before a cell starts is to it as if it had been given, where all cells are coupled."""
        denoiser = GaussianWorld.random(layout).denoiser(schedule)
        given = data.draw(given_cells(layout))
        waiting = no_cells(layout)
        waiting[*data.draw(st.sampled_from((layout.valid & ~given).nonzero().tolist()))] = True

        def run(given: torch.Tensor, clean: Latents, *heights: tuple[float, float]) -> Latents:
            top = schedule.num_levels * (layout.valid & ~given)  # heights are of the waiting cell and of the others
            levels = torch.stack([torch.where(waiting, mine * top, others * top) for mine, others in heights])
            plan = SamplingPlan(torch.unique_consecutive(levels.double(), dim=0), given, layout, schedule.num_levels)
            return generate(denoiser, self.plugin, plan, keys, given=clean, dtype=torch.float64)

        clean = data.draw(latents(layout, dtype=torch.float64))
        first = run(given, clean, (1, 1), (1, 0.5), (1, 0), (0.5, 0), (0, 0))
        then = run(layout.valid & ~waiting, first, (1, 0), (0.5, 0), (0, 0))
        same = all(torch.equal(first[name], then[name]) for name in first)
        assert same, "a cell that waits at T is changed by how the others were made"

    @law(9, cost=2, **RUN)
    def test_the_batch_does_not_matter(self, data: Any, layout: Layout, schedule: NoiseSchedule, keys: Keys) -> None:
        """A sample follows from its key, bit for bit, whatever else is in the batch and as often as it is made."""
        given = data.draw(given_cells(layout))
        plan = data.draw(plans(layout, given, schedule.num_levels, allow_rise=data.draw(st.booleans())))
        denoiser, clean = CellwiseDenoiser(layout, schedule), data.draw(latents(layout))
        together = generate(denoiser, self.plugin, plan, keys, given=clean)
        last = {name: value[-1:] for name, value in clean.items()}
        alone = generate(denoiser, self.plugin, plan, keys[-1:], given=last)
        assert all(torch.equal(together[name][-1:], alone[name]) for name in alone), "the batch changes the sample"
