"""Made-up files in the layouts that the sets are published in."""

import json
import os
from fractions import Fraction
from pathlib import Path

import mmseqdiff_datasets
import pytest
import torch
from mmseqdiff_datasets import clips

from mmseqdiff.data.audio import AudioFormat
from mmseqdiff.data.media import write_clip
from mmseqdiff.data.video import VideoFormat
from mmseqdiff.errors import MediaError, PluginError
from mmseqdiff.host import Host

SMALL = {"seconds": "1/2", "size": 16, "suffix": ".mkv"}


@pytest.fixture(scope="module")
def sets():
    """A host with this plugin alone, so that it need not be installed."""
    host = Host()
    host.add_plugin(mmseqdiff_datasets, "datasets")
    return host


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """1.6 s that get brighter and louder by a sixteenth every tenth of a second, wide and at another rate."""
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    pictures = (torch.arange(32) // 2 / 16)[:, None, None, None].expand(-1, 24, 48, 3)
    sound = torch.linspace(0, 1, 76800) * torch.sin(torch.arange(76800) / 20)
    formats = {"video": VideoFormat(20, 24, 48), "audio": AudioFormat(48000)}
    write_clip(path, {"video": pictures, "audio": sound}, formats)
    return path


@pytest.fixture
def lay(tmp_path, film):
    """Lays the film under some names, and a torn one under others."""

    def under(folder, *names, torn=()):
        for name in (*names, *torn):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(film.read_bytes()[: 2000 if name in torn else None])
        return str(tmp_path / folder)

    return under


def names(paths, out):
    return [path.relative_to(out).as_posix() for path in paths]


def test_clips_show_what_the_film_shows_at_their_time(sets, lay, tmp_path):
    source, out = lay("films", "in/a.mkv"), tmp_path / "out"
    made = sets.build("dataset", "folder", source=source, share=0.0, **SMALL)
    paths = made.prepare(out)
    assert names(paths, out) == ["in/a-000.mkv", "in/a-001.mkv", "in/a-002.mkv"]
    for n, path in enumerate(paths):
        video = VideoFormat(10, 16, 16).read(path, Fraction(0), Fraction(1, 2))
        assert (video.mean((1, 2, 3)) - (5 * n + torch.arange(5)) / 16).abs().max() < 0.01
        sound = AudioFormat(16000).read(path, Fraction(0), Fraction(1, 2))
        loudness = sound.unflatten(0, (5, -1)).square().mean(1).mul(2).sqrt()
        assert (loudness - (n / 2 + 0.05 + torch.arange(5) / 10) / 1.6).abs().max() < 0.05


def test_preparing_again_makes_only_what_is_missing_and_another_set_is_refused(sets, lay, tmp_path):
    source, out = lay("films", "a.mkv", "b.mkv"), tmp_path / "out"
    before = sets.build("dataset", "folder", source=source, share=0.0, **SMALL).prepare(out)
    before[1].unlink()
    os.utime(before[0], (1, 1))
    again = sets.build("dataset", "folder", source=source, share=0.0, workers=2, **SMALL).prepare(out)
    assert again == before
    assert before[1].exists()
    assert before[0].stat().st_mtime == 1
    for other, difference in (
        ({"size": 32}, "size is 16, expected 32"),
        ({"split": "held_out", "share": 0.9}, "split is"),
    ):
        with pytest.raises(MediaError, match=difference):
            sets.build("dataset", "folder", source=source, **{"share": 0.0, **SMALL, **other}).prepare(out)
    with pytest.raises(MediaError, match="choose a folder outside"):
        sets.build("dataset", "folder", source=source, **SMALL).prepare(tmp_path / "films" / "out")
    assert json.loads((out / "prepared.json").read_text())["seconds"] == "1/2"


def test_another_film_of_the_same_name_and_one_that_is_held_out_now_are_refused(sets, lay, tmp_path):
    """Else the clips of the film before would stay, and be trained on."""
    source, out = lay("films", "a.mkv", "b.mkv"), tmp_path / "out"

    def folder(source=source, **others):
        return sets.build("dataset", "folder", source=source, **{"share": 0.0, **SMALL, **others})

    before = folder().prepare(out)
    (tmp_path / "films" / "c.mkv").write_bytes((tmp_path / "films" / "a.mkv").read_bytes())
    assert folder().prepare(out)[: len(before)] == before, "a film may be added"
    (tmp_path / "list.txt").write_text("b.mkv\n")
    with pytest.raises(MediaError, match="it has clips of b.mkv, which is not chosen now"):
        folder(held_out=str(tmp_path / "list.txt")).prepare(out)
    other = Path(lay("others", "a.mkv", "b.mkv", "c.mkv"))
    with (other / "a.mkv").open("ab") as file:
        file.write(b"more")
    with pytest.raises(MediaError, match="a.mkv had .* bytes and has"):
        folder(str(other)).prepare(out)
    with pytest.raises(MediaError, match="belongs to the chosen part"):
        folder(split="held_out").prepare(tmp_path / "none")


def test_what_cannot_be_read_is_left_out_and_said(sets, lay, tmp_path, capsys):
    source, out = lay("films", "a.mkv", torn=["b.mkv"]), tmp_path / "out"
    (tmp_path / "films" / "c.mp4").write_text("no film")
    paths = sets.build("dataset", "folder", source=source, share=0.0, **SMALL).prepare(out)
    assert names(paths, out) == ["a-000.mkv", "a-001.mkv", "a-002.mkv"]
    assert {path.name for path in out.iterdir()} == {*names(paths, out), "prepared.json"}
    said = [line for line in capsys.readouterr().err.splitlines() if "left out: " in line]
    assert len(said) == 2
    assert "b.mkv" in said[0]
    assert "c.mp4" in said[1]
    paths = sets.build("dataset", "folder", source=source, share=0.0, **{**SMALL, "seconds": 9}).prepare(tmp_path / "o")
    assert paths == []
    assert "too short: 1.6 s; a clip needs 9 s" in capsys.readouterr().err


def test_a_folder_is_split_by_chance_or_by_list(sets, tmp_path):
    source = tmp_path / "films"
    source.mkdir()
    for n in range(120):
        (source / f"{n}.mp4").touch()

    def part(split, **options):
        return set(sets.build("dataset", "folder", source=str(source), split=split, **options).chosen())

    train, held_out = part("train", share=0.2), part("held_out", share=0.2)
    assert (len(train | held_out), len(train & held_out)) == (120, 0)
    assert 24 - 5 * 4.4 < len(held_out) < 24 + 5 * 4.4  # five standard deviations
    assert part("held_out", share=0.2, seed=1) != held_out
    for n in range(120, 130):
        (source / f"{n}.mp4").touch()
    assert part("train", share=0.2) >= train
    assert part("held_out", share=0.2) >= held_out

    (tmp_path / "list.txt").write_text("7\n12.mp4\n\n")
    assert part("held_out", held_out=str(tmp_path / "list.txt")) == {"7.mp4", "12.mp4"}
    assert len(part("train", held_out=str(tmp_path / "list.txt"))) == 128
    (tmp_path / "list.txt").write_text("7\ntwelve\n")
    with pytest.raises(MediaError, match=r"list\.txt names 'twelve', which is not in"):
        part("train", held_out=str(tmp_path / "list.txt"))
    (source / "7.mkv").touch()
    with pytest.raises(MediaError, match=r"7\.mkv and 7\.mp4 differ only in their suffix"):
        sets.build("dataset", "folder", source=str(source), share=0.0, **SMALL).prepare(tmp_path / "out")


def test_aist_goes_by_its_lists_and_one_camera(sets, lay, tmp_path, capsys):
    dances = [
        "gBR_sBM_{}_d04_mBR0_ch01",
        "gWA_sFM_{}_d27_mWA2_ch21",
        "gPO_sBM_{}_d10_mPO1_ch02",
        "gJB_sBM_{}_d07_mJB3_ch05",
    ]
    films = [f"{dance.format(camera)}.mp4" for dance in dances[:3] for camera in ("c01", "c02")]
    source, annotations = lay("videos", *films), tmp_path / "annotations"
    (annotations / "splits").mkdir(parents=True)
    everywhere = [dance.format("cAll") for dance in dances]
    (annotations / "splits" / "crossmodal_train.txt").write_text(
        "\n".join([everywhere[1], everywhere[2], everywhere[3]])
    )
    (annotations / "splits" / "crossmodal_test.txt").write_text(everywhere[0] + "\n")
    (annotations / "ignore_list.txt").write_text(everywhere[2])
    shared = {"source": source, "annotations": str(annotations), **SMALL}
    paths = sets.build("dataset", "aist", **shared).prepare(tmp_path / "train")
    assert names(paths, tmp_path / "train") == [f"gWA_sFM_c01_d27_mWA2_ch21-00{n}.mkv" for n in range(3)]
    assert "gJB_sBM_c01_d07_mJB3_ch05.mp4: there is no such file" in capsys.readouterr().err
    paths = sets.build("dataset", "aist", split="test", camera="c02", **shared).prepare(tmp_path / "test")
    assert names(paths, tmp_path / "test") == [f"gBR_sBM_c02_d04_mBR0_ch01-00{n}.mkv" for n in range(3)]
    with pytest.raises(MediaError, match=r"pose_val\.txt, a list of names, cannot be read"):
        sets.build("dataset", "aist", split="val", task="pose", **shared).prepare(tmp_path / "val")


def test_landscape_goes_by_its_folders(sets, lay, tmp_path):
    source = lay("landscape", "train/waterfall/x_1.mp4", "train/y.mp4", "test/z.mp4")
    made = sets.build("dataset", "landscape", source=source, stride="1", **SMALL)
    paths = made.prepare(tmp_path / "train")
    assert names(paths, tmp_path / "train") == [f"{name}-00{n}.mkv" for name in ("waterfall/x_1", "y") for n in (0, 1)]
    (path, *_) = sets.build("dataset", "landscape", source=source, split="test", **SMALL).prepare(tmp_path / "test")
    assert path.name == "z-000.mkv"
    with pytest.raises(MediaError, match="is not a folder"):
        sets.build("dataset", "landscape", source=str(tmp_path / "train"), **SMALL).prepare(tmp_path / "out")


def test_what_cannot_be_meant_is_refused(sets, tmp_path):
    for name, wrong, part in (
        ("landscape", {"split": "held_out"}, "split"),
        ("aist", {"annotations": "x", "camera": "cAll"}, "camera"),
        ("folder", {"share": 1.5}, "share"),
        ("folder", {"size": 0}, "positive"),
        ("folder", {"suffix": ".wav"}, "suffix"),
    ):
        with pytest.raises(PluginError, match=part):
            sets.build("dataset", name, source=str(tmp_path), **wrong)


def test_by_default_a_clip_is_what_the_papers_recipes_take(host, sets, tmp_path):
    from mmseqdiff.protocols import Dataset

    for name, recipe in (("landscape", "avdit-landscape"), ("folder", "avdit-aist")):
        made, values = sets.build("dataset", name, source=str(tmp_path)), host.build("recipe", recipe)
        video, audio = values.modalities["video"].parameters, values.modalities["audio"].parameters
        assert isinstance(made, Dataset)
        assert (made.seconds, made.frame_rate, made.size) == (values.seconds, video["frame_rate"], video["height"])
        assert made.sample_rate == audio["sample_rate"]


def test_a_film_that_broke_off_and_is_held_out_now_is_refused_too(sets, lay, tmp_path, monkeypatch):
    source, out = lay("films", "a.mkv", "b.mkv"), tmp_path / "out"
    written = []

    def breaks_off(path, *rest):
        written.append(path)
        assert "b.mkv" in json.loads((out / "prepared.json").read_text())["files"], "noted first, whatever comes"
        if len(written) == 5:
            raise MediaError("b.mkv is torn")
        write_clip(path, *rest)

    monkeypatch.setattr(clips, "write_clip", breaks_off)
    sets.build("dataset", "folder", source=source, share=0.0, **SMALL).prepare(out)
    monkeypatch.undo()
    assert sorted(path.name for path in out.glob("b-*")) == ["b-000.mkv"]
    (tmp_path / "list.txt").write_text("b.mkv\n")
    with pytest.raises(MediaError, match="it has clips of b.mkv, which is not chosen now"):
        sets.build("dataset", "folder", source=source, share=0.0, held_out=str(tmp_path / "list.txt"), **SMALL).prepare(
            out
        )
    sets.build("dataset", "folder", source=source, share=0.0, **SMALL).prepare(out)
    assert len(list(out.glob("b-*"))) == 3, "a film that broke off may be mended"


def test_a_film_that_gave_no_clip_may_be_held_out_later(sets, lay, tmp_path):
    source, out = lay("films", "a.mkv"), tmp_path / "out"
    (tmp_path / "films" / "c.mp4").write_text("no film")
    sets.build("dataset", "folder", source=source, share=0.0, **SMALL).prepare(out)
    (tmp_path / "list.txt").write_text("c.mp4\n")
    sets.build("dataset", "folder", source=source, share=0.0, held_out=str(tmp_path / "list.txt"), **SMALL).prepare(out)
