"""What the built-in policies, tasks, plans and samplers do: worked examples of the contracts.

The first three are written down by hand, cell by cell; samplers come from their papers' formulas, one number at a time.
"""

import math
from fractions import Fraction as F
from itertools import product

import pytest
from scipy import integrate, interpolate

from mmseqdiff.layout import Layout, Track, uniform_edges
from mmseqdiff.testing.contracts import CONTRACTS, StatedCells, StatedLevels, StatedRows, StatedRun
from mmseqdiff.testing.strategies import Arc

CLIP = Layout([Track("video", [0, *(F(1 + 4 * k, 8) for k in range(5))]), Track("audio", uniform_edges(17, 8))])
"""AVDiT's two seconds, with an audio latent every 1/8 s: they correspond as a bbbb cccc dddd eeee."""
SHORT = Layout([Track("audio", [0, F(1, 2), 1, F(3, 2), 2]), Track("video", [0, 1, 2])])
"""Two audio segments to each of video."""
PAIR = Layout([Track("audio", [0, F(1, 2), 1, F(3, 2)]), Track("video", [0, 1, F(3, 2)])])
"""Three audio segments and two of video; the first two audio segments lie in the first of video."""
LINE = Layout([Track("video", [0, 1, 2, 3])])


def alike(*matrices):
    """Each as often as the others."""
    return {matrix: 1 / len(matrices) for matrix in matrices}


def mixed(*parts):
    """Equal shares of some distributions."""
    return {
        matrix: sum(part.get(matrix, 0) for part in parts) / len(parts)
        for matrix in dict.fromkeys(matrix for part in parts for matrix in part)
    }


def free(pattern, levels="12"):
    """Matrices in which every letter of a pattern is a level of its own; what is no letter stays."""
    letters = sorted({sign for sign in pattern if sign.isalpha()})
    return alike(
        *(
            "".join(dict(zip(letters, drawn)).get(sign, sign) for sign in pattern)
            for drawn in product(levels, repeat=len(letters))
        )
    )


CELLS = [
    ("joint", {}, {"video": ".....", "audio": "." * 17}),
    ("a2v", {}, {"video": ".....", "audio": "#" * 17}),
    ("v2a", {}, {"video": "#####", "audio": "." * 17}),
    ("cross_modal", {"modalities": ["audio", "video"]}, {"video": "#####", "audio": "#" * 17}),
    ("cross_modal", {"modalities": ["audio"]}, {"video": ".....", "audio": "#" * 17}),
    ("continue", {}, {"video": "##...", "audio": "#####............"}),
    ("continue", {"length": "1/8"}, {"video": "#....", "audio": "#................"}),
    ("continue", {"length": 9, "frame_rate": 8}, {"video": "###..", "audio": "#########........"}),
    ("continue", {"length": "7/16"}, {"video": "#....", "audio": "###.............."}),
    ("inpaint", {}, {"video": "#...#", "audio": "#............####"}),
    ("inpaint", {"start": "5/8", "stop": "9/8"}, {"video": "##.##", "audio": "#####....########"}),
    ("inpaint", {"start": 0, "stop": 5, "frame_rate": 8}, {"video": "..###", "audio": ".....############"}),
    ("interpolate", {}, {"video": "#...#", "audio": "#............####"}),
    ("interpolate", {"before": "5/8", "after": 1}, {"video": "##.##", "audio": "#####....########"}),
    ("interpolate", {"before": 9, "after": 4, "frame_rate": 8}, {"video": "###.#", "audio": "#########....####"}),
    ("ranges", {"text": "video:0-0.625 audio:0-0.25 audio:1-1.5"}, {"video": "##...", "audio": "##......####....."}),
    ("ranges", {"text": "audio:0.25-0.5 audio:0-0.25"}, {"video": ".....", "audio": "####............."}),
    ("ranges", {"text": "audio:0-1 audio:0.5-0.75"}, {"video": ".....", "audio": "########........."}),
    ("ranges", {"text": "audio:17/8-3"}, {"video": ".....", "audio": "." * 17}),
]

