"""`mmseqdiff evaluate`, from files to a report."""

import json
import sys

import pytest
import tiny

from mmseqdiff import cli


@pytest.fixture(scope="module")
def model(host, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    clips = tiny.tiny_clips(host, folder / "clips")
    return clips, tiny.tiny_run(host, folder, clips)


@pytest.fixture
def evaluate(model, monkeypatch, capsys):
    def run(*arguments, folder=model[0]):
        monkeypatch.setattr(sys, "argv", ["mmseqdiff", "evaluate", str(folder), "--model", str(model[1]), *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, capsys.readouterr()

    return run


def test_a_report_holds_every_clip_and_what_it_takes_to_repeat_it(evaluate, tmp_path):
    report = tmp_path / "made" / "report.json"
    code, output = evaluate("--task", "a2v", "--task", "continue", "--steps", "2", "--out", str(report))
    assert code == 0
    for shown in ("mouth_alignment", "identity_consistency", "correlation ↑", "distance ↓"):
        assert shown in output.out
    code, again = evaluate("--task", "a2v", "--task", "continue", "--steps", "2", "--json")
    found = json.loads(again.out)
    assert found == json.loads(report.read_text(encoding="utf-8")), "the same again, to the last digit"
    protocol = found["protocol"]
    assert protocol["samples"]["steps"] == {"a2v": 2, "continue": 2}
    assert protocol["given seconds"]["continue"] == {"video": ["0-5/8"], "audio": ["0-5/8"]}
    assert protocol["data"]["files"] == ["000000.mp4", "000001.mp4", "000002.mp4"]
    assert len(protocol["model"]["weights"]) == 64
    for test in (found["conditional loss"]["a2v"], found["samples"]["continue"]["identity_consistency"]["distance"]):
        assert len(test["per clip"]["own"]) == len(test["per clip"]["another's"]) == test["clips"] == 3
        assert 0 < test["p"] <= 1
    assert set(found["conditional loss"]["a2v"]["by level"]) == {"0.1", "0.3", "0.5", "0.7", "0.9"}


def test_losses_alone_need_no_samples(evaluate):
    code, output = evaluate("--num", "0", "--json")
    found = json.loads(output.out)
    assert code == 0
    assert found["samples"] == {}
    assert list(found["conditional loss"]) == ["a2v", "continue", "inpaint", "v2a"]


def test_what_cannot_be_evaluated_is_refused(evaluate, model, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "only.mp4").write_bytes((model[0] / "000000.mp4").read_bytes())
    (tmp_path / "one" / "broken.mp4").write_bytes(b"nothing")
    for arguments, folder, message in (
        (("--task", "joint"), model[0], "gives nothing"),
        (("--num", "1"), model[0], "at least 2 clips"),
        ((), tmp_path / "one", "holds 1 clip that can be used"),
    ):
        code, output = evaluate(*arguments, folder=folder)
        assert code == 2
        assert message in output.err
