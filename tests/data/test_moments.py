import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmseqdiff.data.moments import Moments


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=6), offset=st.floats(-1e4, 1e4), seed=st.integers(0, 100)
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
    assert (merged.m2 / merged.count).numpy() == pytest.approx(whole.var(0), rel=1e-9, abs=1e-12)


def test_nothing_seen_has_no_statistics():
    with pytest.raises(ValueError, match="no numbers"):
        Moments.none(3).merge(Moments.none(3)).statistics()
