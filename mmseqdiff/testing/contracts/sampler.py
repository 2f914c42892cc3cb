"""The laws of samplers, for one step."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import attrs
import torch
from hypothesis import strategies as st

from mmseqdiff.forward import ForwardProcess, Prediction, normal_latents
from mmseqdiff.layout import Layout, Track
from mmseqdiff.protocols import Denoiser, Keys, Latents, Levels, NoiseSchedule, State
from mmseqdiff.testing.cellwise import CellwiseDenoiser, KnownDenoiser
from mmseqdiff.testing.contracts.contract import bits, law, not_applicable
from mmseqdiff.testing.contracts.sampler_convergence import SamplerConvergence
from mmseqdiff.testing.contracts.sampler_runs import RUN, SamplerRuns, cellwise, no_cells
from mmseqdiff.testing.strategies import given_cells, latents, layouts, plans, steps
from mmseqdiff.timesteps import expand

__all__ = ["SamplerContract", "StatedRun"]

STEP = {**RUN, "layout": layouts()}
DTYPES = st.sampled_from([torch.float32, torch.float64])


def _shapes(state: State) -> dict[str, tuple]:
    return {key: (value.shape, value.dtype) for key, value in state.items()}


@attrs.frozen
class StatedRun:
    """A worked example of a sampler: a run of one number.

    Attributes:
        schedule: the noise schedule.
        levels: of every row, the first one's at the start.
        x0: the estimates that the sampler is given, in the order in which it asks for them.
        noise: what it draws in every step, if it draws anything.
        z: the number in every row.
    """

    schedule: NoiseSchedule
    levels: Sequence[float]
    x0: Sequence[float]
    noise: Sequence[float]
    z: Sequence[float]


class SamplerContract(SamplerRuns, SamplerConvergence):
    """The laws of a :class:`~mmseqdiff.protocols.Sampler`, with a denoiser that sees each cell by itself.

    What cells do together can then be held, to the last bit, against what each does alone. A sampler whose steps leave more or
    less noise than the schedule has says ``preserves_variance = False``; one that knows the order of its error says ``convergence``. ``stated`` takes :class:`StatedRun`.
    """

    def _step(
        self,
        denoiser: Denoiser,
        z: Latents,
        t: Levels,
        s: Levels,
        keys: Keys,
        state: State | None = None,
        noise: Callable[[str], Latents] | None = None,
    ) -> tuple[Latents, State]:
        """One step; from the first state and with the keys' noise unless others are given."""
        layout, dtype = denoiser.layout, next(iter(z.values())).dtype
        return self.plugin.step(
            z, t, s,
            denoise=lambda z, t: denoiser(z, t, given=no_cells(layout), keys=keys),
            state=self.plugin.start(z, layout) if state is None else state,
            noise=noise or (lambda stream: normal_latents(layout, keys, stream, dtype=dtype)),
        )  # fmt: skip

    @law(1, **STEP)
    def test_cells_whose_level_does_not_change_are_copied(
        self, data: Any, layout: Layout, schedule: NoiseSchedule, keys: Keys
    ) -> None:
        """A step copies cells with s = t bit for bit, even −0."""
        denoiser, (t, s) = cellwise(data, layout, schedule), data.draw(steps(layout, schedule.num_levels))
        z = data.draw(latents(layout, dtype=data.draw(DTYPES)))
        for name, still in layout.split(s == t).items():
            z[name][still] = -0.0 * z[name][still].abs()
        stepped, _ = self._step(denoiser, z, t, s, keys)
        for name, still in layout.split(s == t).items():
            assert stepped[name].shape == z[name].shape, f"a step changes the shape of {name!r}"
            assert stepped[name].dtype == z[name].dtype, f"a step changes the dtype of {name!r}"
            same = (bits(stepped[name]) == bits(z[name])).flatten(2).all(-1)
            assert same[still].all(), f"a step changed cells of {name!r} whose level does not change"

    @law(2, **STEP)
    def test_steps_and_their_gradients_are_finite(
        self, data: Any, layout: Layout, schedule: NoiseSchedule, keys: Keys
    ) -> None:
        """A step is finite, forward and backward, from and to all levels, 0 and T among them."""
        denoiser, (t, s) = cellwise(data, layout, schedule), data.draw(steps(layout, schedule.num_levels))
        if data.draw(st.booleans()):  # the steps that matter most: from T, and to 0
            t = torch.where(layout.valid & (t != s), float(schedule.num_levels), t)
            s = torch.where(t != s, 0.0, s)
        z = {name: value.requires_grad_() for name, value in data.draw(latents(layout)).items()}
        stepped, _ = self._step(denoiser, z, t, s, keys)
        assert all(value.isfinite().all() for value in stepped.values()), "a step made a number that is not finite"
        sum(value.sum() for value in stepped.values()).backward()
        assert all(value.grad.isfinite().all() for value in z.values()), "a step's gradient is not finite"

    @law(5, cost=2, **RUN)
    def test_steps_lead_from_signal_to_signal(
        self, data: Any, layout: Layout, schedule: NoiseSchedule, keys: Keys
    ) -> None:
        """Where the truth is predicted, steps without noise keep z = alpha x0, and lead to x0 from any latents."""
        plan = data.draw(plans(layout, no_cells(layout), schedule.num_levels))
        clean, anything = (data.draw(latents(layout, dtype=torch.float64)) for _ in range(2))
        silence = {name: torch.zeros_like(value) for name, value in clean.items()}
        rows = plan.levels[:, None].expand(-1, len(keys), -1, -1)
        signals = [ForwardProcess(schedule, layout).corrupt(clean, silence, row) for row in rows]
        for start, first in ((signals[0], 1), (anything, plan.steps)):
            z, state = start, self.plugin.start(start, layout)
            for r in range(1, plan.steps + 1):
                z, state = self._step(
                    KnownDenoiser(clean, layout, schedule), z, *rows[r - 1 : r + 1], keys, state, lambda stream: silence
                )
                for name, value in signals[r].items() if r >= first else ():
                    torch.testing.assert_close(
                        z[name], value, rtol=1e-5, atol=1e-5,
                        msg=lambda why: f"the signal after a step is not alpha_s x0: {why}",
                    )  # fmt: skip

    @law(5, **STEP)
    def test_steps_lead_to_the_noise_of_their_level(
        self, data: Any, layout: Layout, schedule: NoiseSchedule, keys: Keys
    ) -> None:
        """Where the truth is predicted, a step leaves noise of variance sigma_s², what is old and what is new together."""
        if not getattr(self.plugin, "preserves_variance", True):
            raise not_applicable("the sampler says that it does not preserve variance")
        t, s = data.draw(steps(layout, schedule.num_levels))
        ones = {name: torch.ones_like(value) for name, value in data.draw(latents(layout, dtype=torch.float64)).items()}
        zeros, drawn = {name: torch.zeros_like(value) for name, value in ones.items()}, {}

        def respond(start: Latents, loud: str | None) -> Latents:
            def noise(stream: str) -> Latents:
                drawn[stream] = True
                return ones if stream == loud else zeros

            return self._step(KnownDenoiser(zeros, layout, schedule), start, t, s, keys, noise=noise)[0]

        noisy = ForwardProcess(schedule, layout).corrupt(zeros, ones, t)
        parts = [respond(noisy, None), *(respond(zeros, stream) for stream in list(drawn))]
        expected = ForwardProcess(schedule, layout).corrupt(zeros, ones, s)
        for name, sigma in expected.items():
            variance = sum(part[name] ** 2 for part in parts)
            torch.testing.assert_close(
                variance, sigma**2, rtol=1e-5, atol=1e-6,
                msg=lambda why: f"the variance of the noise after a step is not sigma_s²: {why}",
            )  # fmt: skip

    @law(8, **STEP)
    def test_a_cell_steps_by_what_is_its_own(
        self, data: Any, layout: Layout, schedule: NoiseSchedule, keys: Keys
    ) -> None:
        """A cell's step follows from its own latents, levels and noise: others change no bit of it."""
        denoiser, (t, s) = cellwise(data, layout, schedule), data.draw(steps(layout, schedule.num_levels))
        z, other = data.draw(latents(layout)), data.draw(latents(layout))
        t_, s_ = data.draw(steps(layout, schedule.num_levels))
        kept = torch.tensor(data.draw(st.lists(st.booleans(), min_size=layout.N, max_size=layout.N)))
        kept = kept & layout.valid
        kept[*data.draw(st.sampled_from(layout.valid.nonzero().tolist()))] = True
        mixed = {name: torch.where(expand(own[None], z[name]), z[name], other[name])
                 for name, own in layout.split(kept).items()}  # fmt: skip

        def noise(stream: str) -> Latents:
            mine, others = (normal_latents(layout, keys, f"{word}{stream}") for word in ("", "other "))
            return {name: torch.where(expand(own[None], mine[name]), mine[name], others[name])
                    for name, own in layout.split(kept).items()}  # fmt: skip

        whole, _ = self._step(denoiser, z, t, s, keys)
        part, _ = self._step(denoiser, mixed, torch.where(kept, t, t_), torch.where(kept, s, s_), keys, noise=noise)
        for name, own in layout.split(kept).items():
            same = torch.equal(bits(whole[name][:, own]), bits(part[name][:, own]))
            assert same, f"a cell of {name!r} steps by the latents, levels or noise of another"

    @law(5, **STEP)
    def test_a_constant_matrix_is_the_scalar_model(
        self, data: Any, layout: Layout, schedule: NoiseSchedule, keys: Keys
    ) -> None:
        """With one level everywhere a step is that of one cell which holds all numbers, bit for bit."""
        denoiser, z = cellwise(data, layout, schedule), data.draw(latents(layout))
        t, s = sorted(data.draw(st.tuples(*[st.integers(0, schedule.num_levels)] * 2)), reverse=True)

        def join(latents: Latents) -> Latents:
            return {"all": torch.cat([latents[name].flatten(1) for name in layout.modalities], dim=1)[:, None]}

        one = Layout([Track("all", (0, 1), (), join(z)["all"].shape[-1])])
        levels = [torch.full((len(keys), 1, 1), float(level), dtype=torch.float64) for level in (t, s)]
        expected, _ = self._step(
            attrs.evolve(denoiser, layout=one), join(z), *levels, keys,
            noise=lambda stream: join(normal_latents(layout, keys, stream)),
        )  # fmt: skip
        stepped, _ = self._step(denoiser, z, *(torch.where(layout.valid, level, 0.0) for level in levels), keys)
        assert torch.equal(join(stepped)["all"], expected["all"]), "one level everywhere is not one time for everything"

    @law(8, cost=2, **RUN)
    def test_reset_forgets_these_cells_and_no_others(
        self, data: Any, layout: Layout, schedule: NoiseSchedule, keys: Keys
    ) -> None:
        """After reset these cells step as at first, the others as without it; a state has fixed shapes and is not changed."""
        denoiser, z = CellwiseDenoiser(layout, schedule), data.draw(latents(layout))
        plan = data.draw(plans(layout, data.draw(given_cells(layout)), schedule.num_levels))
        visited = [row.expand(len(keys), -1, -1) for row in plan.levels]
        chosen = data.draw(st.lists(st.booleans(), min_size=plan.given.numel(), max_size=plan.given.numel()))
        cells = torch.tensor(chosen).reshape(layout.M, layout.N) & layout.valid
        cells = torch.stack([cells, layout.valid & ~cells])
        first = state = self.plugin.start(z, layout)

        def step(z: Latents, t: Levels, s: Levels, state: State) -> tuple[Latents, State]:
            made, after = self._step(denoiser, z, t, s, keys, state)
            assert _shapes(after) == _shapes(first), "the shapes of a sampler's state are not fixed"
            return made, after

        for key, value in first.items():
            expected = len(keys), layout.track(key.partition("/")[2]).segments
            assert value.shape[:2] == expected, (
                f"state {key!r} is {tuple(value.shape)}, expected (B, N_m, …) {expected}"
            )
        for t, s in zip(visited[:-2], visited[1:-1]):
            z, state = step(z, t, s, state)
        before = {key: value.clone() for key, value in state.items()}
        t, s = visited[-2:]
        (kept, _), (reset, _), (fresh, _) = (
            step(z, t, s, memory) for memory in (state, self.plugin.reset(state, cells), first)
        )
        same = all(torch.equal(bits(before[key]), bits(state[key])) for key in state)
        assert same, "a step or reset changed the state that it was passed"
        for name, forgotten in layout.split(cells).items():
            assert torch.equal(bits(reset[name][forgotten]), bits(fresh[name][forgotten])), "reset leaves a history"
            assert torch.equal(bits(reset[name][~forgotten]), bits(kept[name][~forgotten])), "reset touches other cells"

    @law(9, cost=2, **STEP)
    def test_evaluations_are_counted(self, data: Any, layout: Layout, schedule: NoiseSchedule, keys: Keys) -> None:
        """A step asks for so many predictions as the sampler says, the first at its own latents and levels."""
        t, s = data.draw(steps(layout, schedule.num_levels))
        z, inner, asked = data.draw(latents(layout)), CellwiseDenoiser(layout, schedule), []

        class Counted(CellwiseDenoiser):
            def __call__(self, z: Latents, t: Levels, **rest: Any) -> Any:
                asked.append((z, t))
                return inner(z, t, **rest)

        self._step(Counted(layout, schedule), z, t, s, keys)
        count = self.plugin.evaluations
        assert len(asked) == count, f"a step asks for {len(asked)} predictions, but evaluations = {count}"
        same = torch.equal(asked[0][1], t) and all(torch.equal(asked[0][0][name], z[name]) for name in z)
        assert same, "the first prediction of a step is not at its own latents and levels"

    @law(5)
    def test_worked_examples_hold(self) -> None:
        """In the worked examples every row has the number that was written down."""
        layout = Layout([Track("number", (0, 1))])

        def number(value: float) -> Latents:
            return {"number": torch.full((1, 1, 1), value, dtype=torch.float64)}

        for example in self.examples():
            estimates = iter(example.x0)

            def denoise(
                z: Latents, t: Levels, example: StatedRun = example, estimates: Iterator = estimates
            ) -> Prediction:
                return Prediction(number(next(estimates)), "x0", z, t, example.schedule, layout)

            rows = torch.tensor(example.levels, dtype=torch.float64).expand(1, 1, 1, -1).unbind(-1)
            z = number(example.z[0])
            state = self.plugin.start(z, layout)
            for r, (t, s) in enumerate(pairwise(rows)):
                drawn = number(example.noise[r])
                z, state = self.plugin.step(
                    z, t, s, denoise=denoise, state=state, noise=lambda stream, drawn=drawn: drawn
                )
                found, expected = z["number"].item(), example.z[r + 1]
                assert math.isclose(found, expected, rel_tol=1e-6, abs_tol=1e-6), (
                    f"row {r + 1} is {found:.8g}, stated is {expected:.8g}"
                )
