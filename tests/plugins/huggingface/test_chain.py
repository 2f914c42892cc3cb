"""Pretrained codecs all the way: encoded with, trained on, generated from, and none of it needs the first folders again."""

import json
import shutil
import sys

import pytest
import tiny
import torch
from rich.console import Console

from mmseqdiff import cli
from mmseqdiff.data.workers import Processes
from mmseqdiff.errors import PluginError, StoreError
from mmseqdiff.pipeline import load
from mmseqdiff.recipe import Recipe
from mmseqdiff.train.codec import train_codec
from mmseqdiff.train.denoiser import train_denoiser
from mmseqdiff.train.latents import encode_to_store

pytest.importorskip("mmseqdiff_huggingface")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

RECIPE = """
name = "pretrained"
seconds = "5/8"
policy = "monl"

[modalities.video]
name = "video"
frame_rate = 8
height = 16
width = 16
codec = {{ name = "diffusers_video", model = "{video}" }}

[modalities.audio]
name = "audio"
sample_rate = 1600
codec = {{ name = "transformers_audio", model = "{audio}", quantizers = 2 }}

[backbone]
name = "avdit"
layers = 1
dimension = 16
heads = 2

[training]
steps = 2
batch_size = 2
warmup_steps = 0
"""


@pytest.fixture(scope="module")
def models(saved, tmp_path_factory):
    """Folders of a video and an audio model, to be taken away later."""
    root = tmp_path_factory.mktemp("models")
    return {kind: shutil.copytree(saved(name), root / kind) for kind, name in (("video", "wan"), ("audio", "mimi"))}


@pytest.fixture(scope="module")
def clips(host, tmp_path_factory):
    return tiny.tiny_clips(host, tmp_path_factory.mktemp("clips"), count=2)


@pytest.fixture
def command(host, monkeypatch, capsys):
    """Runs a command line with the plugins of ``host``; returns the exit code and what it said."""
    monkeypatch.setattr("mmseqdiff.host.load_plugins", lambda: host)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["mmseqdiff", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out + said.err

    return run


def test_encode_train_and_generate(host, models, clips, command, tmp_path):
    # The recipe names one model; the other comes by the command line, whatever the recipe says.
    text = RECIPE.format(video="somewhere/else", audio=models["audio"])
    file, store = tmp_path / "recipe.toml", tmp_path / "store"
    file.write_text(text)
    recipe, encode = Recipe.from_toml(text), ("encode", clips, "--recipe", file, "--out", store)
    code, said = command(*encode)
    assert (code, "there is no folder 'somewhere/else'" in said) == (2, True), said
    code, said = command(*encode, "--codec", f"video={models['video']}")
    assert (code, "6 clips added" in said) == (0, True), said
    report = encode_to_store(recipe, host, clips, {"video": models["video"]}, store)
    assert (report.added, report.total) == (0, 6)
    index = json.loads((store / "index.json").read_text())
    assert set(index["codecs"]) == {"video", "audio"}

    other = tmp_path / "other"
    shutil.copytree(models["video"], other)
    change_one_weight(other)
    with pytest.raises(StoreError, match="was made with the video codec"):
        encode_to_store(recipe, host, clips, {"video": other}, store)

    for folder in models.values():
        folder.rename(folder.with_name(f"{folder.name} away"))
    try:
        assert encode_to_store(recipe, host, clips, {n: store / "codecs" / n for n in models}, store).added == 0
        assert train_denoiser(recipe, host, store, tmp_path / "run", console=Console(quiet=True))
        shutil.rmtree(store)
        pipeline = load(tmp_path / "run", host=host)
        assert pipeline.assembly.modalities["audio"].codec.quantizers == 2
        (clip,) = pipeline.generate("a2v", audio=str(clips / "000000.mp4"), steps=2)
        assert clip.signals["video"].shape == (5, 16, 16, 3)
        assert clip.signals["audio"].shape == (992,), "62 whole hops of 16 samples"
        assert all(signal.isfinite().all() for signal in clip.signals.values())
        assert clip.save(tmp_path / "out.mkv")
    finally:
        for folder in models.values():
            folder.with_name(f"{folder.name} away").rename(folder)


def test_other_processes_encode_with_normalised_weights_to_the_same_bytes(host, saved, models, clips, tmp_path):
    """Torch does not pickle a parametrised module, which EnCodec is made of."""
    text = RECIPE.format(video=models["video"], audio=saved("encodec"))
    recipe = Recipe.from_toml(text.replace("sample_rate = 1600", "sample_rate = 24000").replace(", quantizers = 2", ""))
    for name, crew in (("here", None), ("there", Processes(2))):
        assert encode_to_store(recipe, host, clips, {}, tmp_path / name, batch_size=1, crew=crew).added == 6
    shards = [{path.name for path in (tmp_path / name).glob("*.arrow")} for name in ("here", "there")]
    assert shards[0] == shards[1] != set(), "a shard's name holds its hash"


def change_one_weight(folder):
    from safetensors.torch import load_file, save_file

    (file,) = folder.glob("*.safetensors")
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    next(iter(tensors.values())).view(-1)[0] += 1e-3
    save_file(tensors, file, metadata={"format": "pt"})


def test_a_plan_needs_no_weights(models, command, tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE.format(**models))
    code, said = command("plan", "a2v", "--recipe", tmp_path / "recipe.toml", "--steps", 2, "--json")
    assert code == 0, said
    assert torch.get_default_device().type == "cpu"


def test_what_cannot_be_done_with_them_is_said(host, models, clips, tmp_path):
    from mmseqdiff.errors import RecipeError

    recipe = Recipe.from_toml(RECIPE.format(**models))
    with pytest.raises(RecipeError, match="DiffusersVideo has no training_loss, so it cannot be trained"):
        train_codec(recipe, host, "video", clips, tmp_path, console=Console(quiet=True))
    wrong = Recipe.from_toml(RECIPE.format(**models).replace("sample_rate = 1600", "sample_rate = 16000"))
    with pytest.raises(RecipeError, match="modality 'audio': this codec takes 1600 samples a second"):
        encode_to_store(wrong, host, clips, {}, tmp_path / "store")
    long = Recipe.from_toml(RECIPE.format(**models).replace('"5/8"', '"6/8"'))
    with pytest.raises(RecipeError, match=r"modality 'video': 6 frames do not fit .* the nearest are 5 and 9"):
        encode_to_store(long, host, clips, {}, tmp_path / "store")
    nameless = Recipe.from_toml(RECIPE.format(**models).replace(f', model = "{models["video"]}"', ""))
    with pytest.raises(PluginError, match="needs 'model'"):
        encode_to_store(nameless, host, clips, {}, tmp_path / "store")
    assert not (tmp_path / "store").exists()
