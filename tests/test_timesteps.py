"""Operations on the timestep matrix."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmseqdiff.layout import Layout, Track
from mmseqdiff.testing.strategies import keys, layouts, timesteps
from mmseqdiff.timesteps import ALWAYS_CLEAN, PADDING, buckets, canonical, check, expand, tied_levels

LAYOUT = Layout([Track("video", [0, 1, 2]), Track("audio", [0, 2])])


@given(data=st.data(), layout=layouts())
def test_every_matrix_of_levels_is_accepted(data, layout):
    t = data.draw(timesteps(layout, 9))
    check(t, layout, 9)
    check(t[0], layout, 9)


@given(num_levels=st.sampled_from([1, 8, 1000, 4000]), share=st.fractions(0, 1, max_denominator=4000))
def test_whole_levels_lie_in_the_tenth_that_they_end(num_levels, share):
    level = int(share * num_levels)
    tenth = next(k for k in range(10) if 10 * level <= (k + 1) * num_levels)
    assert buckets(torch.tensor([float(level)]), num_levels).tolist() == [tenth]


@pytest.mark.parametrize(
    ("t", "message"),
    [
        ([[1.0, 2.0]], "a 2 x 2 timestep matrix, got"),
        (
            [[1.0, -0.5], [1.0, 0.0]],
            r"cell \(video, 1\) \[1.000–2.000 s\] has level -0.5, expected a level in \[0, 4\]",
        ),
        ([[1.0, 2.0], [4.5, 0.0]], r"cell \(audio, 0\) .* has level 4.5"),
        ([[float("nan"), 2.0], [4.0, 0.0]], r"cell \(video, 0\) .* has level nan"),
        ([[1.0, 2.0], [4.0, 1.0]], r"padding cell \(audio, 1\) has level 1, expected level 0"),
    ],
)
def test_what_is_no_timestep_matrix_is_refused(t, message):
    with pytest.raises(ValueError, match=message):
        check(torch.tensor(t), LAYOUT, 4)
    with pytest.raises(ValueError, match=message):
        check(torch.stack([torch.zeros(len(t), 2), torch.tensor(t)]), LAYOUT, 4)


@given(numbers=st.lists(st.integers(-2, 9), min_size=6, max_size=6), keys=keys(3), num_levels=st.integers(1, 50))
def test_tied_levels_follow_the_partition(numbers, keys, num_levels):
    partition = torch.tensor(numbers).reshape(2, 3)
    same = canonical(partition)
    assert torch.equal(partition < 0, same < 0)
    assert torch.equal(partition[partition < 0], same[same < 0])
    assert same[same >= 0].unique().tolist() == list(range(len(partition[partition >= 0].unique())))
    assert torch.equal(partition[:, :, None, None] == partition, same[:, :, None, None] == same)
    t = tied_levels(same, keys, num_levels)
    for levels in t:
        assert (levels[partition < 0] == 0).all()
        assert ((levels[partition >= 0] >= 1) & (levels <= num_levels)[partition >= 0]).all()
        assert (levels.flatten()[:, None] == levels.flatten())[
            (partition.flatten()[:, None] == partition.flatten())
        ].all() or (partition < 0).any()
    assert (PADDING, ALWAYS_CLEAN) == (-1, -2)


def test_expanded_numbers_take_the_latents_shape_and_dtype_and_booleans_stay():
    latents = torch.zeros(2, 3, 4, 5, dtype=torch.float16)
    assert expand(torch.ones(2, 3, dtype=torch.float64), latents).shape == (2, 3, 1, 1)
    assert expand(torch.ones(2, 3, dtype=torch.float64), latents).dtype == torch.float16
    assert expand(torch.ones(1, 3, dtype=torch.bool), latents).dtype == torch.bool
