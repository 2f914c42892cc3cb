from fractions import Fraction
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from mmseqdiff_monologues.identity import HAIR_STYLES, Identity
from mmseqdiff_monologues.metrics import IdentityConsistency, MouthAlignment, measure_opening, measure_palette
from mmseqdiff_monologues.pose import PoseTrack
from mmseqdiff_monologues.render import render
from scipy.ndimage import gaussian_filter

from mmseqdiff.protocols import Comparison
from mmseqdiff.testing import MetricContract


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


@pytest.fixture(scope="module")
def folder(monologues, tmp_path_factory):
    """Files whose ground truth is read; what they show is not."""
    folder = tmp_path_factory.mktemp("monologues")
    for n, clip in enumerate(monologues):
        clip.truth.write(folder / f"{n}.json")
    return folder


@pytest.fixture(scope="module")
def beside(monologues, lossy, folder):
    """Clip n as a codec would give it back, beside the real clip ``other``, with some frames and samples given."""

    def compare(n, other, frames=0, samples=34000, generated=None):
        real = monologues[other]
        return Comparison(
            generated={"video": lossy[n] if generated is None else generated, "audio": monologues[n].audio},
            real={"video": real.video, "audio": real.audio},
            given={"video": torch.arange(17) < frames, "audio": torch.arange(34000) < samples},
            rates={"video": Fraction(8), "audio": Fraction(16000)},
            file=folder / f"{other}.mp4",
            start=Fraction(0),
        )

    return compare


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


def test_mouth_alignment_follows_the_true_opening_through_a_lossy_codec(beside):
    for n in range(24):
        true = MouthAlignment()(beside(n, n))
        assert true["correlation"] > 0.9
        assert true["error"] < 0.2


def test_mouth_alignment_tells_the_true_sound_from_another(beside):
    for n in range(24):
        own, other = MouthAlignment()(beside(n, n)), MouthAlignment()(beside(n, n - 1 if n else 23))
        assert own["correlation"] > other["correlation"] + 0.2
        assert own["error"] < other["error"]


def test_mouth_alignment_reads_the_generated_frames_alone(beside, lossy):
    spoilt = torch.cat([torch.rand(5, 64, 64, 3), lossy[0][5:]])
    assert MouthAlignment()(beside(0, 0, frames=5, generated=spoilt)) == MouthAlignment()(beside(0, 0, frames=5))
    assert MouthAlignment()(beside(0, 0, frames=4, generated=spoilt)) != MouthAlignment()(beside(0, 0, frames=4))


def test_mouth_alignment_is_silent_without_the_whole_sound_or_the_truth(beside):
    assert MouthAlignment()(beside(0, 0, samples=33999)) == {}
    assert MouthAlignment()(beside(0, 0, frames=17)) == {}
    assert MouthAlignment()(attrs.evolve(beside(0, 0), file=Path("elsewhere.mp4"))) == {}


def test_identity_consistency_tells_people_apart(beside, lossy):
    distances = torch.tensor(
        [[IdentityConsistency()(beside(n, m, frames=5))["distance"] for m in range(24)] for n in range(24)]
    )
    others = ~torch.eye(24, dtype=torch.bool)
    assert distances.diagonal().max() < distances[others].min()
    spoilt = torch.cat([torch.rand(5, 64, 64, 3), lossy[0][5:]])
    assert IdentityConsistency()(beside(0, 0, frames=5, generated=spoilt)) == IdentityConsistency()(
        beside(0, 0, frames=5)
    )
    assert IdentityConsistency()(beside(0, 0, frames=0)) == IdentityConsistency()(beside(0, 0, frames=17)) == {}
    assert IdentityConsistency()(attrs.evolve(beside(0, 0, frames=5), file=Path("elsewhere.mp4"))) == {}


def test_shape_tells_hair_styles_apart(beside):
    person, still = Identity.draw(11), PoseTrack.still(17)
    short, long = (
        torch.from_numpy(render(attrs.evolve(person, hair_style=style), still)) for style in ("short", "long")
    )
    for first, second in ((short, long), (short, short)):
        compared = attrs.evolve(beside(0, 0, frames=8, generated=first), real={"video": second})
        measured = IdentityConsistency()(compared)
        assert measured["distance"] < 1e-3
        assert (measured["shape"] > 0.05) == (second is long)


def test_a_mouth_that_never_moves_is_not_aligned_with_anything(beside, monologues):
    still = torch.from_numpy(render(Identity.draw(0), PoseTrack.still(17)))
    values = MouthAlignment()(beside(0, 0, generated=still))
    assert values["correlation"] == 0
    assert values["error"] == pytest.approx(opening(monologues[0]).mean().item(), abs=0.02)


class TestMouthAlignment(MetricContract):
    """It reads the truth beside the real file, and needs all of the sound."""

    @pytest.fixture(autouse=True)
    def clips(self, beside):
        self.beside = beside

    def build(self):
        return MouthAlignment()

    def comparison(self, data):
        n, other = (data.draw(st.integers(0, 1)) for _ in range(2))
        return self.beside(n, other, frames=data.draw(st.integers(0, 16)))


class TestIdentityConsistency(TestMouthAlignment):
    """It compares with the given frames."""

    def build(self):
        return IdentityConsistency()