LEVELS = [
    ("vanilla", {}, SHORT, 3, free("aaaa/aa", "123")),
    ("per_modality", {}, SHORT, 3, free("aaaa/bb", "123")),
    ("per_segment", {}, SHORT, 2, free("aabb/ab")),
    ("per_segment", {"reference": "audio"}, SHORT, 2, free("abcd/bd")),
    ("per_segment_modality", {}, PAIR, 2, free("abc/de")),
    ("per_segment_modality", {"granularity": "segment"}, PAIR, 2, free("aab/cd")),
    ("monl", {}, PAIR, 2, mixed(free("aaa/aa"), free("aab/ab"), free("aaa/bb"), free("abc/de"))),
    ("monl", {"granularity": "segment"}, PAIR, 2, mixed(free("aaa/aa"), free("aab/ab"), free("aaa/bb"), free("aab/cd"))),
    ("pt_pm_ptm", {}, PAIR, 2, mixed(free("aab/ab"), free("aaa/bb"), free("abc/de"))),
    (
        "mixture", {"policies": ["vanilla", "per_modality"], "weights": [1, 3]}, PAIR, 2,
        mixed(free("aaa/aa"), *[free("aaa/bb")] * 3),
    ),
    (
        "mixture", {"policies": ["per_segment", "vanilla", "per_modality"], "weights": [2, 1, 1]}, PAIR, 2,
        mixed(free("aab/ab"), free("aab/ab"), free("aaa/aa"), free("aaa/bb")),
    ),
    ("task", {"task": "a2v"}, PAIR, 3, free("000/aa", "123")),
    ("task", {"task": {"name": "ranges", "text": "video:0-1 audio:1-3/2"}}, PAIR, 3, free("aa0/0a", "123")),
    ("restricted", {"policy": "per_segment", "modalities": ["audio"]}, PAIR, 2, free("aab/cc")),
    ("restricted", {"policy": "vanilla", "modalities": ["audio"], "rest": "per_segment"}, PAIR, 2, free("aaa/bc")),
    (
        "with_clean", {"policy": "per_modality", "task": "v2a", "probability": 0.25}, PAIR, 2,
        mixed(free("aaa/00"), *[free("aaa/bb")] * 3),
    ),
    ("uniform_future", {"context": 1}, SHORT, 2, free("aabb/ab")),
    ("uniform_future", {"context": 1}, LINE, 2, free("abb")),
    ("uniform_future", {"context": 2}, LINE, 2, free("abc")),
    ("uniform_future", {"context": "1/2", "reference": "audio"}, SHORT, 2, free("abbb/bb")),
    # Two of three segments, the first of them uniform among 3 and its level among 2, and uniform rising paths on either side:
    # f = 0: 1 then 11 12 22, or 222;  f = 1: 1 in front of 1 then 1 or 2, or 1 or 2 in front of 22;  f = 2 as f = 0.
    (
        "monotone", {}, LINE, 2,
        mixed(
            mixed(alike("111", "112", "122"), alike("222")),
            mixed(alike("111", "112"), alike("122", "222")),
            mixed(alike("111"), alike("112", "122", "222")),
        ),
    ),
    ("coupled", {}, PAIR, 3, free("aaa/aa", "123")),
    # With a shift of 3, P(t <= 1) of T = 2 is 1/2 / (3 - 2/2) = 1/4.
    ("coupled", {"shifts": {"video": 3.0}}, PAIR, 2, mixed(alike("111/11"), alike("111/22"), alike("222/22"), alike("222/22"))),
    ("coupled", {"per_segment": True}, PAIR, 2, free("aab/ab")),
    # a, b of 1, 2: 11, 22, and twice the pair 1 < 2, of which none or one of the three units is at 1.
    (
        "dual_time", {"share": 0.4}, LINE, 2,
        mixed(alike("111"), alike("222"), *[mixed(alike("222"), alike("122", "212", "221"))] * 2),
    ),
    # t_w = (w + s) / 3, of T = 6: 1 or 2, then 3 or 4, then 5 or 6, all up as s passes 1/2.
    ("rolling_window", {"initial": 0}, LINE, 6, alike("135", "246")),
    # t_w = min(1, w / 3 + s) of T = 3.
    ("rolling_window", {"initial": 1}, LINE, 3, alike("123", "233", "333")),
    # ceil(c / 2), of c in 1, 2, is 1: the floor does not bind; with floor 1 it is c.
    ("per_segment_modality", {"floor": 0.5}, LINE, 2, free("abc")),
    ("per_segment_modality", {"floor": 1.0}, LINE, 2, mixed(free("abc"), alike("222"))),
]  # fmt: skip

