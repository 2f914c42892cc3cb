"""The demo's package: how it is packed, and what lies in it."""

import importlib.util
import json
import os
from pathlib import Path

import pytest
import tiny
import torch
from mmseqdiff_demo import shipped
from torch.utils.tensorboard import SummaryWriter

from mmseqdiff.pipeline import load
from mmseqdiff.train import checkpoint

BUILD = Path(__file__).parents[3] / "plugins" / "mmseqdiff-demo" / "build.py"


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("build_demo", BUILD)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_codec_curves(root):
    """As training in stages leaves them; the tiny codecs are as initialised."""
    stages = (("codecs/video/image", (2, 4)), ("codecs/video", (3,)), ("codecs/audio", (5,)), ("sharper/video", (1,)))
    for folder, steps in stages:
        with SummaryWriter(str(root / folder / "tensorboard")) as writer:
            for step in steps:
                writer.add_scalar("quality/psnr" if "video" in folder else "quality/mel", step / 2, step)
                writer.add_scalar("optimisation/learning rate", 0.1, step)


@pytest.fixture(scope="module")
def packed(build, host, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    clips = tiny.tiny_clips(host, folder / "clips", count=build.CLIPS + 1)
    run = tiny.tiny_run(host, folder, clips)
    (folder / "package" / "model").mkdir(parents=True)
    (folder / "package" / "model" / "leftover").touch()
    write_codec_curves(folder)
    build.pack([run], [folder / "codecs", folder / "sharper"], clips, folder / "package")
    return run, folder / "package"


def test_a_packed_model_is_the_run_in_half_precision_and_nothing_else(packed, host):
    run, package = packed
    original, small = load(run, host=host), load(package / "model", host=host)
    for (name, full), half in zip(
        original.assembly.backbone.state_dict().items(), small.assembly.backbone.state_dict().values()
    ):
        assert torch.equal(full.half().float(), half), name
    assert original.assembly.recipe == small.assembly.recipe
    files = {
        path.relative_to(package / "model").as_posix() for path in (package / "model").rglob("*") if path.is_file()
    }
    assert files == {
        "recipe.toml",
        "curves.json",
        "curves.png",
        *(f"codecs/{name}/{file}" for name in ("video", "audio") for file in ("codec.safetensors", "manifest.json")),
        *(f"checkpoints/00000002/{file}" for file in ("ema.safetensors", "manifest.json")),
    }
    assert all(
        os.access(path, os.R_OK) and path.stat().st_mode & 0o044 for path in package.rglob("*") if path.is_file()
    )


def test_the_curves_are_those_of_the_training(packed):
    curves = json.loads((packed[1] / "model" / "curves.json").read_text(encoding="utf-8"))
    assert curves.pop("codec/video/quality/psnr") == [[2, 1.0], [4, 2.0], [7, 1.5], [8, 0.5]], (
        "clips come after single frames, and the adversary last"
    )
    assert curves.pop("codec/audio/quality/mel") == [[5, 2.5]]
    assert set(curves) == {"loss", "loss/video", "loss/audio"}
    assert [step for step, _ in curves["loss"]] == [2]
    assert curves["loss"][0][1] == pytest.approx(curves["loss/video"][0][1] + curves["loss/audio"][0][1], abs=1e-4)


def test_curves_of_stages_follow_each_other(build):
    first, second = {"loss": [[2, 0.5], [4, 0.4]], "validation/a": [[4, 1.0]]}, {"loss": [[2, 0.3]]}
    joined = build.join_curves([first, second, second])
    assert joined == {"loss": [[2, 0.5], [4, 0.4], [6, 0.3], [8, 0.3]], "validation/a": [[4, 1.0]]}


def test_too_large_a_package_is_refused(packed, build, monkeypatch, tmp_path):
    monkeypatch.setattr(build, "LIMIT", 1000)
    with pytest.raises(SystemExit, match="more than"):
        build.pack([packed[0]], [packed[0].parent / "codecs"], packed[0].parent / "clips", tmp_path)


def test_the_clips_are_copied_with_their_truth(packed, host, monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "HERE", packed[1])
    files = host.build("dataset", "demo-clips").prepare(tmp_path)
    assert [path.name for path in files] == [f"{n:06d}.mp4" for n in range(8)]
    for path in files:
        for suffix in (".mp4", ".json"):
            source = packed[1] / "clips" / path.with_suffix(suffix).name
            assert path.with_suffix(suffix).read_bytes() == source.read_bytes()


def test_what_ships_is_whole_and_small(build, host):
    """Fails until `make demo-weights` has filled the package."""
    pipeline = load(host=host)
    assert pipeline.assembly.recipe.name == "avdit-demo"
    files = [path for folder in ("model", "clips") for path in (shipped.HERE / folder).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= build.LIMIT
    assert len([path for path in files if path.suffix == ".mp4"]) == build.CLIPS
    manifest = checkpoint.read_manifest(checkpoint.newest(shipped.avdit_demo() / "checkpoints"))
    assert set(manifest["files"]) == {"ema.safetensors"}
    assert (shipped.avdit_demo() / "curves.png").is_file()
