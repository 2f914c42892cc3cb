"""Every sampler on a Gaussian world, against the exact flow and against the truth.

**Convergence**, of samplers that draw no noise. From an exact start at T to level 1, over steps uniform in log-SNR,

    (1) error = sqrt(E ||z_1 − flow(z_T)||² / D)      over z_T of the exact distribution at T

in closed form, and the order is minus the slope of log error over log steps. A sampler with a memory is also given an
exact history: its first steps end on the exact flow. (UniPC corrects these ends too, the first with UniC-1, and so keeps an
error of third order.) The order that theory promises for every smooth problem shows in the
second range, from log-SNR −2 to 2. From T to 1 a Gaussian world flatters third order: with f = x0 along the flow of one
eigenvector the leading error adds up to ∫ f f''' = [f f'' − f'² / 2], and both ends are flat.

**Truth**. From standard normal noise at T along a plan to level 0, mean and covariance of what is sampled against those
of the exact conditional distribution:

    (2) mean error = ||m − m*|| / sqrt(tr C*),   covariance error = ||C − C*||_F / ||C*||_F

What floors it, where all cells move together: an exact solver that starts from standard normal noise (``start``: that is
not quite the distribution at T), that ends with a step from the plan's last level to 0 (``last step``: the denoiser's
estimate has less variance than the truth), and both.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction

import attrs
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.bench.exact_report import Convergence, ExactReport, Truth
from mmseqdiff.bench.moments import noise_streams, push
from mmseqdiff.errors import UserError
from mmseqdiff.host import Host
from mmseqdiff.layout import Layout, Track, uniform_edges
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.protocols import NoiseSchedule, Sampler
from mmseqdiff.recipe import Component
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.testing.gaussian_flow import GaussianFlow

__all__ = ["CLIP", "LOG_SNR", "Laboratory", "bench_exact", "default_samplers"]

CLIP = Layout(
    [
        Track("video", [Fraction(n, 8) for n in (0, 1, 5, 9, 13, 17)]),
        Track("audio", uniform_edges(8, Fraction(64, 17))),
    ]
)
"""A clip like the paper's, with few numbers: 2.125 s, a first video segment of one frame, tracks of unequal rates."""

LOG_SNR = "log_snr"
"""The plan of the laboratory's own, beside the registered ones: uniform in log-SNR from T to level 1, then to 0."""

VARIANTS = {"ddim": ["ddim", "ddim:eta=1.0"], "unipc": ["unipc:order=1", "unipc:order=2", "unipc:order=3"]}
"""Samplers that are several, where they are registered."""

INSIDE = (-2.0, 2.0)
"""The second range's ends, in log-SNR."""


def default_samplers(host: Host) -> list[str]:
    """Every registered sampler, and those that are several by their parameters."""
    return [text for name in host.names("sampler") for text in VARIANTS.get(name, [name])]


def uniform_in_log_snr(schedule: NoiseSchedule, start: float, stop: float, steps: int) -> Float[Tensor, " rows"]:
    """Levels from ``start`` to ``stop``, both exact, with equal steps in log-SNR; it must be finite at both."""
    ends = schedule.log_snr(torch.tensor([start, stop], dtype=torch.float64))
    if not ends.isfinite().all():
        raise UserError(f"levels {start:g} to {stop:g} have log-SNR {ends.tolist()}: there are no equal steps between")
    part = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    levels = schedule.level(torch.lerp(ends[0], ends[1], part))
    levels[0], levels[-1] = start, stop
    return levels