OPEN, SIX = {"video": "..", "audio": "...."}, Layout([Track("video", range(7))])
ROWS = [
    ("full", {"steps": 2}, SHORT, 8, OPEN, {"audio": "8888 4444 0000", "video": "88 44 00"}),
    ("full", {"steps": 3}, SHORT, 9, {"video": "#.", "audio": "...#"}, {"audio": "9990 6660 3330 0000", "video": "09 06 03 00"}),
    ("full", {"steps": 3}, LINE, 7, {"video": "..."}, {"video": "777 555 222 000"}),
    ("autoregressive", {"steps": 2}, SHORT, 8, OPEN, {"audio": "8888 4488 0088 0044 0000", "video": "88 48 08 04 00"}),
    (
        "autoregressive", {"steps": 1, "reference": "audio"}, SHORT, 8, OPEN,
        {"audio": "8888 0888 0088 0008 0000", "video": "88 88 08 08 00"},
    ),
    ("block_autoregressive", {"steps": 1}, SIX, 8, {"video": "......"}, {"video": "888888 008888 000088 000000"}),
    ("block_autoregressive", {"steps": 1, "block": 4}, SIX, 8, {"video": "......"}, {"video": "888888 000088 000000"}),
    ("block_autoregressive", {"steps": 1}, SIX, 8, {"video": "..#..."}, {"video": "880888 000888 000008 000000"}),
    ("pyramid", {"steps": 2}, LINE, 8, {"video": "..."}, {"video": "888 488 048 004 000"}),
    ("pyramid", {"steps": 2, "uncertainty": "3/2"}, LINE, 8, {"video": "..."}, {"video": "888 488 048 008 004 000"}),
    ("pyramid", {"steps": 2, "uncertainty": 0}, LINE, 8, {"video": "..."}, {"video": "888 444 000"}),
    ("pyramid", {"steps": 2, "block": 2}, LINE, 8, {"video": "..."}, {"video": "888 448 004 000"}),
    ("pyramid", {"steps": 2, "reference": "audio"}, SHORT, 8, OPEN, {"audio": "8888 4888 0488 0048 0004 0000", "video": "88 88 48 08 04 00"}),
    ("trapezoid", {"steps": 2}, SIX, 8, {"video": "......"}, {"video": "888888 488884 048840 004400 000000"}),
    ("trapezoid", {"steps": 2, "middle_out": True}, SIX, 8, {"video": "......"}, {"video": "888888 884488 840048 400004 000000"}),
    ("trapezoid", {"steps": 1, "middle_out": True}, LINE, 8, {"video": "..."}, {"video": "888 808 000"}),
    ("trapezoid", {"steps": 2, "uncertainty": 2, "block": 2}, SIX, 8, {"video": "......"}, {"video": "888888 448844 008800 004400 000000"}),
    ("ar_step", {"steps": 2, "behind": 1}, LINE, 8, {"video": "..."}, {"video": "888 488 048 004 000"}),
    ("ar_step", {"steps": 2, "behind": 5}, LINE, 8, {"video": "..."}, {"video": "888 488 088 048 008 004 000"}),
    ("ar_step", {"steps": 2, "behind": 1}, SIX, 8, {"video": "..#..."}, {"video": "880888 480488 040048 000004 000000"}),
    ("ar_step", {"steps": 2, "behind": 1, "block": 2}, SIX, 8, {"video": "......"}, {"video": "888888 448888 004488 000044 000000"}),
    ("keyframes", {"steps": 2}, SIX, 8, {"video": "......"}, {"video": "888888 484848 080808 040404 000000"}),
    ("keyframes", {"steps": 1, "every": 3}, SIX, 8, {"video": "......"}, {"video": "888888 088088 000000"}),
    ("keyframes", {"steps": 1, "reference": "audio"}, SHORT, 8, OPEN, {"audio": "8888 0808 0000", "video": "88 88 00"}),
    ("cascade", {"steps": 2, "leads": {"audio": 1}}, SHORT, 8, OPEN, {"audio": "8888 4444 0000 0000 0000", "video": "88 88 88 44 00"}),
    ("cascade", {"steps": 2, "leads": {"video": 0.5}}, SHORT, 8, OPEN, {"audio": "8888 8888 4444 0000", "video": "88 44 00 00"}),
    (
        "cascade", {"steps": 2, "leads": {"video": 1, "audio": 0.5}, "uncertainty": 1}, SHORT, 8, OPEN,
        {"audio": "8888 8888 4488 0044 0000", "video": "88 48 04 00 00"},
    ),
    (
        "repaint", {"steps": 4, "jump": 2, "resamples": 2}, LINE, 8, {"video": "..#"},
        {"video": "880 660 440 220 660 440 220 000"},
    ),
    ("repaint", {"steps": 3, "jump": 1, "resamples": 2}, LINE, 9, {"video": "..."}, {"video": "999 666 999 666 333 666 333 000"}),
    ("repaint", {"steps": 2, "jump": 1, "resamples": 3}, LINE, 8, {"video": "..."}, {"video": "888 444 888 444 888 444 000"}),
    ("repaint", {"steps": 3, "jump": 2, "resamples": 1}, LINE, 9, {"video": "..."}, {"video": "999 666 333 000"}),
    ("matrix", {"rows": [8, 3, 0]}, SHORT, 8, OPEN, {"audio": "8888 3333 0000", "video": "88 33 00"}),
    ("matrix", {"rows": [1, 0.5, 0], "top": 1}, SHORT, 8, OPEN, {"audio": "8888 4444 0000", "video": "88 44 00"}),
    (
        "matrix", {"rows": [8, [[8, 4, 2, 1], [3, 8]], {"video": 2, "audio": [1, 0, 0, 0]}, [0, 0]]}, SHORT, 8, OPEN,
        {"audio": "8888 8421 1000 0000", "video": "88 38 22 00"},
    ),
    (
        "matrix", {"rows": [8, [8, [4, 8]], [5, [4, 8]], [5, [4, 2]], 0]}, SHORT, 8, {"video": "#.", "audio": "####"},
        {"audio": "0000 0000 0000", "video": "08 02 00"},
    ),
]  # fmt: skip

