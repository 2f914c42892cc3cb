import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmseqdiff.data.order import batch_indices, permutation
from mmseqdiff.train.parallel import World

seeds = st.integers(-(2**63), 2**63 - 1)


@settings(deadline=None, max_examples=30)
@given(seed=seeds, length=st.integers(1, 50), batch_size=st.integers(1, 24), steps=st.integers(1, 30))
def test_every_epoch_reads_every_example_once(seed, length, batch_size, steps):
    batches = [batch_indices(seed, step, batch_size=batch_size, length=length) for step in range(steps)]
    assert all(len(batch) == batch_size for batch in batches)
    stream = torch.cat(batches).tolist()
    for epoch in range(0, len(stream), length):
        part = stream[epoch : epoch + length]
        assert len(set(part)) == len(part)
        assert set(part) <= set(range(length))


@given(share=st.integers(1, 6), size=st.integers(1, 6))
def test_processes_share_a_batch_in_order_and_leave_nothing_out(share, size):
    parts = [list(World(rank, size).share(share * size)) for rank in range(size)]
    assert [position for part in parts for position in part] == list(range(share * size))
    assert all(len(part) == share for part in parts)


def test_epochs_and_seeds_differ_and_the_order_is_even():
    orders = {tuple(permutation(seed, epoch, 30).tolist()) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25
    firsts = torch.tensor([permutation(0, epoch, 4)[0].item() for epoch in range(400)])
    assert (firsts.bincount(minlength=4) - 100).abs().max() < 45  # five standard deviations


def test_what_cannot_be_read_is_refused():
    with pytest.raises(ValueError, match="nothing to read"):
        batch_indices(0, 0, batch_size=4, length=0)
    with pytest.raises(ValueError, match="an example at least"):
        batch_indices(0, 0, batch_size=0, length=10)
    with pytest.raises(ValueError, match="batch of 4 cannot be shared evenly among 3"):
        World(0, 3).share(4)
