"""One tiny model over three tracks, from recorded files to generated ones and to a report; no game is needed."""

import json
import sys

import pytest
import torch
from rich.console import Console

import mmseqdiff.host
from mmseqdiff import cli
from mmseqdiff.assembly import build_modalities
from mmseqdiff.data.store import LatentStore
from mmseqdiff.errors import StoreError
from mmseqdiff.pipeline import load
from mmseqdiff.recipe import load_recipe
from mmseqdiff.train.codec_folder import save_codec
from mmseqdiff.train.denoiser import train_denoiser
from mmseqdiff.train.latents import encode_to_store

TINY = (
    "modalities.video.codec.channels=4", "modalities.audio.codec.channels=2", "modalities.audio.codec.latent_channels=4",
    "backbone.layers=1", "backbone.dimension=32", "backbone.heads=2", "training.steps=2", "training.batch_size=2",
    "training.precision=float32", "training.checkpoint_every=2", "training.validate_every=1000", "sampling.plan.steps=2",
)  # fmt: skip
TASKS = ("behaviour", "inverse_dynamics", "world_model")


@pytest.fixture(scope="module")
def run(host, recordings, tmp_path_factory):
    """A run's folder, trained for two steps."""
    folder = tmp_path_factory.mktemp("three")
    recipe, codecs = load_recipe(host, "avdit-vizdoom", TINY), {}
    torch.manual_seed(0)
    for name, modality in build_modalities(recipe, host).items():
        if name != "actions":  # its codec has no weights, and needs no folder
            codecs[name] = folder / "codecs" / name
            save_codec(modality.codec, codecs[name], {"modality": name})
    with pytest.raises(StoreError, match="no codec was named for 'audio'"):
        encode_to_store(recipe, host, recordings.folder, {"video": codecs["video"]}, folder / "store")
    report = encode_to_store(recipe, host, recordings.folder, codecs, folder / "store")
    assert (report.files, report.total, report.left_out) == (3, 3, {})
    train_denoiser(recipe, host, folder / "store", folder / "run", console=Console(quiet=True))
    return folder / "run"


def test_actions_are_in_the_store_as_they_were(host, run, recordings):
    stored = LatentStore.open(run.parent / "store").batch([2])["actions"][0]
    assert torch.equal(stored, 2 * recordings.plays[2].actions[:17] - 1)


def test_inverse_dynamics_writes_actions_beside_the_clip(host, run, recordings, tmp_path):
    model, file = load(run, host=host), recordings.folder / "000000.mkv"
    (clip,) = model.generate("inverse_dynamics", video=file)
    assert [path.name for path in clip.save(tmp_path / "out.mp4")] == ["out.mp4", "out.actions"]
    written = json.loads((tmp_path / "out.actions").read_text())
    assert written["rate"] == "35/4"
    assert len(written["actions"]) == 17


def test_the_world_model_takes_a_users_file_of_actions(host, run, recordings, tmp_path):
    model, file = load(run, host=host), recordings.folder / "000000.mkv"
    made = []
    for name in ("left", "right"):
        (tmp_path / f"{name}.actions").write_text(json.dumps({"rate": "35/4", "actions": [name] * 17}))
        (clip,) = model.generate("world_model", video=file, audio=file, actions=tmp_path / f"{name}.actions")
        made.append(clip.signals)
        assert (clip.signals["actions"].argmax(-1) == ("left", "right").index(name) + 3).all(), "given cells come back"
    assert not torch.equal(made[0]["video"], made[1]["video"])


@pytest.fixture
def command(host, run, recordings, monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr(mmseqdiff.host, "load_plugins", lambda: host)
        monkeypatch.setattr("mmseqdiff.pipeline.load_plugins", lambda: host)
        monkeypatch.setattr(sys, "argv", ["mmseqdiff", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        return capsys.readouterr().out

    return call


def test_the_report_has_every_task_and_shows_its_clips(command, run, recordings, tmp_path):
    words = [part for task in TASKS for part in ("--task", task)]
    page = tmp_path / "page"
    out = command("evaluate", recordings.folder, "--model", run, *words, "--num", 2, "--page", page, "--json")
    report = json.loads(out)
    assert set(report["conditional loss"]) == set(TASKS)
    found = {task: set(metrics) for task, metrics in report["samples"].items()}
    assert found == {
        "behaviour": {"inverse_dynamics", "behaviour", "prediction_error"},
        "inverse_dynamics": {"inverse_dynamics"},
        "world_model": {"prediction_error"},
    }
    for value in report["samples"]["inverse_dynamics"]["inverse_dynamics"].values():
        assert 0 <= value["own"] <= 1
    text = (page / "index.html").read_text(encoding="utf-8")
    for task in ("joint", *TASKS):
        assert f'id="{task}"' in text
        for kind in ("generated",) if task == "joint" else ("given", "generated", "original"):
            assert (page / f"{task}-0-{kind}.mp4").stat().st_size > 0
            assert (page / f"{task}-0-{kind}.actions").exists()
            assert f"{task}-0-{kind}.mp4" in text
    assert "<title>forward</title>" in text, "actions are shown by name"
    assert "--input actions=" in text, "the command reads actions from a file"
