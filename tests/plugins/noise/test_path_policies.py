"""Policies whose cells depend on each other without being equal: the distributions that they draw from, in closed form."""

import itertools
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmseqdiff_noise.coupled import Coupled
from mmseqdiff_noise.dual import DualTime
from mmseqdiff_noise.future import UniformFuture
from mmseqdiff_noise.monotone import Monotone, rising_paths
from mmseqdiff_noise.policies import PerSegmentModality
from mmseqdiff_noise.rolling import RollingWindow
from scipy import stats

from mmseqdiff import random
from mmseqdiff.layout import Layout, Track, uniform_edges
from mmseqdiff.testing.strategies import keys, layouts

LAYOUT = Layout(
    [
        Track("video", [0, Fraction(1, 8), Fraction(5, 8), Fraction(9, 8)]),
        Track("audio", uniform_edges(7, Fraction(56, 9))),
    ]
)
BLOCKS = LAYOUT.correspondence()[1].tolist()
T = 12
MANY = random.example_keys(11, range(8000))
LIKELY = 1e-4  # the draws are fixed: what passes once passes always


def drawn(policy, num_levels=T):
    video, audio = LAYOUT.split(policy.sample(LAYOUT, MANY, num_levels=num_levels)).values()
    return video.long(), audio.long()


def has_law(levels, probabilities):
    """Whether levels 1 … T come with these probabilities; what cannot come must not."""
    counts = torch.bincount(levels - 1, minlength=len(probabilities)).double()
    law = torch.tensor(probabilities, dtype=torch.float64)
    assert law.sum().item() == pytest.approx(1)
    assert (counts[law == 0] == 0).all()
    possible = law > 0
    return possible.sum() == 1 or stats.chisquare(counts[possible], law[possible] * len(levels)).pvalue > LIKELY


@pytest.mark.parametrize(("segments", "num_levels"), [(4, 5), (1, 6), (3, 1), (5, 3)])
def test_monotone_paths_have_the_probabilities_that_counting_gives(segments, num_levels):
    """Every path is enumerated: choose a segment and its level, then one of the paths on either side."""
    levels = range(1, num_levels + 1)
    law = dict.fromkeys(itertools.combinations_with_replacement(levels, segments), 0.0)
    for f, level in itertools.product(range(segments), levels):
        lefts = list(itertools.combinations_with_replacement(range(1, level + 1), f))
        rights = list(itertools.combinations_with_replacement(range(level, num_levels + 1), segments - 1 - f))
        for left, right in itertools.product(lefts, rights):
            law[(*left, level, *right)] += 1 / (segments * num_levels * len(lefts) * len(rights))
    paths = [tuple(path) for path in rising_paths(MANY, segments, num_levels).tolist()]
    assert set(paths) <= set(law)
    observed = [paths.count(path) for path in law]
    assert len(law) == 1 or stats.chisquare(observed, [p * len(MANY) for p in law.values()]).pvalue > LIKELY


@given(segments=st.integers(1, 120), num_levels=st.integers(1, 1000), keys=keys(8))
def test_monotone_paths_rise_within_the_levels(segments, num_levels, keys):
    paths = rising_paths(keys, segments, num_levels)
    assert (paths.diff(dim=1) >= 0).all()
    assert ((paths >= 1) & (paths <= num_levels)).all()


def test_monotone_follows_physical_time():
    video, audio = drawn(Monotone())
    assert torch.equal(audio, video[:, BLOCKS])
    video, audio = drawn(Monotone("audio"))
    assert (audio.diff(dim=1) >= 0).all()
    assert (audio.diff(dim=1) > 0).any(1).float().mean() > 0.9
    assert torch.equal(video, audio[:, LAYOUT.correspondence("audio")[0, :3].tolist()])


def test_the_future_shares_a_level_and_the_past_does_not():
    policy = UniformFuture()
    video, audio = drawn(policy)
    assert torch.equal(audio, video[:, BLOCKS])
    assert all(has_law(video[:, n], [1 / T] * T) for n in range(3))
    for n, m in itertools.combinations(range(3), 2):
        table = torch.bincount((video[:, n] - 1) * T + video[:, m] - 1, minlength=T * T).reshape(T, T)
        assert stats.chi2_contingency(table).pvalue > LIKELY, "the context is two segments, the future one"
    video, audio = drawn(UniformFuture(Fraction(1, 8)))
    assert torch.equal(video[:, 1], video[:, 2])
    assert (video[:, 0] != video[:, 1]).any()
    assert UniformFuture().ties(LAYOUT)[0][0, :3].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("share", "granularity", "units"), [(0.5, "segment", 6), (1.0, "latent", 10), (0.0, "latent", 10)]
)
def test_dual_time_gives_a_minority_the_smaller_of_two_levels(share, granularity, units):
    video, audio = drawn(DualTime(share, granularity))
    both = torch.cat([video, audio], dim=1)
    assert all(len(row.unique()) <= 2 for row in both[:200])
    most = math.floor(share * units)
    part = most / 2 / units  # the mean of a set's size, over the units
    law = [part * (2 * (T - x) + 1) / T**2 + (1 - part) * (2 * x - 1) / T**2 for x in range(1, T + 1)]
    assert has_law(video[:, 1], law)
    assert has_law(audio[:, 4], law)
    cells = (
        both if granularity == "latent" else torch.cat([video, audio[:, [BLOCKS.index(n) for n in range(3)]]], dim=1)
    )
    smaller = (cells < cells.max(1, keepdim=True).values).sum(1)
    assert smaller.max() <= most
    if granularity == "segment":
        representative = [BLOCKS.index(block) for block in BLOCKS]
        assert torch.equal(audio, audio[:, representative])


