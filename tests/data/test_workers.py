"""Whoever encodes, the store is the same; and who dies on the way takes nothing with them."""

import multiprocessing
import os
import pickle
import random
import signal
import time
from pathlib import Path

import pytest
import tiny
import torch
from encoding import Deadly, Together, content, files_of, make_folder, run, run_alone, squared
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized

from mmseqdiff.assembly import build_modalities
from mmseqdiff.data.encode import _plain
from mmseqdiff.data.store import LatentStore
from mmseqdiff.data.workers import Here, Processes, Ray
from mmseqdiff.errors import RunError, UserError
from mmseqdiff.train.codec_folder import save_codec
from mmseqdiff.train.latents import encode_to_store

TESTS = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "media", a={"seconds": 3}, b=None, c={"seconds": 9, "bad_from": 3}, d={"seconds": 4})


def test_processes_make_the_same_files(folder, tmp_path):
    stores = {}
    for name, crew in (("here", Here()), ("there", Processes(2))):
        report, _ = run(folder, tmp_path / name, Together(), batch_size=3, crew=crew)
        stores[name] = files_of(tmp_path / name)
    assert (report.added, set(report.left_out)) == (10, {"b.mp4", "c.mp4"})
    assert "corrupt at 3 s" in report.left_out["c.mp4"]
    assert stores["there"] == stores["here"]


def test_normalised_weights_are_sent_as_plain_ones_and_the_codec_stays_as_it_is():
    """Torch does not pickle what computes its weights, and its own way to undo that changes the class of the original."""
    codec, x = (
        nn.Sequential(weight_norm(nn.Linear(4, 3))),
        torch.randn(5, 4, generator=torch.Generator().manual_seed(0)),
    )
    expected = codec(x)
    for _ in range(2):
        assert torch.equal(pickle.loads(pickle.dumps(_plain(codec)))(x), expected)
        assert torch.equal(codec(x), expected)
    assert is_parametrized(codec[0])
    plain = nn.Linear(4, 3)
    assert _plain(plain) is plain


def test_answers_come_in_order_and_jobs_are_taken_as_there_is_room():
    taken = []

    def jobs():
        for n in range(20):
            taken.append(n)
            yield n

    for crew, ahead in ((Here(), 1), (Processes(1), 2)):
        taken.clear()
        with crew.at(squared) as map_:
            for n, answer in enumerate(map_(jobs())):
                assert answer == n * n
                assert len(taken) <= n + ahead
    with pytest.raises(UserError, match="cannot be sent to another process"), Processes(1).at(lambda job: job):
        pass
    for wrong in (Processes, Ray):
        with pytest.raises(ValueError, match=">= 1"):
            wrong(0)


def test_a_worker_that_dies_takes_nothing_along(folder, tmp_path):
    with pytest.raises(RunError, match="a worker died"):
        run(folder, tmp_path / "store", Deadly(), crew=Processes(1), batch_size=1, shard_size=100)
    kept = LatentStore.open(tmp_path / "store")
    assert 3 <= len(kept) <= 6  # what was under way when it died may or may not have arrived
    run(folder, tmp_path / "store", batch_size=1, shard_size=100)
    run(folder, tmp_path / "unbroken", batch_size=1)
    assert content(LatentStore.open(tmp_path / "store")) == content(LatentStore.open(tmp_path / "unbroken"))


def test_real_codecs_give_the_same_bytes_in_any_process(host, tmp_path):
    clips, recipe = tiny.tiny_clips(host, tmp_path / "clips", count=2), tiny.tiny_recipe(host)
    torch.manual_seed(0)
    codecs = {name: tmp_path / "codecs" / name for name in recipe.modalities}
    for name, modality in build_modalities(recipe, host).items():
        save_codec(modality.codec, codecs[name], {"modality": name})
    for name, crew in (("here", None), ("there", Processes(1))):
        encode_to_store(recipe, host, clips, codecs, tmp_path / name, batch_size=1, crew=crew)
    shards = [{path.name for path in (tmp_path / name).glob("*.arrow")} for name in ("here", "there")]
    assert shards[0] == shards[1] != set()  # a shard's name holds its hash
    assert (tmp_path / "here/index.json").read_bytes() == (tmp_path / "there/index.json").read_bytes()


@pytest.fixture
def start(monkeypatch):
    """Starts a run in a process of its own, quickly: its modules are loaded once."""
    monkeypatch.setenv("PYTHONPATH", f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["encoding"])

    def begin(folder, at, pause, crew):
        process = context.Process(target=run_alone, args=(folder, at, pause, crew))
        process.start()
        return process

    return begin


@pytest.mark.parametrize(
    ("clips", "kills", "crew", "longest"),  # the last as a part of what the whole takes
    [
        (40, 3, Here(), 2 / 3),
        pytest.param(500, 20, Here(), 2 / 20, marks=pytest.mark.slow),
        pytest.param(100, 3, Processes(2), 1, marks=pytest.mark.slow),
    ],
)
def test_killed_at_random_moments_no_clip_is_lost_or_doubled(tmp_path, start, clips, kills, crew, longest):
    half = clips // 2
    folder = make_folder(
        tmp_path / "media", a={"seconds": half // 2}, b=None, c={"seconds": half - half // 2 + 5, "bad_from": half - half // 2}, d={"seconds": half}
    )  # fmt: skip
    unbroken, broken, moments = tmp_path / "unbroken", tmp_path / "broken", random.Random(clips)
    start(folder, tmp_path / "first", 0.0, Here()).join()  # so that the modules are loaded
    begun = time.monotonic()
    process = start(folder, unbroken, 0.02, crew)
    process.join()
    whole = time.monotonic() - begun
    assert process.exitcode == 0

    cut_short = 0
    while cut_short < kills:
        process = start(folder, broken, 0.02, crew)
        process.join(moments.uniform(0, longest * whole))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            cut_short += 1
        process.join()
        if (broken / "index.json").exists():
            partial, all_of_it = LatentStore.open(broken), LatentStore.open(unbroken)
            assert content(partial) == content(all_of_it)[: len(partial)]
            if len(partial) == clips:
                (broken / "index.json").unlink()  # done before the last kill: from the start
    process = start(folder, broken, 0.0, crew)
    process.join()
    assert process.exitcode == 0
    assert len(LatentStore.open(broken)) == len(set(LatentStore.open(broken).clips())) == clips
    assert files_of(broken) == files_of(unbroken)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks /proc for a process's children")
def test_workers_end_with_a_killed_parent(tmp_path, start):
    folder = make_folder(tmp_path / "media", a={"seconds": 500})
    process = start(folder, tmp_path / "store", 0.5, Processes(1))
    while not (tmp_path / "store/index.json").exists() or not len(LatentStore.open(tmp_path / "store")):
        time.sleep(0.1)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    ended = time.monotonic() + 120
    while any(running(child) for child in children):
        assert time.monotonic() < ended
        time.sleep(0.1)


def running(process):
    """Whether a process is there and not merely remembered."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
