import attrs
import numpy as np
import pytest
import torch
from mmseqdiff_monologues.identity import HAIR_STYLES, Identity
from mmseqdiff_monologues.metrics import IdentityConsistency, MouthAlignment, measure_opening, measure_palette
from mmseqdiff_monologues.pose import PoseTrack
from mmseqdiff_monologues.render import render
from scipy.ndimage import gaussian_filter


def like_a_codec(video, seed):
    """Blurred and noisy as what a small codec gives back."""
    pixels = gaussian_filter(video.numpy(), sigma=(0, 1.2, 1.2, 0))
    noise = np.random.default_rng(seed).normal(0, 0.03, pixels.shape)
    return torch.from_numpy(np.clip(pixels + noise, 0, 1).astype(np.float32))


@pytest.fixture(scope="module")
def lossy(monologues):
    videos = [like_a_codec(clip.video, n) for n, clip in enumerate(monologues)]
    errors = torch.stack([(video - clip.video).square().mean() for video, clip in zip(videos, monologues)])
    assert 24 < (-10 * torch.log10(errors)).mean() < 27  # dB
    return videos


def opening(clip):
    return torch.tensor(clip.truth.opening)


def test_the_truth_agrees_with_the_pixels(monologues):
    for clip in monologues:
        torch.testing.assert_close(measure_opening(clip.video), opening(clip), atol=0.05, rtol=0)
        for name, colour in measure_palette(clip.video).items():
            torch.testing.assert_close(colour, torch.tensor(clip.truth.identity.palette[name]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("style", HAIR_STYLES)
def test_the_opening_is_found_wherever_the_head_is(style):
    corners = np.array([(x, y, tilt) for x in (-1, 1) for y in (-1, 1) for tilt in (-1, 0, 1)])
    for seed in range(4):
        for wanted in (0.0, 0.3, 1.0):
            pose = attrs.evolve(
                PoseTrack.still(len(corners)),
                opening=np.full(len(corners), wanted),
                width=np.linspace(0, 1, len(corners)),
                x=0.022 * corners[:, 0],
                y=0.022 * corners[:, 1],
                tilt=0.07 * corners[:, 2],
            )
            person = attrs.evolve(Identity.draw(seed), hair_style=style)
            video = torch.from_numpy(render(person, pose))
            np.testing.assert_allclose(measure_opening(video).numpy(), wanted, atol=0.09)
            for name, colour in measure_palette(video).items():
                np.testing.assert_allclose(colour.numpy(), person.palette[name], atol=1e-3)


def test_mouth_alignment_follows_the_true_opening_through_a_lossy_codec(monologues, lossy):
    metric = MouthAlignment()
    for video, clip in zip(lossy, monologues):
        true = metric({"video": video}, {"video": clip.video, "mouth_opening": opening(clip)})
        assert true["correlation"] > 0.9
        assert true["error"] < 0.2
        measured = metric({"video": video}, {"video": clip.video})
        assert measured["correlation"] == pytest.approx(true["correlation"], abs=0.05)


def test_mouth_alignment_tells_the_true_sound_from_another(monologues, lossy):
    metric = MouthAlignment()
    for n, video in enumerate(lossy):
        own = metric({"video": video}, {"mouth_opening": opening(monologues[n])})
        other = metric({"video": video}, {"mouth_opening": opening(monologues[n - 1])})
        assert own["correlation"] > other["correlation"] + 0.2
        assert own["error"] < other["error"]


def test_identity_consistency_tells_people_apart(monologues, lossy):
    metric = IdentityConsistency()
    distances = torch.tensor(
        [[metric({"video": video}, {"video": clip.video})["distance"] for clip in monologues] for video in lossy]
    )
    others = ~torch.eye(len(lossy), dtype=torch.bool)
    assert distances.diagonal().max() < distances[others].min()
    same = metric({"video": monologues[0].video[:8]}, {"video": monologues[0].video[8:]})
    assert same["distance"] < 1e-6
    assert same["shape"] < 0.02


def test_shape_tells_hair_styles_apart():
    metric, still = IdentityConsistency(), PoseTrack.still(2)
    person = Identity.draw(11)
    short, long = (
        torch.from_numpy(render(attrs.evolve(person, hair_style=style), still)) for style in ("short", "long")
    )
    measured = metric({"video": long}, {"video": short})
    assert measured["distance"] < 1e-3
    assert measured["shape"] > 0.05


def test_a_mouth_that_never_moves_is_not_aligned_with_anything():
    still = torch.from_numpy(render(Identity.draw(0), PoseTrack.still(5)))
    values = MouthAlignment()({"video": still}, {"mouth_opening": torch.linspace(0, 1, 5)})
    assert values["correlation"] == 0
    assert values["error"] == pytest.approx(0.5, abs=0.02)


def test_unequal_lengths_are_refused(monologues):
    with pytest.raises(ValueError, match="17 frames, the reference 3"):
        MouthAlignment()({"video": monologues[0].video}, {"mouth_opening": torch.zeros(3)})
