"""A segment lies in the time interval that holds its midpoint; those outside the reference track join its nearest end."""

from fractions import Fraction

import torch
from hypothesis import given
from hypothesis import strategies as st

from mmseqdiff.layout import Layout, Track, uniform_edges
from mmseqdiff.testing.strategies import layouts

VIDEO = Track("video", [0, *(Fraction(1 + 4 * k, 8) for k in range(5))], (16, 16), 8)
AUDIO = Track("audio", uniform_edges(106, 50), (), 1024)


@given(data=st.data(), layout=layouts())
def test_law_3_a_segment_lies_in_the_interval_that_holds_its_midpoint(data, layout):
    reference = data.draw(st.none() | st.sampled_from(layout.modalities))
    table = layout.correspondence(reference)
    intervals = (
        layout.track(reference) if reference else min(layout.tracks, key=lambda track: track.segments)
    ).intervals
    for m, track in enumerate(layout.tracks):
        for n, (left, right) in enumerate(track.intervals):
            middle = (left + right) / 2
            holding = [k for k, (start, stop) in enumerate(intervals) if start <= middle < stop]
            nearest = 0 if middle < intervals[0][0] else len(intervals) - 1
            assert [int(table[m, n])] == (holding or [nearest])
        assert (table[m, track.segments :] == -1).all()
    row = layout.row(reference) if reference else [track.segments for track in layout.tracks].index(len(intervals))
    assert table[row, : len(intervals)].tolist() == list(range(len(intervals)))


@given(order=st.permutations([VIDEO, AUDIO]))
def test_law_3_avdit_ties_its_audio_into_blocks_of_6_25_25_25_25(order):
    layout = Layout(order)
    blocks = layout.split(layout.correspondence())["audio"]
    assert torch.bincount(blocks).tolist() == [6, 25, 25, 25, 25]
    assert (blocks.diff() >= 0).all()
