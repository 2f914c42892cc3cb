"""Tasks: which cells they give, which stretches of signal they read, and how they are written."""

from fractions import Fraction as F

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmseqdiff_noise.tasks import (
    CrossModal,
    Outside,
    Ranges,
    a2v,
    continuation,
    inpainting,
    interpolation,
    joint,
    parse_ranges,
    v2a,
)

from mmseqdiff.layout import Layout, Track, uniform_edges
from mmseqdiff.testing.contracts import TaskContract
from mmseqdiff.testing.strategies import layouts

AVDIT = Layout(
    [Track("video", [0, *(F(1 + 4 * k, 8) for k in range(5))], (16, 16), 8), Track("audio", uniform_edges(106, 50))]
)
END = F(17, 8)
TIMES = st.fractions(0, 3, max_denominator=32)


def holds(task, layout):
    """All laws of tasks, for this layout."""
    TaskContract.of(lambda: task)().check(layout=layout)


def given_counts(task):
    return tuple(int(row.sum()) for row in AVDIT.split(task.given(AVDIT)).values())


@pytest.mark.parametrize(
    ("task", "counts", "known"),
    [
        (joint(), (0, 0), {"video": (), "audio": ()}),
        (a2v(), (0, 106), {"video": (), "audio": ((0, END),)}),
        (v2a(), (5, 0), {"video": ((0, END),), "audio": ()}),
        (CrossModal(("audio", "video")), (5, 106), dict.fromkeys(["video", "audio"], ((0, END),))),
        (continuation(), (2, 31), dict.fromkeys(["video", "audio"], ((0, F(5, 8)),))),
        (continuation(F(5), F(8)), (2, 31), dict.fromkeys(["video", "audio"], ((0, F(5, 8)),))),
        (inpainting(), (2, 31), dict.fromkeys(["video", "audio"], ((0, F(1, 8)), (F(13, 8), END)))),
        (inpainting(F(1), F(13), F(8)), (2, 31), dict.fromkeys(["video", "audio"], ((0, F(1, 8)), (F(13, 8), END)))),
        (inpainting(F(0), F(13, 8)), (1, 25), dict.fromkeys(["video", "audio"], ((F(13, 8), END),))),
        (interpolation(), (2, 31), dict.fromkeys(["video", "audio"], ((0, F(1, 8)), (F(13, 8), END)))),
        (interpolation(F(1), F(4), F(8)), (2, 31), dict.fromkeys(["video", "audio"], ((0, F(1, 8)), (F(13, 8), END)))),
        (Ranges({"video": [(0, F(5, 8))]}), (2, 0), {"video": ((0, F(5, 8)),), "audio": ()}),
        (parse_ranges("video:0-0.625 audio:0-2.125"), (2, 106), {"video": ((0, F(5, 8)),), "audio": ((0, END),)}),
        (parse_ranges(""), (0, 0), {"video": (), "audio": ()}),
    ],
)  # fmt: skip
def test_the_papers_tasks_give_these_cells_and_read_these_stretches(task, counts, known):
    assert given_counts(task) == counts
    assert task.known(AVDIT) == known
    holds(task, AVDIT)


@given(data=st.data(), layout=layouts(min_modalities=2))
def test_law_12_given_cells_lie_in_what_may_be_read(data, layout):
    spans = st.tuples(TIMES, TIMES).filter(lambda pair: pair[0] != pair[1]).map(lambda pair: tuple(sorted(pair)))
    task = Ranges(data.draw(st.dictionaries(st.sampled_from(layout.modalities), st.lists(spans, max_size=3))))
    holds(task, layout)


@given(moments=st.sets(st.integers(0, 17 * 125), min_size=2, max_size=2))
def test_what_is_generated_and_what_is_given_make_up_the_clip(moments):
    start, stop = sorted(F(moment, 1000) for moment in moments)
    end = max(track.edges[-1] for track in AVDIT.tracks)
    inside = Ranges({name: [(start, stop)] for name in AVDIT.modalities}).given(AVDIT)
    assert not (inside & inpainting(start, stop).given(AVDIT)).any(), "no cell is on both sides of an edge"
    holds(inpainting(start, stop), AVDIT)
    if start > 0:
        holds(interpolation(start, end - stop), AVDIT)
        assert torch.equal(interpolation(start, end - stop).given(AVDIT), inpainting(start, stop).given(AVDIT))
        before = Ranges({name: [(0, start)] for name in AVDIT.modalities}).given(AVDIT)
        assert torch.equal(continuation(start).given(AVDIT), before)


@given(
    st.dictionaries(
        st.sampled_from(["video", "audio"]), st.lists(st.tuples(TIMES, TIMES).filter(lambda p: p[0] < p[1]), min_size=1)
    ),
    st.booleans(),
)
def test_ranges_read_as_they_are_written(ranges, decimal):
    text = " ".join(f"{name}:{a}-{b}" for name, spans in ranges.items() for a, b in spans)
    assert parse_ranges(text).ranges == Ranges(ranges).ranges
    assert hash(parse_ranges(text)) == hash(Ranges(ranges))


@pytest.mark.parametrize(
    "part",
    ["video", "video:", "video:1", "video:1-", "video:-1", ":0-1", "video:a-b", "video:0-1/0", "0-1", "video=0-1"],
)
def test_text_that_is_no_range_is_refused_by_the_part(part):
    with pytest.raises(
        ValueError, match=f"'{part}' is not a given range: write modality:start-stop in seconds, as video:0-0.625"
    ):
        parse_ranges(f"audio:0-1 {part}")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ranges({"video": [(1, 1)]}), "given range video:1-1 should start at 0 or later and not be empty"),
        (lambda: Ranges({"video": [(2, 1)]}), "given range video:2-1 should"),
        (lambda: Ranges({"video": [(-1, 1)]}), "given range video:-1-1 should"),
        (lambda: Ranges({"pose": [(0, 1)]}).given(AVDIT), "a given range names 'pose'; the model has video, audio"),
        (lambda: CrossModal(("pose",)).given(AVDIT), "no modality 'pose'; it has video, audio"),
        (
            lambda: continuation(F(3)).given(AVDIT),
            "the part to generate, 3–2.125 s, must be a stretch of the clip's 0–2.125 s",
        ),
        (lambda: inpainting(F(1), F(1)).given(AVDIT), "must be a stretch of the clip"),
        (lambda: inpainting(F(1), F(3)).given(AVDIT), "must be a stretch of the clip"),
        (lambda: interpolation(F(1), F(2)).given(AVDIT), "must be a stretch of the clip"),
    ],
)
def test_what_is_no_task_is_refused(make, message):
    with pytest.raises((ValueError, KeyError), match=message):
        make()


def test_seconds_are_as_they_are_written():
    """0.3 is three tenths: in binary it is a little less, and the third frame of ten a second would not be known."""
    layout = Layout([Track("video", uniform_edges(20, 10)), Track("audio", uniform_edges(100, 50))])
    assert Outside(0.3).known(layout)["video"] == ((F(0), F(3, 10)),)
    assert Outside(0.1, 0.7).known(layout)["audio"] == ((F(0), F(1, 10)), (F(7, 10), F(2)))
    assert Ranges({"video": [(0.1, 0.3)]}).known(layout)["video"] == ((F(1, 10), F(3, 10)),)
