import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseqdiff_monologues.identity import HAIR_STYLES, LIPS, MOUTH_INTERIOR, Identity
from mmseqdiff_monologues.pose import PoseTrack
from mmseqdiff_monologues.render import MOUTH_HEIGHT, render


def moving(frames):
    n = np.arange(frames)
    return PoseTrack(
        opening=0.5 + 0.5 * np.sin(n),
        width=0.5 + 0.5 * np.cos(2 * n),
        x=0.022 * np.sin(3 * n),
        y=0.022 * np.cos(n),
        tilt=0.07 * np.cos(2 * n),
        blink=(n % 5 == 0) * 1.0,
        brow=(n % 3 == 0) * 1.0,
    )


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**40), st.integers(1, 80), st.sampled_from([(64, 64), (48, 80), (33, 31)]))
def test_every_frame_depends_on_its_pose_alone(seed, frames, size):
    identity, pose = Identity.draw(seed), moving(frames)
    video = render(identity, pose, size)
    assert video.shape == (frames, *size, 3)
    assert video.dtype == np.float32
    assert video.min() >= 0
    assert video.max() <= 1
    half = frames // 2
    np.testing.assert_array_equal(render(Identity.draw(seed), pose[half:], size), video[half:])


@pytest.mark.parametrize("style", HAIR_STYLES)
def test_edges_are_smooth_and_every_size_shows_the_same_picture(style):
    """An anti-aliased picture is the finer picture averaged over each pixel."""
    identity, pose = attrs.evolve(Identity.draw(3), hair_style=style), moving(6)
    coarse, fine = render(identity, pose, (64, 64)), render(identity, pose, (512, 512))
    averaged = fine.reshape(6, 64, 8, 64, 8, 3).mean(axis=(2, 4))
    assert np.abs(coarse - averaged).mean() < 2e-3
    assert np.quantile(np.abs(coarse - averaged), 0.999) < 0.15


@pytest.mark.parametrize("size", [64, 256])
def test_the_mouth_has_the_area_of_its_opening(size):
    """Dark pixels, counted by how far they are from the lips, make up an ellipse of the asked height and width."""
    identity = Identity.draw(5)
    opening = np.array([0.05, 0.2, 0.5, 1.0])
    pose = attrs.evolve(PoseTrack.still(4), opening=opening, width=np.full(4, 0.4))
    skin, inside = np.array(identity.skin), np.array(MOUTH_INTERIOR)
    rows, columns = slice(int(0.56 * size), int(0.75 * size)), slice(int(0.37 * size), int(0.63 * size))
    part = (
        (render(identity, pose, (size, size))[:, rows, columns] - skin) @ (inside - skin) / ((inside - skin) ** 2).sum()
    )
    area = np.clip((part - LIPS) / (1 - LIPS), 0, 1).sum(axis=(1, 2)) / size**2
    np.testing.assert_allclose(area, np.pi / 4 * opening * MOUTH_HEIGHT * 2 * (0.055 + 0.05 * 0.4), rtol=0.05)


def test_identities_differ_and_repeat():
    people = [Identity.draw(seed) for seed in range(150)]
    assert people[17] == Identity.draw(17)
    colours = np.array([np.concatenate(list(person.palette.values())) for person in people])
    distance = np.linalg.norm((colours[:, None] - colours[None]).reshape(150, 150, 4, 3), axis=-1).mean(axis=-1)
    assert np.quantile(distance[np.triu_indices(150, 1)], 0.01) > 0.15
    assert {person.hair_style for person in people} == set(HAIR_STYLES)


def test_lips_and_the_inside_of_the_mouth_are_darker_than_every_skin():
    for seed in range(60):
        person = Identity.draw(seed)
        assert np.linalg.norm(np.array(person.skin) - MOUTH_INTERIOR) > 0.35
        assert sum(person.skin) > sum(person.lips) > sum(MOUTH_INTERIOR)


def test_a_pose_track_of_unequal_lengths_is_refused():
    with pytest.raises(ValueError, match="blink"):
        attrs.evolve(PoseTrack.still(4), blink=np.zeros(5))
