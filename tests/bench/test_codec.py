"""The bench of codecs: what it counts, what it says of what is not installed, and that the competitors are as large."""

import json

import pytest
import torch
from typer.testing import CliRunner

from mmseqdiff.bench import codec as bench
from mmseqdiff.bench.codec import COMPETITORS, Contender, Size, bench_codec, build, count
from mmseqdiff.bench.codec_report import CodecReport, Measured
from mmseqdiff.cli import app
from mmseqdiff.errors import UserError

SMALL = Size(channels=8, blocks=1, pixels=16, frames=5, audio_seconds=1)


def test_operations_are_two_for_every_multiplication_also_of_what_onednn_does_at_once():
    convolution = torch.nn.Conv1d(3, 5, 4)
    lstm = torch.nn.LSTM(6, 7)
    assert count(Contender(convolution, convolution, lambda x: x), torch.rand(1, 3, 13)) == 2 * 3 * 5 * 4 * 10
    with torch.no_grad():
        counted = count(Contender(lstm, lstm, lambda x: x), torch.rand(9, 2, 6))
    assert counted == 2 * 4 * 7 * (6 + 7) * 9 * 2


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in COMPETITORS for name in COMPETITORS[kind]])
def test_competitors_give_a_clip_back_in_its_own_shape(kind, name):
    pytest.importorskip(COMPETITORS[kind][name])
    made, clip = build(kind, name, SMALL), torch.rand(1, *SMALL.clip(kind))
    assert made.decode(made.encode(clip)).shape == clip.shape
    assert not made.module.training


@pytest.mark.parametrize("kind", bench.KINDS)
def test_ours_streams_the_long_clip_to_its_end(kind):
    made, seen = build(kind, bench.OURS[kind], SMALL), []
    decode = made.module.decode_chunk
    made.module.decode_chunk = lambda z, state=None: seen.append(decode(z, state)[0].shape[1]) or decode(z, state)
    with torch.no_grad():
        made.long(SMALL.clip(kind, 4))
    assert sum(seen) == SMALL.clip(kind, 4)[0]
    assert max(seen) < SMALL.clip(kind, 4)[0] / 3


def test_the_command_leaves_out_what_is_not_installed_and_prints_ratios(monkeypatch):
    monkeypatch.setattr(
        bench, "COMPETITORS", {"video": {"diffusers AutoencoderKLMagvit": "no_such_package"}, "audio": {}}
    )
    words = ["bench", "codec", "--channels", "8", "--blocks", "1", "--pixels", "8", "--repeats", "1", "--seconds", "0"]
    found = CliRunner().invoke(app, [*words, "--kind", "video", "--json"])
    assert found.exit_code == 0, found.output
    report = json.loads(found.stdout)
    assert report["not installed"] == ["diffusers AutoencoderKLMagvit"]
    (ours,) = report["codecs"]
    assert (ours["name"], ours["memory"], ours["ratios to ours"]["seconds per operation"]) == ("magvit2", None, 1)
    found = CliRunner().invoke(app, [*words, "--kind", "video"])
    assert "not installed, so left out: diffusers AutoencoderKLMagvit" in found.stdout


def test_ratios_are_of_the_fastest_repeats_and_to_ours():
    ours = Measured("audio", "soundstream", 10, 2 * 10**9, (3.0, 2.0), 50)
    other = Measured("audio", "other", 10, 10**9, (5.0, 3.0, 4.0), 200)
    report = CodecReport((ours, other), (), {}, 60, 1)
    assert report.ratios(other) == {"seconds": 1.5, "seconds per operation": 3.0, "memory": 4.0}
    assert report.ratios(ours)["memory"] == 1


@pytest.mark.slow
def test_the_memory_of_a_long_clip_is_that_of_a_short_one():
    """To 16 MiB, of which allocators leave some now and then; a codec that has it whole takes hundreds more."""
    size = Size(channels=8, pixels=8)
    found = [bench_codec(["audio"], size, 1, seconds).measured for seconds in (5, 60)]
    for short, long in zip(*found):
        assert (long.memory < short.memory + 2**24) == (long.name == "soundstream")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kind", "smell"], "no kind of codec 'smell' to bench; there are video, audio"),
        (["--pixels", "12"], "--pixels must be a positive multiple of 8, got 12"),
        (["--repeats", "0"], "--repeats must be a positive number, got 0"),
        (["--seconds", "-1"], "--seconds must not be negative"),
    ],
)
def test_bad_input_is_refused(options, message):
    found = CliRunner().invoke(app, ["bench", "codec", *options])
    assert isinstance(found.exception, UserError)
    assert message in str(found.exception)
