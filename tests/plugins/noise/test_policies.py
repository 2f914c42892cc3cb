"""Timestep policies: their ties, and the distributions that they draw from (arXiv:2405.13762 §3.2, Algorithm 1)."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmseqdiff_noise.policies import (
    Mixture,
    PerModality,
    PerSegment,
    PerSegmentModality,
    Restricted,
    TaskPolicy,
    Vanilla,
    WithClean,
    monl,
    pt_pm_ptm,
)
from scipy import stats

from mmseqdiff import random
from mmseqdiff.layout import Layout, Track, uniform_edges
from mmseqdiff.testing.contracts import PolicyContract
from mmseqdiff.testing.strategies import keys, layouts, tasks
from mmseqdiff.timesteps import ALWAYS_CLEAN, canonical

LAYOUT = Layout(
    [
        Track("video", [0, Fraction(1, 8), Fraction(5, 8)]),
        Track("audio", uniform_edges(5, 8)),
        Track("pose", uniform_edges(3, 4)),
    ]
)
AVDIT = Layout(
    [
        Track("video", [0, *(Fraction(1 + 4 * k, 8) for k in range(5))], (16, 16), 8),
        Track("audio", uniform_edges(106, 50)),
    ]
)
T = 12
MANY = random.example_keys(11, range(6000))
PAPERS = [Vanilla(), PerModality(), PerSegment(), PerSegmentModality()]
LIKELY = 1e-4  # p-values below this fail: the draws are fixed, so that a test that passed does not begin to fail


def drawn(policy, layout=LAYOUT):
    """Levels (examples, cells) of the valid cells, and the partition of these cells."""
    return policy.sample(layout, MANY, num_levels=T)[:, layout.valid].long(), policy.ties(layout)[0][layout.valid]


def uniform(levels):
    return stats.chisquare(torch.bincount(levels - 1, minlength=T)).pvalue > LIKELY


def independent(one, other):
    table = torch.bincount((one - 1) * T + other - 1, minlength=T * T).reshape(T, T)
    return stats.chi2_contingency(table).pvalue > LIKELY


@pytest.mark.parametrize("policy", [*PAPERS, PerSegmentModality("segment"), PerSegment("audio")], ids=str)
def test_marginals_are_uniform_and_groups_independent(policy):
    levels, partition = drawn(policy)
    representatives = [int((partition == group).nonzero()[0]) for group in partition.unique()]
    for cell in representatives:
        assert uniform(levels[:, cell])
    for k, one in enumerate(representatives):
        for other in representatives[:k]:
            assert independent(levels[:, one], levels[:, other])


def test_avdit_ties():
    sizes = {
        type(policy).__name__: [len(policy.ties(AVDIT)[0][AVDIT.valid].unique()), policy.ties(AVDIT)[0]]
        for policy in PAPERS
    }
    assert {name: count for name, (count, _) in sizes.items()} == {
        "Vanilla": 1, "PerModality": 2, "PerSegment": 5, "PerSegmentModality": 111,
    }  # fmt: skip
    video, audio = AVDIT.split(sizes["PerSegment"][1]).values()
    assert video.tolist() == [0, 1, 2, 3, 4]
    assert torch.bincount(audio).tolist() == [6, 25, 25, 25, 25]
    coarse = AVDIT.split(PerSegmentModality("segment").ties(AVDIT)[0])
    assert [len(row.unique()) for row in coarse.values()] == [5, 5]
    assert not set(coarse["video"].tolist()) & set(coarse["audio"].tolist())
    assert [torch.bincount(row - row.min()).tolist() for row in coarse.values()] == [[1] * 5, [6, 25, 25, 25, 25]]


def test_every_example_of_monl_draws_its_own_strategy():
    policy = monl()
    assert policy.components == ("vanilla", "per_segment", "per_modality", "per_segment_modality")
    which = policy.component(MANY)
    assert stats.chisquare(torch.bincount(which)).pvalue > LIKELY
    levels = policy.sample(AVDIT, MANY, num_levels=T)
    for k, partition in enumerate(policy.ties(AVDIT)):
        mine = levels[which == k][:, AVDIT.valid].long()
        groups = partition[AVDIT.valid]
        assert (mine == mine[:, [int((groups == group).nonzero()[0]) for group in groups]]).all()
        assert uniform(mine[:, 0])
        free = int((groups != groups[0]).nonzero()[0]) if (groups != groups[0]).any() else None
        assert free is None or independent(mine[:, 0], mine[:, free])
    # the strategy says nothing of the level: it is drawn by itself
    table = torch.bincount(which * T + levels[:, 0, 0].long() - 1, minlength=4 * T).reshape(4, T)
    assert stats.chi2_contingency(table).pvalue > LIKELY


def test_the_ablation_has_no_vanilla():
    assert pt_pm_ptm().components == ("per_segment", "per_modality", "per_segment_modality")


@given(weights=st.lists(st.floats(0.1, 10), min_size=1, max_size=4))
def test_mixture_weights_are_probabilities_up_to_a_factor(weights):
    policy = Mixture(tuple(PAPERS[: len(weights)]), tuple(weights))
    counts = torch.bincount(policy.component(MANY), minlength=len(weights))
    expected = torch.tensor(weights, dtype=torch.float64) / sum(weights) * len(MANY)
    assert len(weights) == 1 or stats.chisquare(counts.double(), expected).pvalue > 1e-6
    assert torch.equal(policy.component(MANY), Mixture(policy.policies, tuple(3 * w for w in weights)).component(MANY))


def test_a_mixture_within_a_mixture_draws_anew():
    policy = Mixture((Vanilla(), monl()), (1.0, 4.0))
    assert len(policy.components) == 5
    assert stats.chisquare(torch.bincount(policy.component(MANY), minlength=5)).pvalue > LIKELY


@given(layout=layouts(), keys=keys(4), data=st.data())
def test_policies_compose(layout, keys, data):
    base = st.sampled_from([*PAPERS, monl()])
    task = tasks()
    some = st.lists(st.sampled_from(layout.modalities), unique=True).map(tuple)
    policies = st.recursive(
        base | task.map(TaskPolicy),
        lambda inner: (
            st.builds(lambda *mixed: Mixture(mixed), inner, inner)
            | st.builds(Restricted, inner, some, inner)
            | st.builds(WithClean, inner, task, st.just(0.5))
        ),
        max_leaves=3,
    )
    policy = data.draw(policies)
    PolicyContract.of(lambda: policy)().check(layout=layout, keys=keys, num_levels=T)


def test_restricted_policies_are_independent_of_each_other():
    policy = Restricted(Vanilla(), ("video", "pose"), PerSegment())
    levels = policy.sample(LAYOUT, MANY, num_levels=T).long()
    assert (levels[:, 0, 0] == levels[:, 2, 0]).all(), "one level on the modalities that vanilla rules"
    assert independent(levels[:, 0, 0], levels[:, 1, 0])
    assert independent(levels[:, 1, 0], levels[:, 1, 4])
    assert policy.components == ("vanilla/per_segment",)
    both = Restricted(monl(), ("video",), Mixture((Vanilla(), PerSegmentModality())))
    assert len(both.components) == len(both.ties(LAYOUT)) == 8
    table = torch.bincount(both.component(MANY), minlength=8)
    assert stats.chisquare(table).pvalue > LIKELY


def test_clean_cells_come_with_their_probability(host):
    task = host.build("task", "v2a")
    policy = WithClean(monl(), task, 0.25)
    levels = policy.sample(LAYOUT, MANY, num_levels=T)
    clean = (levels[:, 0, :2] == 0).all(1)
    assert stats.binomtest(int(clean.sum()), len(MANY), 0.25).pvalue > LIKELY
    assert ((levels[:, 0, :2] == 0).any(1) == clean).all(), "all of a task's cells are clean, or none"
    assert (levels[:, 1] >= 1).all()
    assert torch.equal(policy.component(MANY) >= 4, clean)
    assert (WithClean(monl(), task, 0.0).sample(LAYOUT, MANY, num_levels=T)[:, LAYOUT.valid] >= 1).all()
    assert (WithClean(monl(), task, 1.0).component(MANY) >= 4).all()


def test_the_task_policy_is_the_conditional_baseline(host):
    policy = TaskPolicy(host.build("task", "a2v"))
    levels, partition = drawn(policy)
    assert partition.tolist() == [0, 0, *[ALWAYS_CLEAN] * 5, 0, 0, 0]
    assert (levels[:, 2:7] == 0).all()
    assert (levels[:, [1, 7, 8, 9]] == levels[:, :1]).all()
    assert uniform(levels[:, 0])


def test_levels_of_one_step_schedules():
    assert (monl().sample(LAYOUT, MANY[:9], num_levels=1)[:, LAYOUT.valid] == 1).all()
    assert torch.equal(canonical(Vanilla().ties(LAYOUT)[0]), Vanilla().ties(LAYOUT)[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mixture(()), "at least one policy"),
        (lambda: Mixture((Vanilla(),), (1.0, 2.0)), "a mixture of 1 policies needs as many positive weights"),
        (lambda: Mixture((Vanilla(), PerModality()), (1.0, 0.0)), "as many positive weights"),
        (lambda: PerSegmentModality("frame"), "'granularity' must be in"),
        (lambda: WithClean(Vanilla(), TaskPolicy, 1.5), "'probability' must be <= 1"),
        (lambda: PerSegment("depth").ties(LAYOUT), "no modality 'depth'"),
        (lambda: Restricted(Vanilla(), ("depth",)).ties(LAYOUT), "no modality 'depth'"),
    ],
)
def test_what_is_no_policy_is_refused(make, message):
    with pytest.raises((ValueError, KeyError), match=message):
        make()
