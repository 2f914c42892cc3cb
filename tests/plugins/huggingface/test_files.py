"""Where pretrained models come from: what is refused and how, what is never loaded, and what identifies a codec."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

from mmseqdiff.errors import PluginError
from mmseqdiff.train.checkpoint import codec_hash
from mmseqdiff.train.codec_folder import FILES, keep_codec, load_codec

pytest.importorskip("mmseqdiff_huggingface")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

WEIGHTS = {"wan": "diffusion_pytorch_model.safetensors", "dac": "model.safetensors"}
CODECS = {"wan": "diffusers_video", "dac": "transformers_audio"}


@pytest.fixture(params=CODECS)
def made(request, saved, tmp_path, host):
    """The kind's name, a folder of its own to spoil, and what builds a codec from it."""
    folder = tmp_path / "there"
    shutil.copytree(saved(request.param), folder)
    return request.param, folder, lambda model=folder: host.build("codec", CODECS[request.param], model=str(model))


def edit(folder, **changes):
    file = folder / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, **changes}))


def refused(build, *parts):
    with pytest.raises(PluginError) as error:
        build()
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value), str(error.value)


def test_folders_that_are_none_and_names_that_do_not_read_so(made, tmp_path):
    name, folder, build = made
    refused(lambda: build(tmp_path / "nowhere"), "there is no folder", "nowhere", "hub:OWNER/NAME")
    refused(lambda: build("owner/name"), "there is no folder 'owner/name' on this machine", "hub:OWNER/NAME")
    refused(lambda: build("hub:owner"), "'hub:owner' should read hub:OWNER/NAME")
    shutil.move(folder, tmp_path / "pipeline" / "vae")
    refused(lambda: build(tmp_path / "pipeline"), "no config.json", "its subfolders vae")


def test_models_that_are_not_known(made):
    name, folder, build = made
    key = "_class_name" if name == "wan" else "model_type"
    edit(folder, **{key: "Dreamt"})
    refused(build, f"{key} 'Dreamt'", "AutoencoderKLWan" if name == "wan" else "encodec")
    edit(folder, **{key: None})
    refused(build, f"no {key}")
    (folder / "config.json").write_text("{")
    refused(build, "config.json is damaged")


def test_weights_that_are_missing_or_pickled_or_do_not_fit(made):
    name, folder, build = made
    weights = folder / WEIGHTS[name]
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    refused(build, "the weights cannot be loaded")
    weights.unlink()
    refused(build, "holds no weights", WEIGHTS[name])
    pickled = folder / WEIGHTS[name].replace("safetensors", "bin")
    torch.save({}, pickled)
    refused(build, "only as a pickle", pickled.name, "safetensors")
    from safetensors.torch import load, save_file

    tensors = load(whole)
    first = sorted(tensors)[0]
    save_file({key: value for key, value in tensors.items() if key != first}, weights)
    refused(build, "lack", first)
    save_file({**tensors, "more": tensors[first].clone()}, weights)
    refused(build, "have no place for 'more'")


def test_nothing_is_unpickled_and_no_network_asked(made, monkeypatch):
    def forbidden(*_, **__):
        raise AssertionError("not allowed")

    monkeypatch.setattr(torch, "load", forbidden)
    monkeypatch.setattr("socket.socket.connect", forbidden)
    made[2]()


def test_a_name_of_the_hub_is_taken_from_the_cache_or_else_downloaded_and_that_is_said(
    made, monkeypatch, tmp_path, capsys
):
    name, folder, build = made
    asked, cached = [], False

    def snapshot_download(repository, *, revision, allow_patterns, local_files_only):
        asked.append((repository, revision, local_files_only))
        assert not any(pattern.endswith((".bin", "*", ".py")) for pattern in allow_patterns)
        if local_files_only and not cached:
            raise FileNotFoundError("not in the cache")
        if repository == "no/such":
            raise OSError("404: no such repository\nRequest ID: 1")
        return str(folder.parent)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    expected = codec_hash(build())
    assert asked == []
    assert codec_hash(build("hub:owner/model-1.0/there@v2")) == expected
    assert asked == [("owner/model-1.0", "v2", True), ("owner/model-1.0", "v2", False)]
    assert "downloading owner/model-1.0 from the Hugging Face hub" in capsys.readouterr().err
    cached = True
    assert codec_hash(build("hub:owner/model-1.0/there")) == expected
    assert asked[2:] == [("owner/model-1.0", None, True)]
    assert "downloading" not in capsys.readouterr().err
    cached = False
    refused(lambda: build("hub:no/such"), "no/such could not be had from the Hugging Face hub: 404: no such repository")


