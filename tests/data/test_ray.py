"""Ray's workers fill the same store. One small cluster on this machine, without a dashboard, for all tests."""

import os
import sys
from pathlib import Path

import pytest
import tiny
import torch
from encoding import Deadly, Together, content, files_of, make_folder, run, squared

from mmseqdiff import cli
from mmseqdiff.assembly import build_modalities
from mmseqdiff.data.store import LatentStore
from mmseqdiff.data.workers import Here, Ray
from mmseqdiff.errors import RunError, UserError
from mmseqdiff.train.codec_folder import save_codec

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with pytest.MonkeyPatch.context() as patch:  # its workers import what these tests import
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("RAY_raylet_start_wait_time_s", "120")  # on a machine that has much else to do
        ray.init("local", num_cpus=2, object_store_memory=80_000_000, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "media", a={"seconds": 3}, b=None, c={"seconds": 9, "bad_from": 3}, d={"seconds": 4})


def test_ray_makes_the_same_files(folder, tmp_path):
    for name, crew in (("here", Here()), ("there", Ray())):  # Ray(): as many workers as there are processors
        report, _ = run(folder, tmp_path / name, Together(), batch_size=3, crew=crew)
    assert (report.added, set(report.left_out)) == (10, {"b.mp4", "c.mp4"})
    assert files_of(tmp_path / "there") == files_of(tmp_path / "here")
    assert ray.is_initialized()  # a cluster that was there before stays


def test_an_actor_that_dies_takes_nothing_along(folder, tmp_path):
    with pytest.raises(RunError, match="a worker died"):
        run(folder, tmp_path / "store", Deadly(), crew=Ray(1), batch_size=1, shard_size=100)
    assert 3 <= len(LatentStore.open(tmp_path / "store")) <= 6
    run(folder, tmp_path / "store", batch_size=1, shard_size=100)
    run(folder, tmp_path / "unbroken", batch_size=1)
    assert content(LatentStore.open(tmp_path / "store")) == content(LatentStore.open(tmp_path / "unbroken"))


def test_what_an_actor_raises_is_raised(tmp_path):
    with pytest.raises(ZeroDivisionError, match="^division by zero$"), Ray(1).at((1).__truediv__) as divide:
        list(divide([1, 0]))


@pytest.mark.parametrize("crew", [Ray(1, gpus=1), Ray(gpus=1), Ray(3)])
def test_a_cluster_that_is_too_small_is_not_waited_for(crew):
    with pytest.raises(UserError, match=r"the Ray cluster has [CG]PUs: [02]; [13] workers need"), crew.at(squared):
        pass


def test_a_cluster_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UserError, match="the Ray cluster at 127.0.0.1:1 does not answer"), Ray(1).at(str):
        pass


def test_the_command_and_real_codecs_give_the_same_bytes(host, tmp_path, monkeypatch):
    clips, recipe = tiny.tiny_clips(host, tmp_path / "clips", count=2), tiny.tiny_recipe(host)
    (tmp_path / "recipe.toml").write_text(recipe.to_toml())
    torch.manual_seed(0)
    words = ["encode", clips, "--recipe", tmp_path / "recipe.toml", "--batch-size", 1]
    for name, modality in build_modalities(recipe, host).items():
        save_codec(modality.codec, tmp_path / "codecs" / name, {"modality": name})
        words += ["--codec", f"{name}={tmp_path / 'codecs' / name}"]
    for name, engine in (("here", ()), ("there", ("--engine", "ray", "--workers", 2))):
        monkeypatch.setattr(sys, "argv", ["mmseqdiff", *map(str, (*words, "--out", tmp_path / name, *engine))])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
    shards = [{path.name for path in (tmp_path / name).glob("*.arrow")} for name in ("here", "there")]
    assert shards[0] == shards[1] != set()  # a shard's name holds its hash
    assert (tmp_path / "here/index.json").read_bytes() == (tmp_path / "there/index.json").read_bytes()
