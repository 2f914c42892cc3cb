"""The report of a policy's levels, against what can be said of them without drawing."""

import json
import sys
from fractions import Fraction

import attrs
import pytest
import torch

from mmseqdiff import cli
from mmseqdiff.layout import Layout, Track, uniform_edges
from mmseqdiff.marginals import marginals
from mmseqdiff.picture import draw_marginals, marginals_as_text
from mmseqdiff.protocols import TimestepPolicy

LAYOUT = Layout([Track("audio", uniform_edges(4, 4)), Track("video", [0, Fraction(1, 4), 1])])


@attrs.frozen
class Fixed(TimestepPolicy):
    """Always the same matrix."""

    def sample(self, layout, keys, *, num_levels):
        return torch.tensor([[0.0, 1.0, 10.0, 20.0], [5.0, 20.0, 0.0, 0.0]]).expand(len(keys), -1, -1)


def test_levels_and_differences_are_counted_by_physical_time():
    found = marginals(Fixed(), LAYOUT, 20, draws=3)
    assert found.levels["audio"].tolist() == [0.5, 0, 0, 0, 0.25, 0, 0, 0, 0, 0.25]
    assert found.levels["video"].tolist() == [0, 0, 0.5, 0, 0, 0, 0, 0, 0, 0.5]
    assert found.clean == {"audio": 0.25, "video": 0.0}
    assert found.means["audio"].tolist() == [0, 0.05, 0.5, 1]
    # the first audio cell lies in the first video segment, the other three in the second: 5, 19, 10, 0 apart
    assert found.differences["audio, video"].tolist() == [0.25, 0, 0.25, 0, 0.25, 0, 0, 0, 0, 0.25]
    assert found.equal == {"audio, video": 0.25}


def test_the_papers_policies_have_their_laws(host):
    vanilla, independent = (marginals(host.build("policy", name), LAYOUT, 1000) for name in ("vanilla", "per_modality"))
    assert vanilla.equal == {"audio, video": 1.0}
    for found in (vanilla, independent):
        assert all((shares - 0.1).abs().max() < 0.02 for shares in found.levels.values())
        assert all((means - 0.5).abs().max() < 0.02 for means in found.means.values())
    # of two independent uniform levels, |a − b| <= x T with probability 1 − (1 − x)²
    below = 1 - (1 - torch.arange(1, 11) / 10) ** 2
    assert (independent.differences["audio, video"].cumsum(0) - below).abs().max() < 0.02


def test_one_modality_has_no_differences(host, tmp_path):
    found = marginals(host.build("policy", "monotone"), Layout([LAYOUT.tracks[0]]), 20, draws=50)
    assert found.differences == {}
    assert "difference" not in marginals_as_text(found)
    draw_marginals(found, tmp_path / "one.png")


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["mmseqdiff", "plan", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0, capsys.readouterr()


def test_plan_shows_what_a_policy_draws(monkeypatch, capsys, tmp_path):
    picture = tmp_path / "policy.png"
    code, output = run(monkeypatch, capsys, "--policy", "coupled:per_segment=true", "--png", str(picture))
    assert code == 0
    assert "video, audio 100.0" in output.out
    assert picture.read_bytes().startswith(b"\x89PNG")
    code, output = run(monkeypatch, capsys, "--policy", "vanilla", "--json")
    assert json.loads(output.out)["equal"] == {"video, audio": 1.0}


def test_plan_wants_a_task_or_a_policy(monkeypatch, capsys):
    for arguments in ((), ("a2v", "--policy", "monl")):
        code, output = run(monkeypatch, capsys, *arguments)
        assert code == 2
        assert "one of the two" in output.err