ARC = Arc(num_levels=8, angle=1.5)
LEVELS_OF_A_RUN = (7.0, 5.5, 4.0, 2.0, 0.5, 0.0)
ESTIMATES = (0.3, -0.2, 0.5, 0.9, 0.1, 0.4, -0.6, 0.2, 0.7, -0.1)
NOISE = (0.8, -1.1, 0.4, 1.7, -0.3)


def alpha(t):
    return math.cos(1.5 * t / 8)


def sigma(t):
    return math.sin(1.5 * t / 8)


def half_log_snr(t):
    return math.log(alpha(t) / sigma(t))


def run(step, evaluations=1):
    """A worked example: ``step(z, t, s, estimates, noise, r)`` gives the next number."""
    z, path = [1.3], list(zip(LEVELS_OF_A_RUN[:-1], LEVELS_OF_A_RUN[1:]))
    for r, (t, s) in enumerate(path):
        z.append(step(z[-1], t, s, ESTIMATES[evaluations * r :], NOISE[r], r) if s else ESTIMATES[evaluations * r])
    return StatedRun(ARC, LEVELS_OF_A_RUN, ESTIMATES[: evaluations * len(path)], NOISE, z)


def posterior(t, s):
    """The variance of z_t given z_s, and that of z_s given z_t and x0."""
    between = sigma(t) ** 2 - (alpha(t) / alpha(s) * sigma(s)) ** 2
    return between, between * (sigma(s) / sigma(t)) ** 2


def ddim(eta):
    def step(z, t, s, x0, noise, r):
        own = eta**2 * posterior(t, s)[1]
        epsilon = (z - alpha(t) * x0[0]) / sigma(t)
        return alpha(s) * x0[0] + math.sqrt(sigma(s) ** 2 - own) * epsilon + math.sqrt(own) * noise

    return run(step)


def ddpm(beta):
    def step(z, t, s, x0, noise, r):
        between, own = posterior(t, s)
        mean = (alpha(t) / alpha(s) * sigma(s) ** 2 * z + alpha(s) * between * x0[0]) / sigma(t) ** 2
        return mean + math.sqrt(between if beta else own) * noise

    return run(step)


def heun():
    def step(z, t, s, x0, noise, r):
        return sigma(s) * (z / sigma(t) + (alpha(s) / sigma(s) - alpha(t) / sigma(t)) * (x0[0] + x0[1]) / 2)

    return run(step, evaluations=2)


