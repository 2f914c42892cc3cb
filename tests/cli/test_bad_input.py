"""Bad input ends with one clear line and exit code 2, a failed run with 1; nothing is lost and nothing half-written stays."""

import json
import shutil
import sys

import pytest
import tiny
import torch

from mmseqdiff import cli, load_plugins
from mmseqdiff.assembly import build_modalities
from mmseqdiff.data.store import LatentStore
from mmseqdiff.recipe import Recipe
from mmseqdiff.train import checkpoint
from mmseqdiff.train.codec_folder import save_codec


@pytest.fixture(scope="module")
def made(host, tmp_path_factory):
    """Clips, and a tiny run trained on them."""
    folder = tmp_path_factory.mktemp("bad-input")
    clips = tiny.tiny_clips(host, folder / "clips", count=2)
    return clips, tiny.tiny_run(host, folder, clips)


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs a command line; returns the exit code and what it said on stderr; what it said on stdout is ``run.out``."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["mmseqdiff", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        run.out, error = capsys.readouterr()
        return ended.value.code or 0, error

    return run


def refused(answer, *parts):
    """Exit code 2, one line, and the line says what it should."""
    code, message = answer
    said = [line for line in message.splitlines() if line.startswith("mmseqdiff: ")]
    assert (code, len(said)) == (2, 1), message
    assert "Traceback" not in message
    for part in parts:
        assert str(part) in said[0], said[0]


def test_files_that_are_no_media(made, command, tmp_path):
    _, run = made
    out = tmp_path / "out.mp4"
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a film\n" * 100)
    for name, part in (("missing.mp4", "missing.mp4"), ("empty.mp4", "empty"), ("text.mp4", "text.mp4")):
        answer = command("generate", "a2v", "--model", run, "--audio", tmp_path / name, "--out", out)
        refused(answer, name, part)
    assert not out.exists()


def test_a_device_that_this_machine_does_not_have(made, command, tmp_path):
    clips, run = made
    out = tmp_path / "out"
    store = ("--codec", f"video={run / 'codecs/video'}", "--codec", f"audio={run / 'codecs/audio'}")
    for words in (
        ("generate", "joint", "--model", run, "--out", out.with_suffix(".mp4")),
        ("train-codec", "avdit-demo", "audio", "--data", clips, "--out", out),
        ("encode", clips, "--recipe", run / "recipe.toml", *store, "--out", out),
        ("train", run / "recipe.toml", "--data", run.parent / "store", "--out", out),
        ("reconstruct", clips, out, "--model", run),
    ):
        for device in ("cuda:99", "nowhere"):
            refused(command(*words, "--device", device), f"device {device!r}")
    assert list(tmp_path.iterdir()) == []


def test_a_policy_of_other_modalities_spoils_no_run(made, command, tmp_path):
    _, run = made
    words = ("train", run / "recipe.toml", "--data", run.parent / "store", "--out", tmp_path / "run")
    words = (*words, "--set", "training.steps=1")
    wrong = ("--set", 'policy={name="per_segment",reference="vidoe"}')
    refused(command(*words, *wrong), "per_segment", "vidoe", "video, audio")
    assert command(*words)[0] == 0
    for policy in ("per_segment:reference=vidoe", "coupled:shifts.foo=2", 'restricted:policy=monl,modalities=["foo"]'):
        refused(command("plan", "--policy", policy), policy.partition(":")[0], "does not fit the model")


def test_numbers_that_are_none(made, command, tmp_path):
    clips, run = made
    out, store = tmp_path / "out.mp4", tmp_path / "store"
    generate = ("generate", "joint", "--model", run, "--steps", 1, "--out", out)
    refused(command(*generate, "--start", "nan"), "start", "seconds")
    refused(command(*generate, "--seconds", "inf"), "seconds")
    refused(command(*generate, "--seed", 2**63), "seed", 2**63)
    refused(command(*generate, "--guidance", "stabilise:level=2000"), "stabilise", "2000")
    refused(command("train", "avdit-demo", "--data", store, "--out", store, "--set", f"training.seed={2**63}"), "seed")
    codecs = [word for name in ("video", "audio") for word in ("--codec", f"{name}={run / 'codecs' / name}")]
    encode = ("encode", clips, "--recipe", run / "recipe.toml", *codecs, "--out", store)
    refused(command(*encode, "--stride", "abc"), "--stride", "abc")
    refused(command(*encode, "--stride", "0"), "stride", "positive")
    refused(command(*encode, "--dtype", "float61"), "--dtype", "float61", "float32 or float16")
    assert list(tmp_path.iterdir()) == []