def test_a_download_that_broke_off_is_finished(made, monkeypatch, tmp_path):
    """One of two weight files in the cache is not the model."""
    name, folder, build = made
    (whole,) = folder.glob("*.safetensors")
    part = tmp_path / "part"
    shutil.copytree(folder, part)
    stem = whole.stem
    (part / whole.name).rename(part / f"{stem}-00001-of-00002.safetensors")
    index = {"weight_map": {"a": f"{stem}-00001-of-00002.safetensors", "b": f"{stem}-00002-of-00002.safetensors"}}
    (part / f"{stem}.safetensors.index.json").write_text(json.dumps(index))
    asked = []

    def snapshot_download(repository, *, local_files_only, **_):
        asked.append(local_files_only)
        return str(part if local_files_only else folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert codec_hash(build("hub:owner/model")) == codec_hash(build())
    assert asked == [True, False]


def test_the_hash_knows_weights_and_configuration_and_nothing_incidental(made):
    name, folder, build = made
    before = build()
    assert codec_hash(build()) == codec_hash(before)
    edit(folder, _name_or_path="elsewhere", transformers_version="6", _diffusers_version="1")
    assert codec_hash(build()) == codec_hash(before)
    edit(folder, **({"dropout": 0.5} if name == "wan" else {"quantizer_dropout": 0.5}))
    assert codec_hash(build()) != codec_hash(before), "another configuration"
    edit(folder, **({"dropout": 0.0} if name == "wan" else {"quantizer_dropout": 0.0}))
    other = build()
    with torch.no_grad():
        next(other.model.parameters()).view(-1)[0].add_(1e-6)
    assert codec_hash(other) != codec_hash(before), "other weights"


def test_what_is_kept_of_a_codec_builds_it_again_without_the_folder_that_it_came_from(made, tmp_path):
    name, folder, build = made
    codec = build()
    expected = load_codec(codec, folder)
    keep_codec(codec, folder, tmp_path / "kept", "signal")
    keep_codec(codec, tmp_path / "kept", tmp_path / "again", "signal")
    shutil.rmtree(folder)
    assert {path.name for path in (tmp_path / "again").iterdir()} == set(FILES)
    again = build(tmp_path / "again")
    assert load_codec(again, tmp_path / "again") == codec_hash(again) == expected
    signal = torch.rand((1, 5, 8, 8, 3) if name == "wan" else (1, 80))
    assert torch.equal(again.encode(signal), codec.encode(signal))
    edit(tmp_path / "again", **({"dropout": 0.5} if name == "wan" else {"quantizer_dropout": 0.5}))
    with pytest.raises(Exception, match=r"_extra_state|another config\.json"):
        load_codec(build(tmp_path / "again"), tmp_path / "again")
    weights = tmp_path / "kept" / "codec.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(Exception, match="is truncated"):
        build(tmp_path / "kept")


def test_registering_imports_nothing_heavy():
    program = (
        "import sys, mmseqdiff_huggingface, mmseqdiff.host\n"
        "host = mmseqdiff.host.Host()\n"
        "host.add_plugin(mmseqdiff_huggingface, 'huggingface')\n"
        "assert host.names('codec') == ['diffusers_video', 'transformers_audio']\n"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    )
    untyped = {key: value for key, value in os.environ.items() if not key.startswith("MMSEQDIFF_TYPECHECK")}
    subprocess.run([sys.executable, "-c", program], check=True, env=untyped)


def test_on_the_meta_device_only_the_configuration_is_read(made):
    name, folder, build = made
    (folder / WEIGHTS[name]).unlink()
    with torch.device("meta"):
        codec = build()
    assert {weight.device.type for weight in codec.parameters()} == {"meta"}
    assert codec.segments(81) == (21 if name == "wan" else 10)
