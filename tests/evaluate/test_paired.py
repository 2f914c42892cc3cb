"""The paired test against an enumeration of every assignment of signs."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmseqdiff.evaluate.paired import PairedTest

DIFFERENCES = st.lists(st.integers(-50, 50).filter(bool), min_size=1, max_size=8, unique_by=abs)


def enumerated(gains):
    """P(W >= w) over all equally likely signs of the ranked differences."""
    ranks = np.argsort(np.argsort(np.abs(gains))) + 1
    observed = ranks[np.asarray(gains) > 0].sum()
    sums = [ranks[np.array(signs)].sum() for signs in itertools.product([False, True], repeat=len(gains))]
    return np.mean(np.array(sums) >= observed)


@given(gains=DIFFERENCES, offset=st.floats(-3, 3))
def test_the_p_value_counts_signs_at_least_as_extreme(gains, offset):
    higher = PairedTest([offset + gain for gain in gains], [offset] * len(gains), "higher")
    lower = PairedTest([offset - gain for gain in gains], [offset] * len(gains), "lower")
    for test in (higher, lower):
        assert test.p_value == pytest.approx(enumerated(gains))
        assert test.share == np.mean(np.array(gains) > 0)
    assert higher.difference == pytest.approx(np.mean(gains))


def test_equal_values_are_no_evidence():
    assert PairedTest([1.0, 2.0], [1.0, 2.0], "lower").p_value == 1
    assert PairedTest([1.0, 2.0], [1.0, 2.0], "lower").share == 0


@pytest.mark.parametrize(
    ("own", "other", "better", "message"),
    [
        ([], [], "lower", "got 0 and 0"),
        ([1.0], [1.0, 2.0], "lower", "got 1 and 2"),
        ([float("nan")], [1.0], "lower", "finite"),
        ([1.0], [1.0], "smaller", "better"),
    ],
)
def test_what_cannot_be_paired_is_refused(own, other, better, message):
    with pytest.raises(ValueError, match=message):
        PairedTest(own, other, better)
