"""What `mmseqdiff reconstruct` measures and writes."""

import json
import math
import sys
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from mmseqdiff import cli, random
from mmseqdiff.cli.reconstruct import _summary, _text
from mmseqdiff.data.audio import AudioFormat
from mmseqdiff.data.media import write_clip
from mmseqdiff.data.video import VideoFormat
from mmseqdiff.errors import PluginError
from mmseqdiff.evaluate.reconstruction import Reconstruction, judge, write_beside
from mmseqdiff.train.codec_folder import save_codec

VIDEO, AUDIO = VideoFormat(rate=8, height=16, width=24), AudioFormat(rate=16000)
COMPONENTS = {
    "video": {
        "name": "video",
        "frame_rate": "8",
        "height": 16,
        "width": 24,
        "codec": {"name": "magvit2", "channels": 4, "blocks": 1, "latent_channels": 3},
    },
    "audio": {"name": "audio", "codec": {"name": "soundstream", "channels": 2, "latent_channels": 3}},
}


def pictures(frames=3, seed=0):
    return torch.rand(frames, 16, 24, 3, generator=torch.Generator().manual_seed(seed))


def test_input_is_left_and_reconstruction_right_and_sounds_are_two_files(tmp_path):
    x, y = pictures(8), pictures(8, seed=1)
    sound = 0.1 * random.normal(random.example_keys(0, range(2)), "sound", (16000,))
    found = {"video": Reconstruction(x, y, VIDEO, {}), "audio": Reconstruction(sound[0], sound[1], AUDIO, {})}
    files = write_beside(tmp_path / "both.mkv", found)
    assert [file.name for file in files] == ["both.mkv", "both.input.mkv"]
    wide = VideoFormat(rate=8, height=16, width=48).read(files[0], Fraction(0), Fraction(1))
    torch.testing.assert_close(wide, torch.cat([x, y], dim=2), rtol=0, atol=3e-3)
    for file, expected in zip(files, reversed(sound)):
        torch.testing.assert_close(AUDIO.read(file, Fraction(0), Fraction(1)), expected, rtol=0, atol=1e-4)


@pytest.fixture
def codecs(host, tmp_path):
    torch.manual_seed(0)
    folders = []
    for name, component in COMPONENTS.items():
        parameters = {key: value for key, value in component.items() if key != "name"}
        codec = host.build("modality", component["name"], **parameters).codec
        save_codec(codec, tmp_path / name, {"modality": name, "component": component})
        folders.append(tmp_path / name)
    return folders


@pytest.fixture
def clip(tmp_path):
    """1.75 s: 14 frames, of which the codec takes 13."""
    sound = 0.1 * random.normal(random.example_keys(0, range(1)), "sound", (28000,))[0]
    write_clip(tmp_path / "clip.mkv", {"video": pictures(14), "audio": sound}, {"video": VIDEO, "audio": AUDIO})
    return tmp_path / "clip.mkv"


