"""``mmseqdiff plan``: any plan by name, as text, as JSON and as a picture."""

import json
import sys

import pytest

from mmseqdiff import cli


@pytest.fixture
def shown(monkeypatch, capsys):
    """Runs ``mmseqdiff plan`` on the demo's recipe; returns the exit code and what it printed."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["mmseqdiff", "plan", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


def test_both_tracks_are_shown_cut_at_the_same_instants(shown, tmp_path):
    code, text, _ = shown("continue", "--plan", "autoregressive:steps=4", "--png", tmp_path / "plan.png")
    assert code == 0
    assert "12 steps, 12 network evaluations of one clip" in text
    half = [line.split()[-1] for line in text.splitlines() if line.split()[:2] == ["step", "6"]]
    assert half == ["==·▒█", "=" * 31 + "·" * 25 + "▒" * 25 + "█" * 25]
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")


def test_steps_are_those_of_a_cell_and_evaluations_those_of_the_network(shown):
    def counts(*words):
        code, text, _ = shown(*words, "--json")
        assert code == 0
        said = json.loads(text)
        return said["steps"], said["evaluations"]

    assert counts("joint", "--plan", "block_autoregressive", "--steps", 10) == (30, 30)
    assert counts("joint", "--plan", "cascade:leads.audio=1/2", "--steps", 10) == (15, 15)
    assert counts("continue", "--plan", "pyramid:uncertainty=5/2,steps=10") == (15, 15)
    assert counts("continue", "--plan", "repaint:steps=6,jump=2,resamples=3") == (18, 14)  # four rows only re-noise
    assert counts("joint", "--plan", "full:steps=3", "--guidance", "cfg") == (3, 3)
    assert counts("a2v", "--plan", "full:steps=3", "--guidance", "stabilise:guidance=cfg") == (3, 6)
    assert "4 of the steps re-noise cells" in shown("joint", "--plan", "repaint:steps=6,jump=2,resamples=3")[1]


def test_a_plan_of_ones_own_from_a_file(shown, tmp_path):
    file = tmp_path / "plan.json"
    file.write_text(json.dumps([1, {"video": [1, 1, 0.5, 0.5, 0], "audio": 0.25}, 0]))
    code, text, _ = shown("continue", "--plan", f"matrix:file={file},top=1")
    assert code == 0
    assert "==▒▒·" in text
    file.write_text(json.dumps([1, {"video": [1, 1], "audio": 0.25}, 0]))
    code, _, said = shown("continue", "--plan", f"matrix:file={file},top=1")
    assert (code, said) == (
        2, "mmseqdiff: the plan 'matrix' does not fit: row 1 of the matrix has 2 levels for 'video', which has 5 segments\n",
    )  # fmt: skip


def test_json_holds_the_matrix_of_every_step(shown):
    found = json.loads(shown("continue", "--steps", "3", "--json")[1])
    levels, given = found["levels"], found["given"]
    assert len(levels) == 4
    assert {name: len(row) for name, row in levels[0].items()} == {"video": 5, "audio": 106}
    for name, cells in given.items():
        assert [row == 0 for row in levels[0][name]] == cells
        assert not any(levels[-1][name])


def test_a_plan_that_is_not_there_or_does_not_fit_is_refused(shown):
    for plan, message in (
        ("pyramids", "did you mean 'pyramid'"),
        ("cascade", "needs 'leads'"),
        ("cascade:leads.pose=1", "the plan 'cascade' does not fit: the layout has no modality 'pose'"),
        ("ar_step:steps=20,behind=2,window=3", "'behind' must be at least 7"),
        ("autoregressive:step=3", "did you mean 'steps'"),
    ):
        code, _, said = shown("joint", "--plan", plan)
        assert code == 2
        assert message in said
