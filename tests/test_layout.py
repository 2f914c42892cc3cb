"""Tracks and layouts: exact geometry in seconds."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmseqdiff.layout import Layout, Track, merged, uniform_edges
from mmseqdiff.testing.strategies import layouts

VIDEO = Track("video", [0, *(Fraction(1 + 4 * k, 8) for k in range(5))], (16, 16), 8)
AUDIO = Track("audio", uniform_edges(106, 50), (), 1024)
AVDIT = Layout([VIDEO, AUDIO])


def counts(layout, start, stop):
    return tuple(int(layout.cells(name, start, stop).sum()) for name in layout.modalities)


def test_avdit_geometry():
    assert (AVDIT.M, AVDIT.N, AVDIT.modalities) == (2, 106, ("video", "audio"))
    assert AVDIT.valid.sum(1).tolist() == [5, 106]
    assert (VIDEO.shape, VIDEO.tokens, AUDIO.shape, AUDIO.tokens) == ((5, 16, 16, 8), 1280, (106, 1024), 106)
    assert AVDIT.tolerance == Fraction(1, 100)
    assert AVDIT.track("audio") is AUDIO
    assert AVDIT.describe(1, 6) == "cell (audio, 6) [0.120–0.140 s]"


def test_avdit_tasks_give_these_cells():
    # Inpainting generates 0.125–1.625 s: one video latent and 6 audio latents stay before, one and 25 after.
    assert counts(AVDIT, 0, Fraction(1, 8)) == (1, 6)
    assert counts(AVDIT, Fraction(1, 8), Fraction(13, 8)) == (3, 75)
    assert counts(AVDIT, Fraction(13, 8), Fraction(17, 8)) == (1, 25)
    # Continuation gives 0.625 s.
    assert counts(AVDIT, 0, Fraction(5, 8)) == (2, 31)
    assert counts(AVDIT, Fraction(5, 8), Fraction(17, 8)) == (3, 75)


def test_intervals_are_half_open():
    track = Track("pose", [0, Fraction(1, 10), 1])
    assert [track.segment_at(Fraction(time)) for time in ("-1", "0", "0.0999", "0.1", "0.999", "1", "7")] == [
        0,
        0,
        0,
        1,
        1,
        1,
        1,
    ]
    layout = Layout([Track("pose", [0, 1, 2]), Track("fine", [0, 1, Fraction(6, 5)])])  # the tolerance is a tenth
    tenth, little = Fraction(1, 10), Fraction(1, 1000)
    assert layout.cells("pose", tenth, 2).tolist() == [True, True], "on the left a cell may stick out by the tolerance"
    assert layout.cells("pose", tenth + little, 2).tolist() == [False, True]
    assert layout.cells("pose", 0, 2 - tenth).tolist() == [True, False], "on the right by less"
    assert layout.cells("pose", 0, 2 - tenth + little).tolist() == [True, True]
    assert layout.cells("pose", 0.5, 0.6).tolist() == [False, False]


@given(data=st.data(), layout=layouts())
def test_adjacent_ranges_never_share_a_cell(data, layout):
    times = st.fractions(0, 3, max_denominator=64)
    start, edge, stop = sorted(data.draw(st.tuples(times, times, times)))
    for name in layout.modalities:
        left, right = layout.cells(name, start, edge), layout.cells(name, edge, stop)
        assert not (left & right).any()
        assert not ((left | right) & ~layout.cells(name, start, stop)).any()
        for cell, (first, last) in zip(left.tolist(), layout.track(name).intervals):
            assert cell or not (start <= first and last <= edge), "a cell inside the range is given"
            assert not cell or (start - layout.tolerance <= first and last < edge + layout.tolerance)


@given(data=st.data(), layout=layouts())
def test_the_whole_clip_gives_every_cell(data, layout):
    ends = [edge for track in layout.tracks for edge in track.edges]
    for name in layout.modalities:
        assert layout.cells(name, min(ends), max(ends)).all()


@given(data=st.data(), layout=layouts(), batch=st.sampled_from([(), (2,), (2, 3)]))
def test_split_and_stack_are_inverse(data, layout, batch):
    matrix = torch.arange(layout.M * layout.N).reshape(layout.M, layout.N).expand(*batch, -1, -1)
    rows = layout.split(matrix)
    assert [rows[track.modality].shape for track in layout.tracks] == [
        (*batch, track.segments) for track in layout.tracks
    ]
    assert torch.equal(layout.stack(rows), torch.where(layout.valid, matrix, 0))
    assert layout.stack(layout.split(layout.valid)).dtype == torch.bool


FEW = st.integers(0, 8).map(Fraction)  # so that stretches touch


@given(spans=st.lists(st.tuples(FEW, FEW).map(sorted).map(tuple), max_size=5), time=FEW)
def test_merged_stretches_cover_the_same_moments_once(spans, time):
    joined = merged(spans)
    assert any(a <= time < b for a, b in spans) == any(a <= time < b for a, b in joined)
    assert all(left[1] < right[0] for left, right in zip(joined[:-1], joined[1:]))


def test_equal_layouts_are_equal_and_hash_alike():
    assert Layout([VIDEO, AUDIO]) == AVDIT
    assert len({Layout((VIDEO, AUDIO)), AVDIT, Layout([AUDIO, VIDEO])}) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Track("pose", [0]), "track 'pose' has no segment"),
        (lambda: Track("pose", [0, 1, 1]), r"edges must rise, but segment 1 covers \[1.0, 1.0\) s"),
        (lambda: Track("pose", [0, 1], (2, 0)), r"grid \(2, 0\) and channels 1 must be positive"),
        (lambda: Track("pose", [0, 1], (), 0), "channels 0 must be positive"),
        (lambda: Layout([]), "at least one track"),
        (lambda: Layout([VIDEO, AUDIO, VIDEO]), "two tracks are named 'video'"),
        (lambda: AVDIT.track("pose"), "no modality 'pose'; it has video, audio"),
        (lambda: AVDIT.cells("pose", 0, 1), "no modality 'pose'"),
    ],
)
def test_what_is_no_layout_is_refused(make, message):
    with pytest.raises((ValueError, KeyError), match=message):
        make()
