"""Keyed draws: Threefry's published answers, the distributions, and independence of batch, shape and stream."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mmseqdiff import random
from mmseqdiff.testing.strategies import keys

WORDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("key", "counter", "answer"),
    [  # Random123's kat_vectors, threefry2x32 with 20 rounds
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_published_answers(device, key, counter, answer):
    mixed = random.threefry(*(tuple(torch.tensor(word, device=device) for word in pair) for pair in (key, counter)))
    assert tuple(map(int, mixed)) == answer


@given(high=WORDS, low=WORDS)
def test_words_and_keys_are_the_same_64_bits(high, low):
    key = random._join(torch.tensor(high), torch.tensor(low))
    assert tuple(map(int, random._words(key))) == (high, low)
    assert int(key) % 2**64 == high << 32 | low


@given(keys=keys(3), word=st.one_of(st.text(max_size=3), st.integers(-(2**63), 2**63 - 1)))
def test_fold_is_elementwise_and_ordered(keys, word):
    folded = random.fold(keys, word, "then")
    assert folded.tolist() == [int(random.fold(random.fold(key, word), "then")) for key in keys]
    assert (folded != random.fold(keys, "then", word)).all()
    table = random.fold(keys[:, None], torch.arange(4))
    assert table.tolist() == [[int(random.fold(key, k)) for k in range(4)] for key in keys]


def test_keys_of_many_examples_are_all_different():
    folded = torch.stack([random.example_keys(seed, range(2000)) for seed in range(5)])
    assert len(folded.unique()) == folded.numel()


def bits_of(words):
    return ((words[:, None] >> np.arange(64)) & 1).astype(bool)


def test_one_changed_bit_of_a_key_changes_half_of_the_draw():
    keys = random.example_keys(0, range(400)).numpy()
    for bit in (0, 31, 32, 63):
        other = keys ^ np.int64(np.uint64(1) << np.uint64(bit))
        changed = bits_of(random.fold(torch.tensor(keys), 1).numpy()) ^ bits_of(
            random.fold(torch.tensor(other), 1).numpy()
        )
        assert abs(changed.mean() - 0.5) < 0.02
        assert abs(changed.mean(0) - 0.5).max() < 0.15


def test_uniform_numbers_are_uniform_and_inside_the_open_interval():
    drawn = random.uniform(random.example_keys(1, range(200)), "u", (100,)).flatten()
    assert stats.kstest(drawn, "uniform").pvalue > 1e-3
    ends = random._unit(torch.tensor([0, 2**32 - 1]))
    assert 0 < ends[0] < 1e-9
    assert 1 - 1e-9 < ends[1] < 1


def test_integers_are_uniform_on_both_ends_and_all_between():
    drawn = random.integers(random.example_keys(2, range(300)), "k", -2, 4, (70,)).flatten()
    counts = torch.bincount(drawn + 2)
    assert len(counts) == 7
    assert stats.chisquare(counts).pvalue > 1e-3
    assert (random.integers(random.example_keys(2, [0]), "k", 5, 5, (9,)) == 5).all()


def test_normal_numbers_are_normal_and_independent():
    drawn = random.normal(random.example_keys(3, range(300)), "n", (100,), torch.float64)
    assert stats.kstest(drawn.flatten(), "norm").pvalue > 1e-3
    assert stats.kstest((drawn**2).sum(1), "chi2", args=(100,)).pvalue > 1e-3  # independent within a key
    assert stats.kstest(drawn.sum(0) / 300**0.5, "norm").pvalue > 1e-3  # and between keys
    cosine_and_sine = stats.pearsonr(drawn[:, ::2].flatten() ** 2, drawn[:, 1::2].flatten() ** 2)
    assert cosine_and_sine.pvalue > 1e-3


def test_streams_under_one_key_are_independent():
    keys = random.example_keys(4, range(5000))
    one, other = random.normal(keys, "one", dtype=torch.float64), random.normal(keys, "other", dtype=torch.float64)
    assert stats.pearsonr(one, other).pvalue > 1e-3


@given(keys=keys(4), shape=st.lists(st.integers(1, 4), max_size=3), data=st.data())
def test_draws_do_not_depend_on_the_batch_its_order_or_its_shape(keys, shape, data):
    order = data.draw(st.permutations(range(4)))
    for draw in (random.uniform, random.normal, lambda keys, stream, shape: random.integers(keys, stream, 1, 9, shape)):
        drawn = draw(keys, "s", shape)
        assert drawn.shape == (4, *shape)
        assert torch.equal(draw(keys[order], "s", shape), drawn[order])
        assert torch.equal(draw(keys[1], "s", shape), drawn[1])
        assert torch.equal(draw(keys.reshape(2, 2), "s", shape), drawn.reshape(2, 2, *shape))


@given(keys=keys(1), count=st.integers(1, 9), longer=st.integers(0, 9))
def test_a_longer_draw_begins_with_the_shorter_one(keys, count, longer):
    for draw in (random.uniform, random.normal):
        assert torch.equal(draw(keys, "s", (count + longer,))[:, :count], draw(keys, "s", (count,)))


def test_dtypes():
    keys = random.example_keys(5, range(50))
    assert random.normal(keys, "n").dtype == torch.float32
    assert random.uniform(keys, "u").dtype == torch.float64
    exact = random.normal(keys, "n", (8,), torch.float64)
    assert torch.equal(random.normal(keys, "n", (8,)), exact.float()), "float32 numbers are the float64 ones, rounded"
