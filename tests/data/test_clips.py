import os
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmseqdiff.data.clips import Clip, ClipSampler, media_files
from mmseqdiff.data.stream import SLACK
from mmseqdiff.errors import MediaError

lengths = st.fractions(Fraction(1, 10), 20, max_denominator=1000)


@settings(deadline=None)
@given(
    seconds=lengths,
    stride=st.none() | st.fractions(Fraction(1, 4), 5, max_denominator=100),
    duration=lengths,
)
def test_clips_lie_in_the_file_one_stride_apart(seconds, stride, duration):
    sampler = ClipSampler(seconds, seconds if stride is None else stride)
    starts = sampler.starts(duration)
    assert bool(starts) == (duration + SLACK >= seconds)
    assert all(0 <= start <= duration + SLACK - seconds for start in starts)
    assert all(b - a == sampler.stride for a, b in zip(starts, starts[1:]))
    if starts:
        assert starts[0] == 0
        assert starts[-1] + sampler.stride > duration + SLACK - seconds, "no clip is forgotten at the end"


def test_media_files_are_found_in_order_of_their_names(tmp_path):
    for name in ("b/2.mp4", "a.wav", "b/10.MKV", "notes.txt", "b/10.json", ".hidden.mp4", ".trash/c.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in media_files(tmp_path)] == ["a.wav", "b/10.MKV", "b/2.mp4"]
    with pytest.raises(MediaError, match="is not a folder"):
        media_files(tmp_path / "a.wav")
    (tmp_path / "none").mkdir()
    with pytest.raises(MediaError, match=r"no media file \(looked for .*\.mp4"):
        media_files(tmp_path / "none")


def test_linked_folders_are_entered_once_and_names_that_are_not_utf8_refused(tmp_path):
    media, elsewhere = tmp_path / "media", tmp_path / "elsewhere"
    for path in (media / "a.mp4", elsewhere / "b.mp4"):
        path.parent.mkdir()
        path.touch()
    (media / "linked").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(media)
    assert [path.relative_to(media).as_posix() for path in media_files(media)] == ["a.mp4", "linked/b.mp4"]
    Path(os.fsdecode(os.fsencode(media) + b"/caf\xe9.mp4")).touch()
    with pytest.raises(MediaError, match="'caf.udce9.mp4', whose name is not UTF-8: rename it"):
        media_files(media)


def test_a_clip_is_known_by_file_and_start():
    assert Clip("a.mp4", "17/8") == Clip("a.mp4", Fraction(17, 8))
    assert str(Clip("a.mp4", "17/8")) == "a.mp4@17/8"
