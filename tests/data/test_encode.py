"""Filling a store, and being stopped anywhere on the way."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from encoding import SECONDS, Numbers, content, make_folder, run

from mmseqdiff.data import encode, files, store, workers
from mmseqdiff.data.audio import AudioFormat
from mmseqdiff.data.clips import Clip
from mmseqdiff.data.encode import encode_folder
from mmseqdiff.data.store import LatentStore
from mmseqdiff.data.video import VideoFormat
from mmseqdiff.errors import StoreError, UserError
from mmseqdiff.layout import Layout, Track, uniform_edges
from mmseqdiff.modality import Modality


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "media", a={"seconds": 3}, b=None, c={"seconds": 5, "bad_from": 3}, d={"seconds": 4.5}, e={"seconds": 0.5})  # fmt: skip


def test_every_clip_is_encoded_and_every_file_left_out_has_its_reason(folder, tmp_path):
    report, latents = run(folder, tmp_path / "store")
    starts = {"a.mp4": range(3), "c.mp4": range(3), "d.mp4": range(4)}
    clips = [Clip(file, start) for file, numbers in starts.items() for start in numbers]
    assert latents.clips() == tuple(clips)
    for clip, values in content(latents):
        signal = torch.arange(4.0) + float(clip.start) + 100 * ord(clip.file[0])
        assert torch.equal(torch.tensor(values), signal.reshape(2, 2) / 2)
    assert latents.done == {"a.mp4", "d.mp4"}
    assert (report.files, report.added, report.total) == (5, 10, 10)
    assert set(report.left_out) == {"b.mp4", "c.mp4", "e.mp4"}
    assert "not media" in report.left_out["b.mp4"]
    assert "corrupt at 3 s" in report.left_out["c.mp4"]
    assert "its numbers is 0.5 s long, but a clip needs 1 s" in report.left_out["e.mp4"]
    assert "10 clips added, 10 in the store; 3 of 5 files left out" in str(report)


def test_a_second_run_adds_nothing_until_a_file_is_mended(folder, tmp_path):
    _, latents = run(folder, tmp_path / "store")
    before = content(latents)
    report, latents = run(folder, tmp_path / "store")
    assert (report.added, content(latents)) == (0, before)
    (folder / "c.mp4").write_text(json.dumps({"seconds": 5}))
    report, latents = run(folder, tmp_path / "store")
    assert report.added == 2
    assert set(report.left_out) == {"b.mp4", "e.mp4"}
    assert content(latents)[:10] == before
    assert [str(clip) for clip in latents.clips()[10:]] == ["c.mp4@3", "c.mp4@4"]


def test_another_file_of_the_same_name_is_refused(folder, tmp_path):
    run(folder, tmp_path / "store")
    (folder / "a.mp4").write_text(json.dumps({"seconds": 30}))
    with pytest.raises(StoreError, match=r"holds another a\.mp4: it had .* bytes .* encode into another folder"):
        run(folder, tmp_path / "store")


def test_while_one_process_writes_another_is_refused(tmp_path):
    with files.only_writer(tmp_path / "store", StoreError):
        code = (
            "from pathlib import Path; from mmseqdiff.data.files import only_writer; from mmseqdiff.errors import StoreError\n"
            "only_writer(Path({!r}), StoreError).__enter__()"
        )
        command = [sys.executable, "-c", code.format(str(tmp_path / "store"))]
        other = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "is being written by another process" in other.stderr
    with files.only_writer(tmp_path / "store", StoreError):
        pass


def test_a_damaged_shard_is_deleted_and_made_again(folder, tmp_path):
    _, latents = run(folder, tmp_path / "store")
    before, done = content(latents), latents.done
    shard = min((tmp_path / "store").glob("*.arrow"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(StoreError, match="is damaged: .* delete it, and encode again"):
        run(folder, tmp_path / "store")
    shard.unlink()
    report, latents = run(folder, tmp_path / "store")
    assert (report.added, latents.done) == (4, done)
    assert sorted(content(latents), key=str) == sorted(before, key=str)


class Stopped(BaseException):
    """The process is no more."""


MODULES = {module.__file__ for module in (encode, store, files, workers)}


def stopped_at(line, error, forever, act):
    """Runs ``act``, raising at the given executed line of these modules; returns how many lines were executed.

    With ``forever`` every later line raises too, so that no clean-up runs, as after a kill.
    """
    seen = 0

    def trace(frame, event, _):
        nonlocal seen
        if event == "line":
            seen += 1
            if line is not None and (seen == line or (forever and seen > line)):
                raise error
        return trace

    old = sys.gettrace()
    sys.settrace(lambda frame, event, argument: trace if frame.f_code.co_filename in MODULES else None)
    try:
        act()
    except error:
        pass
    finally:
        sys.settrace(old)
    return seen


@pytest.mark.parametrize(
    ("error", "forever"), [(Stopped, True), (KeyboardInterrupt, False)], ids=["killed", "interrupted"]
)
@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_stopped_between_any_two_lines_it_loses_and_doubles_nothing(tmp_path, monkeypatch, error, forever, step):
    monkeypatch.setattr(files.os, "fsync", lambda _: None)  # it takes time, and there is no power cut here
    folder = make_folder(
        tmp_path / "media", a={"seconds": 3}, b=None, c={"seconds": 4, "bad_from": 3}, d={"seconds": 3}
    )
    _, unbroken = run(folder, tmp_path / "unbroken")
    index = (tmp_path / "unbroken" / "index.json").read_text()
    lines = stopped_at(None, error, forever, lambda: run(folder, tmp_path / "traced"))
    assert lines > 300
    for line in range(1, lines, step):
        at = tmp_path / f"store-{line}"
        stopped_at(line, error, forever, lambda at=at: run(folder, at))
        if (at / "index.json").exists():
            partial = LatentStore.open(at)
            assert content(partial) == content(unbroken)[: len(partial)]
        _, resumed = run(folder, at)
        assert content(resumed) == content(unbroken)
        assert resumed.done == unbroken.done
        if forever:  # even the shards are the same, so the statistics are too
            assert (at / "index.json").read_text() == index
        assert len(list(at.iterdir())) == len(json.loads((at / "index.json").read_text())["shards"]) + 1


def test_a_full_disk_keeps_what_was_committed(folder, tmp_path, full_disk):
    (folder / "a.mp4").write_text(json.dumps({"seconds": 300}))
    with pytest.raises(StoreError, match="disk is full"):
        run(folder, tmp_path / "store", shard_size=200)
    latents = LatentStore.open(tmp_path / "store")
    assert len(latents) == 0
    assert {path.name for path in (tmp_path / "store").iterdir()} == {"index.json"}


class Averages(torch.nn.Module):
    """A codec for real signals: the mean over each block of time."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def track(self, modality, shape, rate):
        return Track(modality, uniform_edges(shape[0] // self.block, rate / self.block), channels=1)

    def encode(self, signal):
        return signal.unflatten(1, (-1, self.block)).flatten(2).mean(2, keepdim=True)


def test_real_files_with_a_bad_one_among_them(make, tmp_path):
    media = make.folder
    pictures, times = [make.numbered(n) for n in range(60)], [Fraction(n, 25) for n in range(60)]
    make("good.mp4", pictures, times, sound=torch.rand(1, 120000).numpy() - 0.5)
    make("silent.mp4", pictures, times)
    (media / "broken.mp4").write_bytes((media / "good.mp4").read_bytes()[:5000])
    modalities = {
        "video": Modality(Averages(1), VideoFormat(8, 16, 16)),
        "audio": Modality(Averages(160), AudioFormat(16000)),
    }
    layout = Layout([modality.track(name, SECONDS) for name, modality in modalities.items()])
    latents = LatentStore.create(tmp_path / "store", layout, {"video": "1", "audio": "2"})
    report = encode_folder(Path(media), latents, modalities, SECONDS, stride=Fraction(1, 2), progress=False)
    assert [str(clip) for clip in latents.clips()] == ["good.mp4@0", "good.mp4@1/2", "good.mp4@1"]
    assert "no audio track" in report.left_out["silent.mp4"]
    assert "truncated" in report.left_out["broken.mp4"]
    batch = latents.batch([0, 1, 2])
    assert torch.allclose(batch["video"][0, 4:], batch["video"][1, :4], atol=1e-3)
    assert torch.allclose(batch["audio"][0, 50:], batch["audio"][1, :50], atol=1e-2)


def test_a_half_encoded_film_that_is_replaced_is_refused(tmp_path, monkeypatch):
    """Else rows of two films would lie in the store under one name."""
    media = make_folder(tmp_path / "media", a={"seconds": 6})
    commit = LatentStore.commit

    def and_stop(self, *args, **options):
        commit(self, *args, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(LatentStore, "commit", and_stop)
    with pytest.raises(KeyboardInterrupt):
        run(media, tmp_path / "store", shard_size=1)
    monkeypatch.undo()
    (media / "a.mp4").write_text(json.dumps({"seconds": 60}))
    with pytest.raises(StoreError, match=r"holds another a\.mp4"):
        run(media, tmp_path / "store")


def test_a_lost_shard_does_not_make_the_store_forget_which_films_it_has(folder, tmp_path):
    _, latents = run(folder, tmp_path / "store")
    next(latents.folder.glob("*.arrow")).unlink()
    (folder / "d.mp4").write_text(json.dumps({"seconds": 40}))
    with pytest.raises(StoreError, match=r"holds another d\.mp4"):
        run(folder, tmp_path / "store")


def test_another_file_beside_is_another_film(tmp_path, monkeypatch):
    media = make_folder(tmp_path / "media", a={"seconds": 3})
    (media / "a.beside").write_text("1")
    monkeypatch.setattr(Numbers, "files", lambda self, path: (path, path.with_suffix(".beside")))
    run(media, tmp_path / "store")
    run(media, tmp_path / "store")
    (media / "a.beside").write_text("22")
    with pytest.raises(StoreError, match=r"holds another a\.mp4"):
        run(media, tmp_path / "store")


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_holds_a_clip(folder, tmp_path, size):
    with pytest.raises(UserError, match="one at a time or more"):
        run(folder, tmp_path / "store", batch_size=size)
