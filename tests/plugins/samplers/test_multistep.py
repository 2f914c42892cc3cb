"""Heun, DPM-Solver++ and UniPC against scalar implementations of their papers, and against exact flows.

The scalar ones are plain NumPy with one level for everything, written from the papers' own formulas, not from the
weights that the samplers use: DPM-Solver++ (arXiv:2211.01095) Algorithm 2, UniPC (arXiv:2302.04867) as its authors'
R p x a = b, and 3M as what SciPy integrates.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseqdiff_samplers.dpmpp import DPMPP2M, DPMPP3M, DPMPPSDE2M
from mmseqdiff_samplers.exponential import Span, quadrature
from mmseqdiff_samplers.heun import Heun
from mmseqdiff_samplers.unipc import UniPC
from scipy import integrate

from mmseqdiff.forward import Prediction
from mmseqdiff.layout import Layout, Track
from mmseqdiff.testing.strategies import Arc, layouts, schedules

DETERMINISTIC = [Heun(), DPMPP2M(), DPMPP3M(), *[UniPC(p, bh) for p in (1, 2, 3) for bh in ("bh1", "bh2")]]
ONE = Layout([Track("video", [0, 1])])


def toy(z, level):
    """An x0 that depends on everything, smoothly."""
    return np.tanh(0.7 * z + 0.1 * level) - 0.2 * z


def walk(sampler, schedule, layout, levels, z, x0, noise=None):
    """A sampler's run along one level for all cells, from latents to latents."""
    state = sampler.start(z, layout)
    for r in range(len(levels) - 1):
        t, s = (torch.tensor(level, dtype=torch.float64) * layout.valid[None] for level in levels[r : r + 2])

        def denoise(z, t):
            level = float(t.max())
            value = {name: torch.from_numpy(np.asarray(x0(latents.numpy(), level))) for name, latents in z.items()}
            return Prediction(value=value, kind="x0", z=z, t=t, schedule=schedule, layout=layout)

        z, state = sampler.step(z, t, s, denoise=denoise, state=state, noise=lambda stream, r=r: noise[r])
    return z