def second_order(stochastic):
    def step(z, t, s, x0, noise, r):
        h, now = half_log_snr(s) - half_log_snr(t), x0[0]
        if r:
            before = half_log_snr(t) - half_log_snr(LEVELS_OF_A_RUN[r - 1])
            now += (x0[0] - ESTIMATES[r - 1]) * h / before / 2
        if stochastic:
            kept = math.exp(-2 * h)
            return (
                sigma(s) / sigma(t) * math.exp(-h) * z
                + alpha(s) * (1 - kept) * now
                + sigma(s) * math.sqrt(1 - kept) * noise
            )
        return sigma(s) / sigma(t) * z + alpha(s) * (1 - math.exp(-h)) * now

    return run(step)


def integral(t, s, points):
    """∫ exp(λ − λ_s) x0(λ) dλ from λ_t to λ_s, of the polynomial through ``(level, estimate)`` pairs."""
    start, stop = half_log_snr(t), half_log_snr(s)
    nodes, values = zip(*((half_log_snr(level), value) for level, value in points))
    curve = interpolate.KroghInterpolator(nodes, values)
    return integrate.quad(lambda at: math.exp(at - stop) * float(curve(at)), start, stop, epsabs=1e-12)[0]


def third_order():
    def step(z, t, s, x0, noise, r):
        points = [(LEVELS_OF_A_RUN[k], ESTIMATES[k]) for k in range(r, max(r - 3, -1), -1)]
        return sigma(s) / sigma(t) * z + alpha(s) * integral(t, s, points)

    return run(step)


def unipc(order, variant):
    corrected = []

    def move(z, r, others):
        """From row r to the next, by the estimate there and at ``others``."""
        t, s = LEVELS_OF_A_RUN[r : r + 2]
        h = half_log_snr(s) - half_log_snr(t)
        if len(others) == 1:
            node = (half_log_snr(LEVELS_OF_A_RUN[others[0]]) - half_log_snr(t)) / h
            scale = h if variant == "bh1" else 1 - math.exp(-h)
            x0 = (1 - math.exp(-h)) * ESTIMATES[r] + scale / 2 / node * (ESTIMATES[others[0]] - ESTIMATES[r])
        else:
            x0 = integral(t, s, [(LEVELS_OF_A_RUN[k], ESTIMATES[k]) for k in (r, *others)])
        return sigma(s) / sigma(t) * z + alpha(s) * x0

    def step(z, t, s, x0, noise, r):
        corrected.append(move(corrected[-1], r - 1, [r, *range(r - 2, max(r - 1 - order, -1), -1)]) if r else z)
        return move(corrected[-1], r, [*range(r - 1, max(r - order, -1), -1)])

    return run(step)


RUNS = [
    *(("ddim", {"eta": eta}, ddim(eta)) for eta in (0.0, 0.5, 1.0)),
    *(("analytic_ddim", {"eta": eta}, ddim(eta)) for eta in (0.0, 0.5)),
    *(("ddpm", {"variance": name}, ddpm(name == "beta")) for name in ("posterior", "beta")),
    ("analytic_dpm", {}, ddpm(False)),
    ("heun", {}, heun()),
    ("dpmpp_2m", {}, second_order(False)),
    ("dpmpp_sde_2m", {}, second_order(True)),
    ("dpmpp_3m", {}, third_order()),
    *(("unipc", {"order": p, "variant": name}, unipc(p, name)) for p in (1, 2, 3) for name in ("bh1", "bh2")),
]

STATED = [
    *(("task", name, parameters, StatedCells(CLIP, given)) for name, parameters, given in CELLS),
    *(("policy", name, parameters, StatedLevels(layout, T, shares)) for name, parameters, layout, T, shares in LEVELS),
    *(("sampler", name, parameters, example) for name, parameters, example in RUNS),
    *(
        ("plan", name, parameters, StatedRows(layout, T, given, rows))
        for name, parameters, layout, T, given, rows in ROWS
    ),
]


@pytest.mark.parametrize(
    ("kind", "name", "parameters", "example"),
    [pytest.param(*entry, id=f"{entry[1]} {' '.join(map(str, entry[2].values()))}") for entry in STATED],
)
def test_the_worked_examples(host, kind, name, parameters, example):
    CONTRACTS[kind].of(lambda: host.build(kind, name, **parameters), stated=[example])().test_worked_examples_hold()


def test_every_built_in_one_has_worked_examples(host):
    for kind in {of for of, *_ in STATED}:
        ours = {
            entry.name
            for entry in host.registrations(kind)
            if entry.origin.startswith(("mmseqdiff-noise", "mmseqdiff-samplers"))
        }
        assert ours == {name for of, name, *_ in STATED if of == kind}, kind
