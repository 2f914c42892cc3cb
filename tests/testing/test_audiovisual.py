"""The audiovisual world: closed forms against numerical integration, and what one track says of the other."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmseqdiff.layout import Layout, Track, uniform_edges
from mmseqdiff.testing.audiovisual import AUDIOVISUAL_LAYOUT, audiovisual_world, average_covariance
from mmseqdiff.testing.strategies import layouts


@given(a=st.floats(0, 2), length=st.floats(0.05, 1), c=st.floats(0, 2), other=st.floats(0.05, 1), tau=st.floats(0.1, 2))
def test_the_average_covariance_is_the_kernels_double_integral(a, length, c, other, tau):
    s, t = (
        start + (torch.arange(800, dtype=torch.float64) + 0.5) / 800 * span for start, span in ((a, length), (c, other))
    )
    numeric = torch.exp(-(s[:, None] - t).abs() / tau).mean()
    spans = [torch.tensor([[start, start + span]], dtype=torch.float64) for start, span in ((a, length), (c, other))]
    torch.testing.assert_close(average_covariance(*spans, tau)[0, 0], numeric, rtol=1e-4, atol=1e-6)


@given(layout=layouts(), identity=st.floats(0, 0.5), speech=st.floats(0, 0.45), seed=st.integers(0, 9))
def test_every_channel_has_unit_variance_and_the_world_can_be_drawn_from(layout, identity, speech, seed):
    world = audiovisual_world(layout, identity=identity, speech=speech, seed=seed)
    torch.testing.assert_close(world.covariance.diagonal(), torch.ones(world.dimension, dtype=torch.float64))
    torch.testing.assert_close(world.covariance, world.covariance.T)
    assert torch.linalg.eigvalsh(world.covariance).min() > 0.9 * (1 - identity - speech)


def test_tracks_of_any_rate_see_the_same_process():
    """Half as many segments hear the averages of pairs: identity and speech agree exactly, in both directions' scale."""
    coarse, fine = uniform_edges(4, 2), uniform_edges(8, 4)
    layout = Layout([Track("a", coarse), Track("b", fine)])
    world = audiovisual_world(layout, identity=0, speech=0.5, states=1, identities=1)
    shared = world.covariance - 0.5 * torch.eye(12, dtype=torch.float64)
    between, inner = shared[:4, 4:], shared[4:, 4:]
    pairs = torch.block_diag(*[torch.ones(1, 2, dtype=torch.float64) / 2] * 4)
    implied = pairs @ inner
    implied = implied / (pairs @ inner @ pairs.T).diagonal().sqrt()[:, None] * shared[0, 0].sqrt()
    torch.testing.assert_close(between.abs(), implied.abs())


def test_the_default_is_avdits_clip_in_small():
    world = audiovisual_world()
    assert [track.segments for track in world.layout.tracks] == [5, 12]
    assert world.dimension == 64
    assert torch.bincount(AUDIOVISUAL_LAYOUT.correspondence()[1]).tolist() == [1, 3, 2, 3, 3]
    given = torch.zeros(2, 12, dtype=torch.bool)
    given[1] = True
    alone = world.covariance[:40, :40].logdet()
    assert world.conditional(given).covariance.logdet() < alone - 1, "what is heard says something of what is seen"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"identity": 0.5, "speech": 0.5}, "sum to less than 1"),
        ({"identity": -0.1}, "at least 0"),
        ({"states": 0}, "must be positive"),
        ({"correlation_time": 0.0}, "must be positive"),
    ],
)
def test_what_is_no_world_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        audiovisual_world(**change)
