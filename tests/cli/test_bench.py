"""`mmseqdiff bench`: what it refuses; what it measures is in ``tests/bench``."""

import sys

import pytest

from mmseqdiff import cli


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--steps", "0"), "--steps must be at least 1"), (("--policy", "monk", "--steps", "1"), "did you mean 'monl'?")],
)
def test_what_cannot_be_benched_is_refused(monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.setattr(sys, "argv", ["mmseqdiff", "bench", "policies", "--out", str(tmp_path / "runs"), *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_narrow_terminal_cuts_no_number_off(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    words = (
        "--sampler",
        "ddim",
        "--task",
        "joint",
        "--plan",
        "full",
        "--steps",
        "2,3,4,5,6,8,10,12,14,16",
        "--evaluations",
        "2",
    )
    monkeypatch.setattr(sys, "argv", ["mmseqdiff", "bench", "exact", *words])
    with pytest.raises(SystemExit):
        cli.main()
    output = capsys.readouterr().out
    assert "evaluations" in output
    assert "…" not in output
