"""`mmseqdiff calibrate`: numbers of one task are kept with the model and used for that task alone."""

import json
import sys

import pytest
import tiny
import torch

import mmseqdiff
from mmseqdiff import cli
from mmseqdiff.errors import CheckpointError
from mmseqdiff.recipe import Component
from mmseqdiff.train import checkpoint

STEPS = 6  # an untrained model's noise is too strong at high levels to leave any variance there


def file(run):
    return checkpoint.newest(run / "checkpoints") / "calibration.json"


@pytest.fixture(scope="module")
def model(host, tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrate")
    clips = tiny.tiny_clips(host, folder / "clips")
    return clips, tiny.tiny_run(host, folder, clips)


@pytest.fixture(autouse=True)
def nothing_kept(model):
    file(model[1]).unlink(missing_ok=True)


@pytest.fixture
def calibrate(model, monkeypatch, capsys):
    def run(*arguments, store=model[1].parent / "store"):
        command = ["mmseqdiff", "calibrate", *arguments, "--model", str(model[1]), "--data", str(store)]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, capsys.readouterr()

    return run


def generate(run, task, sampler, clip):
    made = mmseqdiff.load(run).generate(task, steps=STEPS, sampler=Component.parse(sampler), audio=clip, seed=3)
    return made[0].signals["video"]


def test_the_task_that_was_calibrated_is_sampled_with_its_variance_and_others_as_before(calibrate, model):
    clips, run = model
    clip = clips / "000000.mp4"
    before = {task: generate(run, task, "analytic_ddim", clip) for task in ("a2v", "joint")}
    code, output = calibrate("analytic_ddim", "--task", "a2v", "--steps", str(STEPS))
    assert code == 0
    assert "a2v" in output.out
    calibration = json.loads(file(run).read_text(encoding="utf-8"))["analytic_ddim"]["calibration"]
    assert list(calibration) == ["audio:0-106"]
    tables = calibration["audio:0-106"]
    assert len(tables["video"]["levels"]) == STEPS
    assert "audio" not in tables, "it is given whole"
    assert not torch.equal(generate(run, "a2v", "analytic_ddim", clip), before["a2v"])
    assert torch.equal(generate(run, "joint", "analytic_ddim", clip), before["joint"])


def test_several_samplers_and_tasks_are_kept_side_by_side(calibrate, model):
    for sampler, task in (("analytic_ddim", "joint"), ("analytic_dpm", "joint"), ("analytic_ddim", "v2a")):
        assert calibrate(sampler, "--task", task)[0] == 0
    found = {name: set(kept["calibration"]) for name, kept in mmseqdiff.load(model[1]).calibration.items()}
    assert found == {"analytic_ddim": {"joint", "video:0-5"}, "analytic_dpm": {"joint"}}


def test_a_damaged_calibration_is_named(model):
    file(model[1]).write_text("[1]", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"calibration\.json is damaged"):
        mmseqdiff.load(model[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ddim"], "the sampler 'ddim' has nothing to calibrate"),
        (["analytic_dpm", "--clips", "0"], "--clips must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_calibrated_is_said(calibrate, arguments, message):
    code, output = calibrate(*arguments)
    assert code == 2
    assert message in output.err