@attrs.define(eq=False)
class Laboratory:
    """A Gaussian world, a schedule, and one clean example that tasks are given parts of.

    Attributes:
        host: builds samplers, plans and tasks.
        world: the world.
        schedule: the noise schedule.
        fact: ``(1, D)``, the clean example.
    """

    host: Host
    world: GaussianWorld
    schedule: NoiseSchedule
    fact: Float[Tensor, "one dimension"]

    @classmethod
    def build(cls, host: Host, schedule: str = "linear", seed: int = 0) -> "Laboratory":
        """A random world over :data:`CLIP`."""
        world = GaussianWorld.random(CLIP, seed)
        fact = world.flatten(world.sample(random.example_keys(seed, [1])))
        return cls(host, world, Component.parse(schedule).build(host, "schedule"), fact)

    def given(self, task: str) -> Bool[Tensor, "modality segment"]:
        """The given cells of a task. Raises UserError if it gives all."""
        given = Component.parse(task).build(self.host, "task").given(self.world.layout)
        if not (self.world.layout.valid & ~given).any():
            raise UserError(f"the task {task!r} gives every cell, so there is nothing to sample")
        return given

    def flow(self, given: Bool[Tensor, "modality segment"]) -> GaussianFlow:
        """The exact flow of what is not given."""
        return GaussianFlow.of(self.world.conditional(given), self.fact, self.schedule)

    def matrices(self, levels: Float[Tensor, " rows"], given: Bool[Tensor, "modality segment"]) -> Tensor:
        """The same level for all cells that are not given: ``(rows, M, N)``."""
        return levels[:, None, None] * (self.world.layout.valid & ~given)

    def whole(self, free: Float[Tensor, "batch free"], given: Bool[Tensor, "modality segment"]) -> Tensor:
        """Free coordinates beside the example's given ones: ``(batch, D)``."""
        vectors = self.fact.expand(len(free), -1).clone()
        vectors[:, self.world.conditional(given).free] = free
        return vectors

    def plan(self, name: str, given: Bool[Tensor, "modality segment"], steps: int) -> SamplingPlan:
        """A plan of so many steps, where the plan takes a number of them: registered, or :data:`LOG_SNR`."""
        top = self.schedule.num_levels
        if name == LOG_SNR:
            levels = torch.zeros(steps + 1, dtype=torch.float64)
            levels[:-1] = uniform_in_log_snr(self.schedule, float(top), 1.0, steps - 1) if steps > 1 else float(top)
            return SamplingPlan(self.matrices(levels, given), given, self.world.layout, top)
        component = Component.parse(name)
        built = Component(component.name, {"steps": steps, **component.parameters}).build(self.host, "plan")
        return built(self.world.layout, given, num_levels=top)

    def flow_error(
        self, sampler: Sampler, task: str, levels: Float[Tensor, " rows"], exact_history: bool = False
    ) -> float:
        """Eq. (1), between the first and the last of the levels."""
        given = self.given(task)
        flow, first = self.flow(given), float(levels[0])
        start = torch.cat([flow.mean_at(first)[None], flow.mean_at(first) + flow.factor_at(first).T])
        memory = 3 if exact_history else 0

        def exact(row: int) -> Tensor | None:
            return self.whole(flow.move(start, first, float(levels[row])), given) if row <= memory else None

        made = push(
            self.world, self.schedule, sampler, self.matrices(levels, given), given, self.whole(start, given), exact
        )
        error = made[:, self.world.conditional(given).free] - flow.move(start, first, float(levels[-1]))
        total = error[0].square().sum() + (error[1:] - error[0]).square().sum()
        return math.sqrt(float(total) / error.shape[1])

    def truth_error(self, sampler: Sampler, plan: SamplingPlan) -> tuple[float, float]:
        """Eq. (2): the errors of mean and covariance of what is sampled along a plan."""
        conditional, dimension = self.world.conditional(plan.given), len(self.world.mean)
        basis = torch.cat([torch.zeros(1, dimension), torch.eye(dimension)]).double()
        made = push(
            self.world,
            self.schedule,
            sampler,
            plan.levels,
            plan.given,
            self.whole(basis[:, conditional.free], plan.given),
        )[:, conditional.free]
        return self._distance(made[0], (made[1:] - made[0]).T, plan.given)

    def floors(self, plan: SamplingPlan) -> dict[str, tuple[float, float]] | None:
        """The errors (2) of an exact solver, by cause; None where cells do not move together."""
        free = self.world.layout.valid & ~plan.given
        if (plan.levels[:, free] != plan.levels[:, free][:, :1]).any():
            return None
        flow, (top, last) = self.flow(plan.given), plan.levels[:, free][[0, -2], 0].tolist()
        dimension = len(flow.mean)
        normal = torch.cat([torch.zeros(1, dimension), torch.eye(dimension)]).double()
        exact = torch.cat([flow.mean_at(top)[None], flow.mean_at(top) + flow.factor_at(top).T])
        ends = {
            "start": flow.move(normal, top, 0.0),
            "last step": flow.denoise(flow.move(exact, top, last), last),
            "both": flow.denoise(flow.move(normal, top, last), last),
        }
        return {name: self._distance(made[0], (made[1:] - made[0]).T, plan.given) for name, made in ends.items()}

    def _distance(self, mean: Tensor, factor: Tensor, given: Bool[Tensor, "modality segment"]) -> tuple[float, float]:
        truth = self.world.conditional(given)
        expected, covariance = truth.mean(self.fact)[0], truth.covariance
        return (
            float((mean - expected).norm() / covariance.trace().sqrt()),
            float((factor @ factor.T - covariance).norm() / covariance.norm()),
        )

    def calibrated(self, sampler: Sampler, plan: SamplingPlan) -> Sampler:
        """The sampler for a plan, calibrated on draws from the world."""
        keys, denoiser = random.example_keys(0, range(256)), self.world.denoiser(self.schedule, "v")
        return sampler.calibrated(denoiser, plan, self.world.sample(keys), keys).for_plan(plan)


