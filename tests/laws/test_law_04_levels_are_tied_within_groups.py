"""Within a tied group the levels are equal; across groups they are independent, and each cell's is uniform on 1 … T.

What a policy draws is held against what it says of itself for every policy; the distributions, in
``tests/plugins/noise``.
"""

from hypothesis import given
from hypothesis import strategies as st

from mmseqdiff.testing import laws
from mmseqdiff.testing.strategies import keys, layouts


@given(layout=layouts(min_modalities=2), keys=keys(4), num_levels=st.integers(1, 1000))
def test_law_4_levels_are_equal_within_a_group(policy, layout, keys, num_levels):
    laws.check_policy(policy, layout, keys, num_levels)
