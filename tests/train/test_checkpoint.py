import errno
import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mmseqdiff.errors import CheckpointError, RunError
from mmseqdiff.train import checkpoint

DESCRIPTION = {
    "recipe": {"training": {"steps": 3, "betas": [0.9, 0.99]}, "name": "a"},
    "layout": {"video": {"segments": 5, "edges": ["0", "1/8"]}},
    "codecs": {"video": "12ab"},
}


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    return net, checkpoint.save(tmp_path / "checkpoints", 5, {"weights": net.state_dict()}, DESCRIPTION)


def test_loading_gives_back_every_bit(saved):
    net, path = saved
    other = nn.Linear(3, 2)
    checkpoint.load_into(other, checkpoint.load_group(path, "weights"), str(path))
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values()))
    manifest = checkpoint.read_manifest(path)
    assert manifest["step"] == 5
    checkpoint.check_description(manifest, DESCRIPTION, "here")


def test_the_newest_is_found_by_its_step_and_old_ones_go(saved, tmp_path):
    folder = tmp_path / "checkpoints"
    for step in (20, 9, 100_000_000):
        checkpoint.save(folder, step, {"weights": {"a": torch.ones(1)}}, {}, keep=2)
    (folder / "notes.txt").touch()
    assert checkpoint.newest(folder).name == "100000000"
    assert sorted(path.name for path in folder.iterdir()) == ["00000020", "100000000", "notes.txt"]
    assert checkpoint.newest(tmp_path / "nowhere") is None


def change_a_bit(path):
    file = path / "weights.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    tensors["bias"][0] += 1e-6
    save_file(tensors, file)


def truncate(path):
    file = path / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-4])


def edit_manifest(path, **changes):
    file = path / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "weights.safetensors is truncated or too long: .* bytes, expected .*"),
        (change_a_bit, "weights.safetensors was changed: its hash is not the manifest's"),
        (lambda path: (path / "weights.safetensors").unlink(), "has no weights.safetensors"),
        (lambda path: (path / "manifest.json").unlink(), "is no checkpoint: it has no manifest.json"),
        (lambda path: (path / "manifest.json").write_text('{"format": 1, '), "manifest.json is damaged"),
        (lambda path: (path / "manifest.json").write_text("[]"), "manifest.json is damaged"),
        (lambda path: edit_manifest(path, format=2), "has format 2, .* up to 1: install a newer mmseqdiff"),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_one_line(saved, damage, message):
    _, path = saved
    damage(path)
    with pytest.raises(CheckpointError, match=message) as error:
        checkpoint.load_group(path, "weights")
    assert str(path) in one_line(error)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"layout": {"video": {"segments": 7, "edges": ["0", "1/8"]}}},
            "another layout: layout.video.segments is 5, expected 7",
        ),
        (
            {"layout": {"video": {"segments": 5, "edges": ["0", "1/9"]}}},
            r'layout.video.edges\[1\] is "1/8", expected "1/9"',
        ),
        ({"codecs": {"video": "12ac"}}, 'another codecs: codecs.video is "12ab", expected "12ac"'),
        ({"codecs": {"video": "12ab", "audio": "1"}}, 'codecs.audio is nothing, expected "1"'),
        ({"recipe": {"name": "a"}}, "recipe.training is .*, expected nothing"),
        ({"prediction": "v"}, 'prediction is nothing, expected "v"'),
    ],
)
def test_another_description_is_refused_by_the_field_that_differs(saved, changed, message):
    with pytest.raises(CheckpointError, match=message) as error:
        checkpoint.check_description(checkpoint.read_manifest(saved[1]), changed, "RUN")
    assert one_line(error).startswith("RUN was made with")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (nn.Linear(4, 2), r"'weight' has shape \(2, 3\), expected \(2, 4\)"),
        (nn.Linear(3, 2, bias=False), "no place for tensor 'bias'"),
        (nn.Bilinear(1, 1, 2), "'weight' has shape"),
        (nn.Sequential(nn.Linear(3, 2)), "'0.weight' is missing"),
    ],
)
def test_another_network_is_refused_and_left_as_it_was(saved, other, message):
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(CheckpointError, match=message) as error:
        checkpoint.load_into(other, checkpoint.load_group(saved[1], "weights"), "RUN")
    one_line(error)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


@pytest.mark.parametrize("victim", ["save_file", "os.replace", "os.fsync"])
def test_a_full_disk_leaves_the_last_checkpoint(saved, tmp_path, monkeypatch, victim):
    _, path = saved

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"mmseqdiff.train.checkpoint.{victim}", full)
    with pytest.raises(
        RunError, match="(No space left on device|the disk is full).*the last one is .*00000005"
    ) as error:
        checkpoint.save(tmp_path / "checkpoints", 6, {"weights": {"a": torch.ones(1)}}, {})
    one_line(error)
    monkeypatch.undo()
    assert [entry.name for entry in (tmp_path / "checkpoints").iterdir()] == ["00000005"]
    assert checkpoint.load_group(path, "weights")


def test_a_codec_hash_depends_on_every_bit_name_shape_and_type():
    def module(values=(1.0, 2.0), name="a", dtype=torch.float32, shape=(2,)):
        built = nn.Module()
        built.register_buffer(name, torch.tensor(values, dtype=dtype).reshape(shape))
        return built

    variants = [
        module(),
        module((1.0, 2.0000002)),
        module((1.0, -2.0)),
        module(name="b"),
        module(dtype=torch.float64),
        module(shape=(2, 1)),
        module((0.0, 0.0)),
        module((-0.0, 0.0)),
    ]
    hashes = [checkpoint.codec_hash(variant) for variant in variants]
    assert len(set(hashes)) == len(hashes)
    assert checkpoint.codec_hash(module()) == hashes[0]
    assert re.fullmatch(r"[0-9a-f]{64}", hashes[0])


def test_json_has_numbers_on_one_line_and_its_strings_as_they_are(tmp_path):
    value = {"take [10  20].mp4": [1, 2.5, -3e-9], "none": [], "names": ["[1,  2]"]}
    checkpoint.write_json(tmp_path / "value.json", value)
    text = (tmp_path / "value.json").read_text()
    assert json.loads(text) == value
    assert "[ 1, 2.5, -3e-09 ]" in text