def test_a_task_that_lacks_its_file_or_asks_too_much_of_it(made, command, tmp_path):
    clips, run = made
    clip, out = clips / "000000.mp4", tmp_path / "out.mp4"
    refused(command("generate", "a2v", "--model", run, "--out", out), "given audio", "--input audio=FILE")
    late = ("generate", "a2v", "--model", run, "--audio", clip, "--start", 1, "--out", out)
    refused(command(*late), "2.25", "2.125")
    every = ("generate", "video:0-3 audio:0-3", "--model", run, "--video", clip, "--audio", clip, "--out", out)
    refused(command(*every), "nothing to generate")
    refused(command("generate", "video:0-x", "--model", run, "--out", out), "video:0-x", "modality:start-stop")
    refused(command("generate", "a2w", "--model", run, "--out", out), "a2w", "did you mean 'a2v'")
    refused(command("generate", "joint", "--model", run, "--out", tmp_path / "out.xyz", "--steps", 1), ".xyz", ".mp4")
    long = ("generate", "joint", "--model", run, "--steps", 1, "--seconds", 4)
    refused(command(*long, "--out", tmp_path / "out.xyz"), ".xyz", ".mp4")
    refused(command(*long, "--out", out, "--overlap", 0.6), "12.2 frames of video", "no whole number")
    refused(command(*long, "--out", out, "--conditions", "clip"), "--conditions clip", "--seconds")
    refused(command("generate", "inpaint", *long[2:], "--out", out), "given its start, or nothing")
    refused(command("generate", "joint", "--model", tmp_path / "nowhere", "--out", out), "nowhere")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("training.step=3", ["training", "'step'", "did you mean 'steps'"]),
        ("training.steps=many", ["training.steps", "expected int"]),
        ("policy=monk", ["policy", "'monk'", "did you mean 'monl'"]),
        ("backbone.layer=2", ["'layer'", "did you mean 'layers'"]),
        ("seconds=2", ["video", "17"]),
        ("backbone.heads=5", ["avdit", "heads"]),
        ("prediction=epsilon schedule.name=zero_terminal_snr", ["zero-terminal"]),
    ],
)
def test_a_recipe_that_cannot_be_meant(made, command, tmp_path, override, parts):
    _, run = made
    sets = [word for one in override.split() for word in ("--set", one)]
    words = ("train", run / "recipe.toml", "--data", run.parent / "store", "--out", tmp_path / "run", *sets)
    refused(command(*words), *parts)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_checkpoint_that_was_tampered_with(made, command, tmp_path):
    _, run = made

    def broken(name):
        copy = tmp_path / name
        shutil.copytree(run, copy)
        return copy, checkpoint.newest(copy / "checkpoints")

    def generate(folder):
        return command("generate", "joint", "--model", folder, "--out", tmp_path / "out.mp4", "--steps", 1)

    truncated, path = broken("truncated")
    weights = (path / "ema.safetensors").read_bytes()
    (path / "ema.safetensors").write_bytes(weights[:-10])
    refused(generate(truncated), "ema.safetensors", "truncated")

    flipped, path = broken("flipped")
    (path / "ema.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    refused(generate(flipped), "ema.safetensors", "changed")

    layout, path = broken("layout")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["layout"]["audio"]["segments"] = 107
    (path / "manifest.json").write_text(json.dumps(manifest))
    refused(generate(layout), "layout.audio.segments", "107", "106")

    codec, path = broken("codec")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["codecs"]["audio"] = "0" * 64
    (path / "manifest.json").write_text(json.dumps(manifest))
    refused(generate(codec), "codecs.audio")

    shutil.rmtree(broken("gone")[0] / "checkpoints")
    refused(generate(tmp_path / "gone"), "no checkpoint")
    assert not (tmp_path / "out.mp4").exists()


def test_a_store_that_cannot_be_completed_and_a_film_that_cannot_be_read(made, command, tmp_path):
    clips, run = made
    films, store = tmp_path / "films", tmp_path / "store"
    shutil.copytree(clips, films)
    shutil.copytree(run.parent / "store", store)
    (films / "torn.mp4").write_bytes((clips / "000000.mp4").read_bytes()[:3000])
    held = len(LatentStore.open(store))

    def encode(at, *more, codecs=run.parent / "codecs"):
        named = [word for name in ("video", "audio") for word in ("--codec", f"{name}={codecs / name}")]
        return command("encode", films, "--recipe", run / "recipe.toml", *named, "--out", at, *more)

    def broken(name):
        copy = tmp_path / name
        shutil.copytree(store, copy)
        return copy

    def unchanged(at, *parts, more=(), **options):
        before = {path.name: path.read_bytes() for path in at.iterdir() if path.is_file()}
        refused(encode(at, *more, **options), *parts)
        assert {path.name: path.read_bytes() for path in at.iterdir() if path.is_file()} == before

    assert encode(store)[0] == 0
    assert "0 clips added" in command.out
    assert [line for line in command.out.splitlines() if "torn.mp4" in line] == command.out.splitlines()[1:]
    assert len(LatentStore.open(store)) == held

    half = tmp_path / "half"
    assert encode(half, "--dtype", "float16")[0] == 0
    unchanged(half, "holds float16", "say float16", more=("--dtype", "float32"))
    for shard in half.glob("*.arrow"):
        shard.unlink()
    assert encode(half)[0] == 0, "it is completed as it is"
    completed, full = LatentStore.open(half), LatentStore.open(store)
    assert (completed.dtype, full.dtype, len(completed)) == ("float16", "float32", held)
    torch.testing.assert_close(completed.batch(range(held)), full.batch(range(held)), rtol=1e-3, atol=1e-3)

    flipped = broken("flipped")
    (shard,) = flipped.glob("*.arrow")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    unchanged(flipped, shard.name, "damaged")

    newer = broken("newer")
    index = json.loads((newer / "index.json").read_text())
    (newer / "index.json").write_text(json.dumps({**index, "version": 99}))
    unchanged(newer, newer, "version 99", "update mmseqdiff")

    recipe, others = Recipe.from_toml((run / "recipe.toml").read_text()), tmp_path / "codecs"
    torch.manual_seed(1)
    for name, modality in build_modalities(recipe, load_plugins()).items():
        save_codec(modality.codec, others / name, {"modality": name})
    unchanged(store, store, "was made with the video codec", "another folder", codecs=others)

    refused(encode(store, "--stride", 1), 'stride is "17/8"', 'expected "1"')
    refused(encode(store, "--engine", "rya"), "--engine 'rya'", "local or ray")
    refused(encode(store, "--address", "here:6379"), "--address here:6379", "--engine ray")


def test_a_run_of_another_recipe_is_not_gone_on_with(made, command):
    _, run = made
    before = sorted(path.name for path in (run / "checkpoints").iterdir())
    words = ("train", run / "recipe.toml", "--data", run.parent / "store", "--out", run)
    refused(command(*words, "--set", "training.learning_rate=1e-2"), "training.learning_rate", "--out")
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == before


def test_nan_in_training_is_a_failed_run_that_keeps_the_last_checkpoint(made, command, tmp_path):
    _, run = made
    words = ("train", run / "recipe.toml", "--data", run.parent / "store", "--out", tmp_path / "run")
    sets = (
        "--set",
        "training.steps=40",
        "--set",
        "training.checkpoint_every=1",
        "--set",
        "training.learning_rate=1e30",
    )
    code, message = command(*words, *sets)
    assert code == 1, message
    said = message.splitlines()[-1]
    assert said.startswith("mmseqdiff: step ")
    assert "the store's clips" in said
    assert checkpoint.newest(tmp_path / "run" / "checkpoints") is not None
