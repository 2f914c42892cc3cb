import json
import subprocess
import sys
from fractions import Fraction

import mmseqdiff_monologues.dataset as dataset_module
import numpy as np
import pytest
import torch
from mmseqdiff_monologues.clips import Monologue, Truth, truth_path
from mmseqdiff_monologues.dataset import Monologues
from mmseqdiff_monologues.metrics import measure_opening

import mmseqdiff
from mmseqdiff.data.audio import AudioFormat
from mmseqdiff.data.video import VideoFormat
from mmseqdiff.errors import MediaError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("monologues")
    Monologues(3, seconds=Fraction(2)).prepare(folder)
    return folder


def signals(folder):
    """What every clip of a folder shows and sounds like. x264 does not promise the same bytes for the same pictures."""
    return {
        path.name: (
            VideoFormat(8, 64, 64).read(path, Fraction(0), Fraction(2)),
            AudioFormat(16000).read(path, Fraction(0), Fraction(2)),
            truth_path(path).read_bytes(),
        )
        for path in sorted(folder.glob("*.mp4"))
    }


def assert_same_clips(made, expected):
    for name, (video, audio, truth) in made.items():
        assert -10 * torch.log10((video - expected[name][0]).square().mean() + 1e-12) > 40, f"{name}, dB"
        assert torch.equal(audio, expected[name][1]), name
        assert truth == expected[name][2], name


def test_the_same_seed_makes_the_same_clip():
    first, again, other = Monologues(2)[1], Monologues(9)[1], Monologues(2, split="held_out")[1]
    assert torch.equal(first.video, again.video)
    assert torch.equal(first.audio, again.audio)
    assert first.truth == again.truth
    assert first.video.shape == (32, 64, 64, 3)
    assert first.audio.shape == (64000,)
    assert not torch.equal(first.video, other.video)
    assert not torch.equal(first.audio, other.audio)


def test_files_hold_what_was_made_and_its_truth(folder):
    made = Monologues(3, seconds=Fraction(2))
    for index in range(3):
        path, clip = folder / f"{index:06d}.mp4", made[index]
        truth = Truth.read(truth_path(path))
        assert truth == clip.truth
        video = VideoFormat(8, 64, 64).read(path, Fraction(0), Fraction(2))
        audio = AudioFormat(16000).read(path, Fraction(0), Fraction(2))
        assert video.shape == clip.video.shape
        assert -10 * torch.log10((video - clip.video).square().mean()) > 30  # dB
        assert np.corrcoef(audio, clip.audio)[0, 1] > 0.98
        assert np.corrcoef(measure_opening(video), truth.opening)[0, 1] > 0.98
        part = truth.mouth_opening(Fraction(1, 2), Fraction(1), Fraction(8))
        assert part.tolist() == pytest.approx(list(truth.opening[4:12]))
        with pytest.raises(ValueError, match="do not lie in a monologue of 2 s"):
            truth.mouth_opening(Fraction(3, 2), Fraction(1), Fraction(8))


def test_any_rate_and_size(tmp_path):
    made = Monologues(1, seconds=Fraction(1), size=50, frame_rate=Fraction(25, 2), sample_rate=22050)
    (path,) = made.prepare(tmp_path)
    assert VideoFormat(Fraction(25, 2), 50, 50).read(path, Fraction(0), Fraction(24, 25)).shape == (12, 50, 50, 3)
    assert AudioFormat(22050).read(path, Fraction(0), Fraction(1)).shape == (22050,)
    assert len(Truth.read(truth_path(path)).opening) == 12


def test_preparing_again_makes_only_what_is_missing(folder, monkeypatch):
    made = Monologues(5, seconds=Fraction(2))
    before = signals(folder)
    (folder / "000001.mp4").unlink()
    (folder / "000002.json").unlink()
    written = []
    make = Monologue.make
    monkeypatch.setattr(
        dataset_module.Monologue, "make", lambda seed, format: written.append(seed) or make(seed, format)
    )
    paths = made.prepare(folder)
    assert written == [made.clip_seed(index) for index in (1, 2, 3, 4)]
    assert [path.name for path in paths] == [f"{index:06d}.mp4" for index in range(5)]
    assert all(path.exists() and truth_path(path).exists() for path in paths)
    after = signals(folder)
    assert before.keys() <= after.keys()
    assert_same_clips({name: after[name] for name in before}, before)
    assert len(list(folder.iterdir())) == 10


def test_a_folder_of_another_set_is_refused_and_left_alone(folder):
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    for other in (Monologues(3, seconds=Fraction(2), split="held_out"), Monologues(3, seconds=Fraction(3))):
        with pytest.raises(MediaError, match="another set of monologues"):
            other.prepare(folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_an_interrupted_clip_leaves_no_truth_behind(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mmseqdiff_monologues.clips.write_clip", stop)
    with pytest.raises(KeyboardInterrupt):
        Monologues(1, seconds=Fraction(1)).prepare(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", json.dumps({"seed": 1})])
def test_a_damaged_truth_is_named(tmp_path, content):
    (tmp_path / "000000.json").write_text(content)
    with pytest.raises(MediaError, match=r"000000\.json"):
        Truth.read(tmp_path / "000000.json")


@pytest.mark.parametrize(
    "wrong", [{"count": 0}, {"split": "test"}, {"seed": -1}, {"size": 0}, {"seconds": Fraction(0)}, {"says": "poems"}]
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"at least|split|must lie|positive|poems"):
        Monologues(**{"count": 1, **wrong})


@pytest.mark.slow
def test_several_processes_make_the_same_clips(folder, tmp_path):
    Monologues(3, seconds=Fraction(2), workers=2).prepare(tmp_path)
    made = signals(tmp_path)
    assert len(made) == 3
    assert_same_clips(made, signals(folder))


def test_the_plugin_brings_a_data_set_and_three_metrics():
    host = mmseqdiff.load_plugins()
    assert host.build("dataset", "monologues", count=2, frame_rate="25/2").frame_rate == Fraction(25, 2)
    for name in ("mouth_alignment", "identity_consistency", "word_error"):
        assert callable(host.build("metric", name))


def test_importing_the_plugin_loads_nothing_heavy():
    code = "import sys, mmseqdiff_monologues; print([name for name in ('torch', 'av') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
