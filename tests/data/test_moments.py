import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmseqdiff.data.moments import Moments


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=6),
    offset=st.floats(-1e4, 1e4) | st.floats(-1e8, 1e8),
    seed=st.integers(0, 100),
)
def test_pieces_give_what_the_whole_gives(sizes, offset, seed):
    random = np.random.default_rng(seed)
    parts = [offset + random.normal(size=(size, 3, 2)) for size in sizes]
    merged = Moments.none(2)
    for part in parts:
        merged = merged.merge(Moments.of(torch.from_numpy(part)))
    whole = np.concatenate(parts).reshape(-1, 2)
    assert merged.count == len(whole)
    assert merged.mean.numpy() == pytest.approx(whole.mean(0), rel=1e-12, abs=1e-12)
    # A mean is rounded to offset · 2^-53, and Eq. (2) takes differences of means.
    assert (merged.m2 / merged.count).numpy() == pytest.approx(whole.var(0), rel=1e-9, abs=1e-12 + 1e-15 * abs(offset))


def test_a_large_mean_does_not_swallow_a_small_variance():
    random = np.random.default_rng(0)
    parts = [torch.from_numpy((2.0**20 + random.normal(size=(64, 1))).astype(np.float32)) for _ in range(500)]
    merged = Moments.none(1)
    for part in parts:
        merged = merged.merge(Moments.of(part))
    whole = torch.cat(parts)
    exact = whole.numpy().astype(np.float64).var()
    assert merged.statistics().std.item() ** 2 == pytest.approx(exact, rel=1e-6)
    naive = (whole.square().mean() - whole.mean().square()).item()  # in the numbers' own precision: noise
    assert abs(naive - exact) > exact / 2


def test_nothing_seen_has_no_statistics():
    with pytest.raises(ValueError, match="no numbers"):
        Moments.none(3).merge(Moments.none(3)).statistics()
