"""``mmseqdiff check``: law by law, with the smallest failing example."""

import importlib.util
import json
import sys

import attrs
import pytest
from mmseqdiff_noise.policies import Vanilla
from mmseqdiff_samplers.ddim import DDIM

from mmseqdiff import cli
from mmseqdiff.testing import SamplerContract


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs ``mmseqdiff check``; returns the exit code and what it said."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["mmseqdiff", "check", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


def test_a_plugin_that_keeps_its_laws(command):
    code, out, _ = command("vanilla", "--examples", 3)
    assert code == 0
    lines = [line for line in out.splitlines() if "holds" in line]
    assert any("Levels are whole numbers of 1 … T" in line for line in lines)
    assert "fails" not in out
    code, out, _ = command("linear", "--json", "--set", "num_levels=5")
    said = json.loads(out)
    assert (code, said["kind"], said["distribution"]) == (0, "schedule", "mmseqdiff-noise")
    assert {law["outcome"] for law in said["laws"]} == {"holds"}


@attrs.frozen
class Low(Vanilla):
    def sample(self, layout, keys, *, num_levels):
        return super().sample(layout, keys, num_levels=num_levels) - 1 * layout.valid


def test_one_that_does_not_is_told_the_law_and_the_smallest_example(command, monkeypatch):
    monkeypatch.setattr("mmseqdiff_noise.policies.Vanilla", Low)
    code, out, _ = command("vanilla", "--examples", 20)
    assert code == 1
    said = " ".join(out.split())
    assert "fails: Levels are whole numbers of 1 … T, and 0 only where a cell is clean." in said
    assert "a cell that is not always clean has level 0, expected 1 … T" in said
    assert "num_levels=1" in said, "one level is the smallest example"
    assert "Traceback" not in out


def test_laws_with_nothing_to_say_are_not_applicable(command):
    code, out, _ = command("monotone", "--examples", 2, "--json")
    found = {law["law"]: law for law in json.loads(out)["laws"]}
    assert code == 0
    assert found["test_marginals_are_as_stated"]["outcome"] == "not applicable"
    assert found["test_marginals_are_as_stated"]["message"] == "the policy states no marginal"


def test_a_name_that_is_not_one_plugin_is_refused(command):
    code, _, err = command("vanila")
    assert (code, "there is no plugin named 'vanila'; did you mean 'vanilla'?" in err) == (2, True)
    code, _, err = command("vanilla", "--kind", "dataset")
    assert (code, "there is no contract for the kind 'dataset'" in err) == (2, True)
    code, _, err = command("vanilla", "--set", "level=3")
    assert (code, "has no parameter 'level'" in err) == (2, True)


def test_a_name_in_several_kinds_needs_its_kind(host):
    from mmseqdiff.errors import UserError
    from mmseqdiff.host import Host, hookimpl
    from mmseqdiff.testing.verdicts import find

    class Two:
        @hookimpl
        def register(self, add):
            add("policy", "mine", "somewhere:Policy")
            add("task", "mine", "somewhere:Task")

    host = Host()
    host.add_plugin(Two(), "two")
    with pytest.raises(UserError, match="'mine' is a policy and a task: say which with --kind"):
        find(host, "mine")
    assert find(host, "mine", "task").kind == "task"


def test_without_hypothesis_it_says_what_to_install(command, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "hypothesis" else real(name, *rest)
    )
    code, _, err = command("vanilla")
    assert code == 2
    assert "pip install 'mmseqdiff[testing]'" in err


def test_a_crash_in_a_plugin_is_a_failing_law_and_the_others_are_tried(command, monkeypatch):
    @attrs.frozen
    class Broken(DDIM):
        def step(self, *given, **named):
            raise RuntimeError("no step today")

    monkeypatch.setattr("mmseqdiff_samplers.ddim.DDIM", Broken)
    code, out, _ = command("ddim", "--examples", 1, "--json")
    outcomes = {law["law"]: law for law in json.loads(out)["laws"]}
    assert code == 1
    assert outcomes["test_the_batch_does_not_matter"]["message"] == "RuntimeError: no step today"
    assert len(outcomes) == len(SamplerContract.laws())