def run(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["mmseqdiff", "reconstruct", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0, capsys.readouterr()


def test_the_command_writes_both_codecs_reconstructions_and_their_numbers(codecs, clip, tmp_path, monkeypatch, capsys):
    words = (clip, tmp_path / "out.mkv", "--codec", codecs[0], "--codec", codecs[1])
    code, output = run(monkeypatch, capsys, *words, "--json")
    assert code == 0
    quality = json.loads(output.out)
    assert set(quality["video"]) == {"seconds", "psnr", "ssim"}
    assert set(quality["audio"]) == {"seconds", "mel", "si_sdr"}
    wide = VideoFormat(rate=8, height=16, width=48)
    assert round(wide.duration(tmp_path / "out.mkv") * 8) == 13
    first = Fraction(0), Fraction(1)
    torch.testing.assert_close(
        wide.read(tmp_path / "out.mkv", *first)[:, :, :24], VIDEO.read(clip, *first), rtol=0, atol=3e-3
    )
    code, output = run(monkeypatch, capsys, *words, "--seconds", 1)
    assert code == 0
    assert "video: seconds 0.625, psnr" in output.out, "5 of 8 frames"
    assert "audio: seconds 1, si_sdr" in output.out


@pytest.fixture
def folder(tmp_path):
    """Two clips, one of them in a folder of its own, a sound without a picture, and a clip too short for the codec."""
    (tmp_path / "clips" / "more").mkdir(parents=True)
    for seed, (name, frames) in enumerate({"a.mkv": 14, "more/b.mkv": 14, "short.mkv": 1}.items()):
        sound = 0.1 * random.normal(random.example_keys(seed, range(1)), "sound", (frames * 2000,))[0]
        signals = {"video": pictures(frames, seed), "audio": sound[: 28000 if frames > 1 else 100]}
        write_clip(tmp_path / "clips" / name, signals, {"video": VIDEO, "audio": AUDIO})
    write_clip(tmp_path / "clips" / "sound.wav", {"audio": sound}, {"audio": AUDIO})
    return tmp_path / "clips"


def test_of_a_folder_it_gives_the_mean_over_files_and_says_what_is_left_out(
    codecs, folder, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    words = ("--codec", codecs[0], "--codec", codecs[1])
    code, output = run(monkeypatch, capsys, folder, out, *words, "--json")
    assert code == 0
    assert all(f"left out: {folder / name}" in output.err.replace("\n", "") for name in ("sound.wav", "short.mkv"))
    found, singles = json.loads(output.out), []
    for path in (folder / "a.mkv", folder / "more" / "b.mkv"):
        singles.append(json.loads(run(monkeypatch, capsys, path, tmp_path / "one.mp4", *words, "--json")[1].out))
    for name, values in found.items():
        for key, value in values.items():
            first, second = (single[name][key] for single in singles)
            assert value["files"] == 2
            assert value["mean"] == pytest.approx((first + second) / 2)
            assert value["standard error"] == pytest.approx(abs(first - second) / 2)
    assert {path.relative_to(out).as_posix() for path in out.rglob("*.mp4")} == {
        "a.mp4", "a.input.mp4", "more/b.mp4", "more/b.input.mp4",
    }  # fmt: skip
    code, output = run(monkeypatch, capsys, folder, out, *words)
    assert code == 0
    assert f"psnr {found['video']['psnr']['mean']:.4g} ± {found['video']['psnr']['standard error']:.2g}" in output.out
    assert "video, mean of 2 files ± standard error: seconds 1.625 ± 0" in output.out


def test_infinite_and_missing_values_are_summed_up():
    found = _summary([{"psnr": math.inf, "error": 2.0}, {"psnr": 20.0}])
    assert found["psnr"]["mean"] == math.inf
    assert found["error"] == {"mean": 2.0, "files": 1}
    assert _text(found["error"], 2) == "2 (1 files)"


def test_no_file_is_lost(codecs, clip, folder, tmp_path, monkeypatch, capsys):
    """Sound is written to a second file, which may be an input or another's output."""
    former = clip.with_name("clip.input.mkv")
    former.write_bytes(clip.read_bytes())
    (folder / "more" / "b.input.mkv").write_bytes(clip.read_bytes())
    (tmp_path / "file").write_bytes(b"mine")
    for source, out, message in (
        (clip, clip, "which is an input"),
        (former, clip.with_name("clip.mkv"), "which is an input"),
        (folder, tmp_path / "out", "written for"),
        (folder, folder / "out", "lies in IN"),
        (folder, tmp_path / "file", "is a file"),
    ):
        code, output = run(monkeypatch, capsys, source, out, "--codec", codecs[1])
        assert code == 2
        assert message in output.err
    assert former.read_bytes() == clip.read_bytes()
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_metric_that_fails_is_said_and_costs_nothing_else(codecs, clip, host, tmp_path, monkeypatch, capsys):
    def judge(*arguments):
        raise PluginError("pip install something")

    monkeypatch.setattr("mmseqdiff.evaluate.reconstruction.judge", judge)
    code, output = run(monkeypatch, capsys, clip, tmp_path / "out.mkv", "--codec", codecs[0])
    assert code == 0
    assert "not measured: pip install something" in output.out
    assert "psnr" in output.out
    assert (tmp_path / "out.mkv").exists()


def test_metrics_judge_a_reconstruction_beside_the_other_signals():
    """As if the one had been generated and the others given; those that have nothing to say are passed over."""

    class Seen:
        better: ClassVar = {"error": "lower"}

        def __call__(self, comparison):
            if comparison.given["video"].all():
                return {}
            assert not comparison.given["video"].any()
            assert comparison.given["audio"].all()
            assert (comparison.file, comparison.start) == (Path("a.mkv"), Fraction(1))
            assert torch.equal(comparison.generated["audio"], comparison.real["audio"])
            return {"error": float((comparison.generated["video"] - comparison.real["video"]).abs().max())}

    x, sound = pictures(), torch.zeros(6000)
    found = {"video": Reconstruction(x, x + 0.25, VIDEO, {}), "audio": Reconstruction(sound, sound, AUDIO, {})}
    judged = judge({"seen": Seen()}, found, Path("a.mkv"), Fraction(1))
    assert judged["audio"] == {}
    assert judged["video"] == {"seen/error": pytest.approx(0.25)}


def test_a_models_codecs_are_all_tried(clip, tmp_path, monkeypatch, capsys):
    words = (clip, tmp_path / "out.mp4", "--model", "avdit-demo", "--seconds", 1, "--json")
    code, output = run(monkeypatch, capsys, *words)
    assert code == 0
    assert list(json.loads(output.out)) == ["video", "audio"]
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.input.mp4", "out.mp4"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "either --codec FOLDER, once or more, or --model RUN"),
        (("--codec", "nowhere"), "nowhere is no checkpoint"),
        (("--codec", 1, "--start", "1.75"), "too short for the codec"),
    ],
)
def test_what_cannot_be_done_is_said(codecs, clip, tmp_path, monkeypatch, capsys, words, message):
    words = [codecs[word] if isinstance(word, int) else word for word in words]
    code, output = run(monkeypatch, capsys, clip, tmp_path / "out.mkv", *words)
    assert code == 2
    assert message in output.err