@pytest.mark.parametrize("per_segment", [False, True])
def test_coupled_levels_lie_on_one_curve_with_the_law_of_their_shift(per_segment):
    policy = Coupled({"audio": 3.0, "video": 0.5}, per_segment)

    def law(shift):
        ends = [x / T / (shift - (shift - 1) * x / T) for x in range(T + 1)]
        return [b - a for a, b in zip(ends, ends[1:])]

    video, audio = drawn(policy)
    for n, block in enumerate(BLOCKS):
        assert has_law(audio[:, n], law(3.0))
        assert has_law(video[:, block], law(0.5))
    fine_video, fine_audio = (levels.double() / 10_000 for levels in drawn(policy, 10_000))
    u = fine_video / (0.5 + 0.5 * fine_video)  # the inverse of the shift
    u = u[:, BLOCKS]
    torch.testing.assert_close(fine_audio, 3 * u / (1 + 2 * u), rtol=0, atol=2e-3)
    assert (video == video[:, :1]).all() == (not per_segment)


def test_coupled_without_shifts_is_vanilla():
    video, audio = drawn(Coupled())
    assert has_law(video[:, 0], [1 / T] * T)
    assert (audio == video[:, :1]).all()


def test_a_rolling_window_has_its_local_times():
    policy = RollingWindow(0.25)
    video, audio = drawn(policy)
    assert torch.equal(audio, video[:, BLOCKS])
    initial = policy.component(MANY) == 1
    assert stats.binomtest(int(initial.sum()), len(MANY), 0.25).pvalue > LIKELY
    for w in range(3):
        slot = [1 / 4 if w * 4 < x <= (w + 1) * 4 else 0 for x in range(1, T + 1)]
        assert has_law(video[~initial][:, w], slot)
        start = [1 / T if x > w * 4 else 0 for x in range(1, T + 1)]
        start[-1] += w / 3
        assert has_law(video[initial][:, w], start)
    assert (video[~initial].diff(dim=1) == 4).all(), "one phase for all slots"


@pytest.mark.parametrize("floor", [0.0, 0.4, 1.0])
def test_a_noise_floor_has_the_law_that_it_says(floor):
    video, audio = drawn(PerSegmentModality(floor=floor))
    below = [x / T * (min(1.0, math.floor(x / floor + 1e-9) / T) if floor else 1.0) for x in range(T + 1)]
    law = [b - a for a, b in zip(below, below[1:])]
    for levels in (video[:, 0], audio[:, 3], audio[:, 6]):
        assert has_law(levels, law)
    both = int(((video[:, 0] <= 3) & (audio[:, 3] <= 3)).sum())  # the floor is one draw, the cells' own levels are two
    assert stats.binomtest(both, len(MANY), below[3] * 3 / T).pvalue > LIKELY
    assert (PerSegmentModality(floor=floor).ties(LAYOUT) is None) == (floor > 0)


@pytest.mark.parametrize("floor", ["3/10", "1/7", "2/3", "1"])
def test_the_floor_is_that_share_of_its_draw_rounded_up_exactly(floor):
    draws = random.example_keys(5, range(3000))
    plain = PerSegmentModality().sample(LAYOUT, draws, num_levels=1000)
    floored = PerSegmentModality(floor=float(Fraction(floor))).sample(LAYOUT, draws, num_levels=1000)
    drawn_floors = random.integers(draws, "floor", 1, 1000).tolist()
    lowest = torch.tensor([math.ceil(Fraction(floor) * draw) for draw in drawn_floors])[:, None, None]
    assert torch.equal(floored, torch.where(LAYOUT.valid, torch.maximum(plain, lowest), 0))


@given(layout=layouts(), keys=keys(3), num_levels=st.integers(1, 1000))
def test_every_cell_that_exists_is_noisy(layout, keys, num_levels):
    for policy in (
        Monotone(),
        UniformFuture(),
        DualTime(),
        Coupled({"video": 0.01}),
        RollingWindow(),
        PerSegmentModality(floor=0.3),
    ):
        levels = policy.sample(layout, keys, num_levels=num_levels)
        assert ((levels >= 1) == layout.valid).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Coupled({"audio": 0.0}), "the shift of 'audio' must be positive"),
        (
            lambda: Coupled({"pose": 2.0}).sample(LAYOUT, MANY[:1], num_levels=4),
            "names 'pose'; the layout has video, audio",
        ),
        (lambda: DualTime(1.5), "'share' must be <= 1"),
        (lambda: DualTime(granularity="frame"), "'granularity' must be in"),
        (lambda: RollingWindow(-0.1), "'initial' must be >= 0"),
        (lambda: PerSegmentModality(floor=1.5), "'floor' must be <= 1"),
        (lambda: Monotone("depth").sample(LAYOUT, MANY[:1], num_levels=4), "no modality 'depth'"),
    ],
)
def test_what_is_no_policy_is_refused(make, message):
    with pytest.raises((ValueError, KeyError), match=message):
        make()
