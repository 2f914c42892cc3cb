import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmseqdiff.data.order import batch_indices, permutation

seeds = st.integers(-(2**63), 2**63 - 1)


@settings(deadline=None, max_examples=30)
@given(
    seed=seeds,
    length=st.integers(1, 50),
    share=st.integers(1, 6),
    world_size=st.integers(1, 4),
    steps=st.integers(1, 30),
)
def test_every_epoch_reads_every_example_once_whatever_the_number_of_processes(seed, length, share, world_size, steps):
    batch_size = share * world_size
    alone = [batch_indices(seed, step, batch_size=batch_size, length=length) for step in range(steps)]
    shared = [
        torch.cat(
            [
                batch_indices(seed, step, batch_size=batch_size, length=length, rank=rank, world_size=world_size)
                for rank in range(world_size)
            ]
        )
        for step in range(steps)
    ]
    assert all(torch.equal(a, b) for a, b in zip(alone, shared))
    stream = torch.cat(alone).tolist()
    assert all(len(batch) == batch_size for batch in alone)
    for epoch in range(0, len(stream), length):
        part = stream[epoch : epoch + length]
        assert len(set(part)) == len(part)
        assert set(part) <= set(range(length))


def test_resuming_with_another_number_of_processes_goes_on_where_it_stopped():
    unbroken = [batch_indices(7, step, batch_size=6, length=20) for step in range(10)]
    resumed = [
        torch.cat([batch_indices(7, step, batch_size=6, length=20, rank=r, world_size=w) for r in range(w)])
        for step, w in enumerate([1, 1, 1, 1, 3, 3, 2, 2, 6, 6])
    ]
    assert torch.equal(torch.cat(unbroken), torch.cat(resumed))


def test_epochs_and_seeds_differ_and_the_order_is_even():
    orders = {tuple(permutation(seed, epoch, 30).tolist()) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25
    firsts = torch.tensor([permutation(0, epoch, 4)[0].item() for epoch in range(400)])
    assert (firsts.bincount(minlength=4) - 100).abs().max() < 45  # five standard deviations


def test_what_cannot_be_read_is_refused():
    with pytest.raises(ValueError, match="nothing to read"):
        batch_indices(0, 0, batch_size=4, length=0)
    with pytest.raises(ValueError, match="batch of 4 cannot be shared evenly among 3"):
        batch_indices(0, 0, batch_size=4, length=10, world_size=3)
