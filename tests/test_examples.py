"""Every file in examples/ runs as its text says, and shows what it says."""

import runpy
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

import mmseqdiff

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name):
    return runpy.run_path(str(EXAMPLES / name), run_name="example")


def test_every_example_is_tested_here():
    here = Path(__file__).read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES.glob("*.py") if path.name not in here] == []


def test_a_composed_policy_trains_towards_the_best_possible_loss():
    found = load("compose_policy.py")["main"](60)
    assert found["best possible"] < found["after"]
    left = (found["after"] - found["best possible"]) / (found["before"] - found["best possible"])
    assert left < 0.5, "of the excess loss"


def test_a_sampler_of_ones_own_has_order_one():
    errors = load("write_a_sampler.py")["main"]()
    for coarse, fine in zip(errors, errors[1:]):
        assert coarse / fine == pytest.approx(2, rel=0.1)


def test_a_pretrained_codec_is_used_without_a_network():
    pytest.importorskip("mmseqdiff_huggingface")
    pytest.importorskip("diffusers")
    found = load("pretrained_codec.py")["main"]()
    assert found["latents"] == (1, 3, 4, 4, 4)
    assert found["edges"] == [0, 0.125, 0.625, 1.125]
    assert found["pictures"] == (1, 9, 32, 32, 3)
    assert found["causal"]


def test_given_cells_have_their_properties():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLES / "given_cells.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_a_long_clip_is_written_to_the_last_frame_and_sample(tmp_path):
    out = tmp_path / "long.mp4"
    written = load("sample_long.py")["main"](4, out, steps=2)
    assert written == {"video": 32, "audio": 64000}, "8 frames and 16,000 samples a second"
    signal = mmseqdiff.load().assembly.modalities["video"].format.read(out, Fraction(0), Fraction(4))
    assert signal.shape[0] == 32
