"""Recordings from the game itself; where it is not installed there is nothing to test."""

import sys
from fractions import Fraction

import pytest
import torch
from mmseqdiff_vizdoom import game as game_module
from mmseqdiff_vizdoom.dataset import FORMATS, VizDoom
from mmseqdiff_vizdoom.game import open_game, record

from mmseqdiff.errors import MediaError, PluginError

SECONDS = Fraction(36, 35)  # nine steps


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("vizdoom")
    folder = tmp_path_factory.mktemp("vizdoom")
    VizDoom(2, seconds=SECONDS).prepare(folder)
    return folder


@pytest.fixture(scope="module")
def again():
    """The second recording alone, by a game that was just started; then another one, and the second once more."""
    pytest.importorskip("vizdoom")
    data, other = VizDoom(2, seconds=SECONDS), VizDoom(2, seconds=SECONDS, split="held_out")
    with open_game() as game:
        return [record(game, each.key(1), each.steps) for each in (data, other, data)]


def test_a_recording_is_the_same_to_the_last_bit_whatever_was_played_before(folder, again):
    first, other, repeated = again
    for name in ("video", "audio", "actions"):
        assert torch.equal(getattr(first, name), getattr(repeated, name))
    assert not torch.equal(first.video, other.video)
    assert not torch.equal(first.audio, other.audio)
    path = folder / "000001.mkv"
    assert torch.equal(FORMATS["video"].read(path, Fraction(0), SECONDS), first.video)
    assert torch.equal(FORMATS["actions"].read(path, Fraction(0), SECONDS), first.actions)
    mono = FORMATS["audio"].read(path, Fraction(0), SECONDS)
    assert mono.shape == (9 * 4 * 630,)
    torch.testing.assert_close(mono, first.audio.mean(1), atol=1e-4, rtol=0)
    assert (first.audio[:, 0] != first.audio[:, 1]).any(), "it is stereo"


def test_preparing_again_records_only_what_is_missing(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    (folder / "000001.actions").unlink()
    paths = VizDoom(2, seconds=SECONDS).prepare(folder)
    assert [path.name for path in paths] == ["000000.mkv", "000001.mkv"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert (folder / "000000.mkv").stat().st_mtime_ns == times["000000.mkv"]


def test_a_folder_of_another_set_is_refused(folder):
    with pytest.raises(MediaError, match="another set"):
        VizDoom(2, seconds=SECONDS, seed=1).prepare(folder)


def test_a_game_without_sound_is_refused():
    class Silent:
        def __getattr__(self, name):
            return lambda *_: None

        def get_state(self):
            return type("State", (), {
                "game_variables": [0.0, 0.0], "screen_buffer": torch.zeros(192, 256, 3).numpy(),
                "audio_buffer": torch.zeros(2520, 2, dtype=torch.int16).numpy(),
            })  # fmt: skip

    with pytest.raises(PluginError, match="libopenal1"):
        record(Silent(), 0, 2)


def test_without_the_game_the_message_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    with pytest.raises(PluginError, match=r"mmseqdiff-vizdoom\[game\]"):
        VizDoom(1).prepare(tmp_path)


@pytest.mark.parametrize("wrong", [{"count": 0}, {"split": "test"}, {"seconds": Fraction(1, 10)}, {"workers": 0}])
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="at least|split|must be in"):
        VizDoom(**{"count": 1, **wrong})


def test_keys_differ_between_recordings_seeds_and_splits(host):
    sets = [VizDoom(9, seed=seed, split=split) for seed in (0, 1) for split in ("train", "held_out")]
    assert len({data.key(index) for data in sets for index in range(9)}) == 36
    assert host.build("dataset", "vizdoom", count=2, seconds="68/35").steps == 17


def test_every_action_presses_something_of_its_own():
    pressed = game_module._PRESSED
    assert tuple(pressed) == game_module.ACTIONS
    assert len(set(pressed.values())) == len(pressed)