class Scalar:
    """One schedule's numbers, in NumPy."""

    def __init__(self, schedule):
        self.alpha, self.sigma = (
            lambda t, scale=scale: float(scale(torch.tensor(float(t), dtype=torch.float64)))
            for scale in (schedule.alpha, schedule.sigma)
        )

    def lam(self, t):
        return math.log(self.alpha(t) / self.sigma(t))

    def run(self, method, levels, z, *extra):
        """Along the levels; before a step to 0 or from alpha = 0 is DDIM, and nothing is remembered of the latter."""
        past, z = [], float(z)
        for r, (t, s) in enumerate(zip(levels, levels[1:])):
            z = getattr(self, method)(z, t, s, past, *[argument[r] for argument in extra])
        return z

    def ddim(self, z, t, s, x0):
        return self.alpha(s) * x0 + self.sigma(s) * (z - self.alpha(t) * x0) / self.sigma(t)

    def heun(self, z, t, s, past):
        """Trapezoid for z / sigma over alpha / sigma."""
        x0 = toy(z, t)
        euler = self.ddim(z, t, s, x0)
        if s == 0:
            return euler
        slope = (x0 + toy(euler, s)) / 2
        rho = [self.alpha(level) / self.sigma(level) for level in (t, s)]
        return self.sigma(s) * (z / self.sigma(t) + (rho[1] - rho[0]) * slope)

    def _direction(self, t, s, x0, past):
        h, before = self.lam(s) - self.lam(t), self.lam(t) - self.lam(past[-1][0])
        r = before / h
        return (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * past[-1][1]

    def two(self, z, t, s, past):
        """Algorithm 2 of arXiv:2211.01095."""
        x0 = toy(z, t)
        if s == 0 or self.alpha(t) == 0 or not past:
            made = self.ddim(z, t, s, x0)
        else:
            h = self.lam(s) - self.lam(t)
            made = self.sigma(s) / self.sigma(t) * z - self.alpha(s) * math.expm1(-h) * self._direction(t, s, x0, past)
        if self.alpha(t) > 0:
            past.append((t, x0))
        return made

    def sde(self, z, t, s, past, noise):
        x0 = toy(z, t)
        decay = 0.0 if s == 0 or self.alpha(t) == 0 else math.exp(-(self.lam(s) - self.lam(t)))
        d = self._direction(t, s, x0, past) if past and decay else x0
        if self.alpha(t) > 0:
            past.append((t, x0))
        return (
            self.sigma(s) / self.sigma(t) * decay * z
            + self.alpha(s) * (1 - decay**2) * d
            + self.sigma(s) * math.sqrt(1 - decay**2) * noise
        )

    def three(self, z, t, s, past):
        """What SciPy integrates: sigma_s ∫ e^lambda of the parabola through the last three estimates."""
        x0 = toy(z, t)
        if s == 0 or self.alpha(t) == 0:
            made = self.ddim(z, t, s, x0)
        else:
            points = [*past[-2:], (t, x0)]
            parabola = np.polynomial.Polynomial.fit(
                [self.lam(level) for level, _ in points], [value for _, value in points], len(points) - 1
            )
            area = integrate.quad(lambda x: math.exp(x) * parabola(x), self.lam(t), self.lam(s), epsabs=0, epsrel=1e-12)
            made = self.sigma(s) / self.sigma(t) * z + self.sigma(s) * area[0]
        if self.alpha(t) > 0:
            past.append((t, x0))
        return made

    def unipc(self, order, variant, levels, z):
        """The authors' multistep_uni_pc_bh_update with data prediction, corrector and predictor."""
        past, z, last = [], float(z), None

        def update(z, t, s, points, new):
            """From (t, z): the points before t, those at t last; ``new`` the estimate at s, or None to predict."""
            h = self.lam(s) - self.lam(t)
            m0, b_h = points[-1][1], -h if variant == "bh1" else math.expm1(-h)
            r = [(self.lam(level) - self.lam(t)) / h for level, _ in reversed(points[:-1])]
            d = [(value - m0) / rk for (_, value), rk in zip(reversed(points[:-1]), r)]
            if new is not None:
                r, d = [*r, 1.0], [*d, new - m0]
            matrix, right, phi, factorial = [], [], math.expm1(-h) / -h - 1, 1
            for k in range(1, len(r) + 1):
                matrix.append([rk ** (k - 1) for rk in r])
                right.append(phi * factorial / b_h)
                factorial *= k + 1
                phi = phi / -h - 1 / factorial
            rho = [0.5] if len(r) == 1 else np.linalg.solve(matrix, right) if r else []
            return (
                self.sigma(s) / self.sigma(t) * z
                - self.alpha(s) * math.expm1(-h) * m0
                - self.alpha(s) * b_h * sum(a * b for a, b in zip(rho, d))
            )

        for t, s in zip(levels, levels[1:]):
            x0 = toy(z, t)
            if last is not None:
                z = update(last[1], last[0], t, past[-order:], x0)
            if self.alpha(t) == 0:
                z = self.ddim(z, t, s, x0)
                continue
            past.append((t, x0))
            last = (t, z)
            z = self.ddim(z, t, s, x0) if s == 0 else update(z, t, s, past[-order:], None)
        return z


PATHS = st.lists(st.floats(0.05, 0.98), min_size=1, max_size=5, unique_by=lambda x: round(x, 1)).map(
    lambda between: [1.0, *sorted(between, reverse=True), 0.0]
)


@pytest.mark.parametrize("angle", [1.5, math.pi / 2])
@settings(max_examples=6)
@given(path=PATHS, z=st.floats(-2, 2), noise=st.lists(st.floats(-2, 2), min_size=6, max_size=6))
def test_runs_are_those_of_scalar_solvers(angle, path, z, noise):
    schedule = Arc(8, angle)
    scalar, levels = Scalar(schedule), [8 * part for part in path]
    drawn = [{"video": torch.full((1, 1, 1), value, dtype=torch.float64)} for value in noise]
    expected = {
        Heun(): scalar.run("heun", levels, z),
        DPMPP2M(): scalar.run("two", levels, z),
        DPMPP3M(): scalar.run("three", levels, z),
        DPMPPSDE2M(): scalar.run("sde", levels, z, noise),
    }
    for order in (1, 2, 3):
        for variant in ("bh1", "bh2"):
            expected[UniPC(order, variant)] = scalar.unipc(order, variant, levels, z)
    for sampler, value in expected.items():
        start = {"video": torch.full((1, 1, 1), z, dtype=torch.float64)}
        made = float(walk(sampler, schedule, ONE, levels, start, toy, drawn)["video"])
        assert made == pytest.approx(value, rel=1e-9, abs=1e-9), sampler


@pytest.mark.parametrize("sampler", DETERMINISTIC, ids=str)
@settings(max_examples=5)
@given(layout=layouts(max_modalities=2, max_segments=2), schedule=schedules(), path=PATHS, x0=st.floats(-2, 2))
def test_a_constant_x0_is_followed_exactly(sampler, layout, schedule, path, x0):
    """z stays alpha x0 + sigma epsilon, whatever the steps; it ends in x0."""
    levels = [schedule.num_levels * part for part in path]
    start = {
        track.modality: torch.linspace(-1, 1, math.prod(track.shape), dtype=torch.float64).reshape(1, *track.shape)
        for track in layout.tracks
    }
    for stop in range(2, len(levels) + 1):
        made = walk(sampler, schedule, layout, levels[:stop], start, lambda z, level: np.full_like(z, x0))
        ends = torch.tensor([levels[0], levels[stop - 1]], dtype=torch.float64)
        (a, c), (b, d) = schedule.alpha(ends).tolist(), schedule.sigma(ends).tolist()
        for name, z in start.items():
            torch.testing.assert_close(made[name], c * x0 + d * (z - a * x0) / b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "sampler", [DPMPP2M(), DPMPP3M(), DPMPPSDE2M(), *[UniPC(p, bh) for p in (2, 3) for bh in ("bh1", "bh2")]]
)
@pytest.mark.parametrize("gap", [1e-15, 1e-12, 1e-9, 1e-6, 1e-4])
def test_a_step_too_short_to_tell_estimates_apart_is_forgotten(sampler, gap):
    # The slope between two estimates that rounding tells apart is rounding over the gap.
    schedule, levels = Arc(8, 1.5), [8.0, 7.0, 7.0 * (1 - gap), 3.0]
    first, last = schedule.alpha(torch.tensor([levels[0], levels[-1]], dtype=torch.float64)).tolist()
    start, silence = ({"video": torch.full((1, 1, 1), value, dtype=torch.float64)} for value in (first, 0.0))
    made = walk(
        sampler, schedule, ONE, levels, start, lambda z, t: np.ones_like(z) + 1e-9 * math.sin(1e16 * t), [silence] * 3
    )
    assert float(made["video"]) == pytest.approx(last, abs=1e-5)


@given(h=st.floats(-14, 4).map(math.exp))
def test_moments_are_what_scipy_integrates(h):
    span = Span(
        *[torch.tensor([[[value]]], dtype=torch.float64) for value in (0, 1, 0, h, 0)], torch.ones(1, 1, 1).long(), ()
    )
    for k, moment in enumerate(span.moments(4)):
        # over u = h (1 − τ), cut where e^{−u} is 0
        exact = integrate.quad(lambda u, k=k: math.exp(-u) * (1 - u / h) ** k, 0, min(h, 40), epsabs=0, epsrel=1e-12)[0]
        assert float(moment) == pytest.approx(exact, rel=1e-9)


@given(
    gaps=st.lists(st.floats(0.05, 3), min_size=1, max_size=3),
    moments=st.lists(st.floats(-2, 2), min_size=4, max_size=4),
)
def test_weights_solve_the_vandermonde_system(gaps, moments):
    nodes = [0.0, *(-np.cumsum(gaps)).tolist()]
    count = len(nodes)
    tensors = [[torch.tensor([[[x]]], dtype=torch.float64) for x in values] for values in (nodes, moments[:count])]
    weights = [float(weight) for weight in quadrature(*tensors)]
    np.testing.assert_allclose(np.vander(nodes, increasing=True).T @ weights, moments[:count], atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [(lambda: UniPC(4), r"'order' must be in \(1, 2, 3\)"), (lambda: UniPC(2, "bh3"), "'variant' must be in")],
)
def test_what_is_no_solver_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