def bench_exact(
    laboratory: Laboratory,
    samplers: Sequence[str],
    plans: Sequence[str],
    tasks: Sequence[str],
    steps: Sequence[int],
    evaluations: Sequence[int],
    progress: Callable[[Iterable[tuple]], Iterable[tuple]] = iter,
) -> ExactReport:
    """Both parts of the laboratory's work.

    Args:
        laboratory: the world.
        samplers: ``NAME`` or ``NAME:key=value,…``.
        plans: registered plans in the same way, and :data:`LOG_SNR`.
        tasks: in the same way.
        steps: of the first part.
        evaluations: network evaluations of the second; a sampler takes as many steps as they allow.
        progress: wraps the iteration over (sampler, task).

    Raises:
        PluginError: if a name or parameter is wrong.
    """
    built = {text: Component.parse(text).build(laboratory.host, "sampler") for text in samplers}
    convergence: list[Convergence] = []
    truths: list[Truth] = []
    for text, task in progress([(text, task) for text in samplers for task in tasks]):
        convergence.extend(_convergence(laboratory, text, built[text], task, steps))
        for plan in plans:
            truths.extend(_truth(laboratory, text, built[text], plan, task, evaluations))
    return ExactReport(tuple(convergence), tuple(truths))


def _convergence(
    laboratory: Laboratory, text: str, sampler: Sampler, task: str, steps: Sequence[int]
) -> Iterable[Convergence]:
    schedule, layout = laboratory.schedule, laboratory.world.layout
    top, given = float(schedule.num_levels), laboratory.given(task)
    inside = schedule.level(torch.tensor(INSIDE, dtype=torch.float64)).tolist()
    probe = laboratory.matrices(torch.tensor(inside, dtype=torch.float64), given)
    if noise_streams(laboratory.world, schedule, sampler, probe, given):
        return
    memory = bool(sampler.start(laboratory.world.unflatten(laboratory.fact), layout))
    ranges: Mapping[str, tuple[float, float]] = {"T to 1": (top, 1.0), "inside": (inside[0], inside[1])}
    for where, (start, stop) in ranges.items():
        for exact_history in (False, True) if memory else (False,):
            errors = [
                laboratory.flow_error(sampler, task, uniform_in_log_snr(schedule, start, stop, count), exact_history)
                for count in steps
            ]
            yield Convergence(text, task, where, exact_history, tuple(steps), tuple(errors))


def _truth(
    laboratory: Laboratory, text: str, sampler: Sampler, plan: str, task: str, evaluations: Sequence[int]
) -> Iterable[Truth]:
    given = laboratory.given(task)
    for budget in evaluations:
        made = laboratory.plan(plan, given, max(1, budget // sampler.evaluations))
        mean, covariance = laboratory.truth_error(laboratory.calibrated(sampler, made), made)
        floors = laboratory.floors(made)
        yield Truth(text, plan, task, made.steps * sampler.evaluations, mean, covariance, floors)
