"""How codecs divide sound and video: every sample and frame of what they take lies in one segment, and they say what they take."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmseqdiff.geometry import SoundGeometry, VideoGeometry

positive = st.integers(1, 12)
rates = st.fractions(Fraction(1, 4), 48000)


def lengths(track, rate):
    """Of the segments, in samples or frames."""
    return [(stop - start) * rate for start, stop in track.intervals]


@given(hop=positive, rate=st.integers(1, 48000), samples=st.integers(0, 200))
def test_sound_is_whole_hops(hop, rate, samples):
    geometry = SoundGeometry(hop, rate, channels=3)
    if samples < hop:
        with pytest.raises(ValueError, match=f"{samples} samples are too short for this codec: it needs {hop}"):
            geometry.segments(samples)
        return
    track = geometry.track("audio", (samples,), Fraction(rate))
    assert lengths(track, rate) == [hop] * geometry.segments(samples)
    assert track.edges[0] == 0
    assert 0 <= samples - track.edges[-1] * rate < hop, "less than a hop is left over"
    assert (track.grid, track.channels) == ((), 3)


def test_the_papers_sound():
    assert SoundGeometry(320, 16000, 1024).segments(34000) == 106
    with pytest.raises(ValueError, match="takes 16000 samples a second, not 24000"):
        SoundGeometry(320, 16000, 1024).track("audio", (48000,), Fraction(24000))


@given(stride=positive, together=st.integers(1, 3), groups=st.integers(0, 9), pixels=st.integers(1, 4), rate=rates)
def test_the_first_frame_is_alone_and_the_others_come_in_groups(stride, together, groups, pixels, rate):
    geometry, frames = VideoGeometry(stride, pixels, 3, together), 1 + stride * together * groups
    track = geometry.track("video", (frames, 2 * pixels, 5 * pixels, 3), rate)
    assert lengths(track, rate) == [1] + [stride] * together * groups
    assert geometry.segments(frames) == track.segments
    assert (track.edges[0], track.grid, track.channels) == (0, (2, 5), 3)


@given(stride=positive, together=st.integers(1, 3), frames=st.integers(-3, 60))
def test_other_lengths_are_refused_and_the_nearest_named(stride, together, frames):
    geometry, step = VideoGeometry(stride, 8, 3, together), stride * together
    allowed = range(1, 200, step)
    if frames in allowed:
        geometry.segments(frames)
        return
    below, above = max([n for n in allowed if n < frames], default=1), min(n for n in allowed if n > max(frames, 1))
    with pytest.raises(ValueError, match=rf"takes 1 \+ {step} n of them: the nearest are {below} and {above}$"):
        geometry.segments(frames)


@pytest.mark.parametrize("size", [(12, 16), (16, 12)])
def test_pictures_of_other_sizes_are_refused(size):
    with pytest.raises(ValueError, match=f"{size[0]} x {size[1]} do not fit this codec: both must be multiples of 8"):
        VideoGeometry(4, 8, 8).track("video", (5, *size, 3), Fraction(8))
