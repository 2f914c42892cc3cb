import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mmseqdiff.train.ema import Average


@given(st.floats(0, 1), st.lists(st.floats(-10, 10), min_size=1, max_size=30))
def test_average_equals_the_closed_form(decay, path):
    """a_n is a sum of all weights so far, each times what the later decays left of it."""
    module = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(module.weight, 0.5)
    average = Average(module, decay)
    for n, value in enumerate(path):
        nn.init.constant_(module.weight, value)
        average.update(module, n)
    decays = np.array([min(decay, (1 + n) / (10 + n)) for n in range(len(path))])
    weights = np.append(1, 1 - decays) * np.array([np.prod(decays[n:]) for n in range(len(path) + 1)])
    assert sum(weights) == pytest.approx(1)
    assert average.module.weight.item() == pytest.approx(float(weights @ np.array([0.5, *path])), abs=1e-9)


def test_buffers_are_copied_and_the_average_is_for_evaluation_only():
    module = nn.BatchNorm1d(2)
    average = Average(module, 0.9)
    module(torch.randn(8, 2))
    average.update(module, 0)
    assert torch.equal(average.module.running_mean, module.running_mean)
    assert average.module.num_batches_tracked == 1
    assert not average.module.training
    assert not any(parameter.requires_grad for parameter in average.module.parameters())
