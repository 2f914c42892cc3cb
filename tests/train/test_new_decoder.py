"""A codec whose decoder alone was trained on: stores and runs that were made with the old one take the new one."""

import json
import shutil

import attrs
import pytest
import tiny
import torch
from rich.console import Console

from mmseqdiff.calibration import read_latents
from mmseqdiff.errors import CheckpointError
from mmseqdiff.pipeline import load
from mmseqdiff.recipe import CodecTraining
from mmseqdiff.testing.tiny import tiny_recipe
from mmseqdiff.train.codec import train_codec
from mmseqdiff.train.codec_folder import FILES
from mmseqdiff.train.latents import encode_to_store


def test_a_run_and_its_store_go_on_with_a_new_decoder(host, tmp_path):
    clips = tiny.tiny_clips(host, tmp_path / "clips", count=2)
    run, store = tiny.tiny_run(host, tmp_path, clips), tmp_path / "store"
    before = load(run, host=host)
    latents = read_latents(before, run, store, 2)
    codec = json.loads((run / "codecs" / "audio" / "manifest.json").read_text())

    def trained(name, frozen):
        training = CodecTraining(steps=2, batch_size=2, warmup_steps=0, frozen=frozen, learning_rate=1e-2)
        recipe = attrs.evolve(tiny_recipe(host), codec_training={"audio": training})
        out, quiet = tmp_path / name, Console(quiet=True)
        assert train_codec(recipe, host, "audio", clips, out, start_from=run / "codecs" / "audio", console=quiet)
        return out

    new = trained("new", ("encoder",))
    assert json.loads((new / "manifest.json").read_text())["latents"] == codec["hash"]
    folders = {"video": run / "codecs" / "video", "audio": new}
    assert encode_to_store(tiny_recipe(host), host, clips, folders, store).added == 0
    for file in FILES[:2]:
        shutil.copyfile(new / file, run / "codecs" / "audio" / file)
    after = load(run, host=host)
    assert all(torch.equal(value, latents[name]) for name, value in read_latents(after, run, store, 2).items())
    sounds = [each.decode(latents)["audio"] for each in (before, after)]
    assert not torch.equal(*sounds), "it is the decoder that is new"

    other = trained("other", ())
    for file in FILES[:2]:
        shutil.copyfile(other / file, run / "codecs" / "audio" / file)
    with pytest.raises(CheckpointError, match="made with another codecs"):
        load(run, host=host)
