"""The host is strict, keeps what it says, and one bad plugin harms no other."""

import importlib.metadata
import subprocess
import sys
import types
from fractions import Fraction
from pathlib import Path

import attrs
import pytest

from mmseqdiff.errors import PluginError
from mmseqdiff.host import KINDS, Host, Registration, hookimpl, load_plugins
from mmseqdiff.protocols import Task, TimestepPolicy

HERE = "probe_plugin"


@attrs.frozen
class Probe:
    """Takes one parameter of every kind that a table of values can hold."""

    whole: int = 1
    real: float = 1.0
    flag: bool = False
    text: str = "a"
    names: tuple[str, ...] = ()
    pair: tuple[int, int] = (0, 0)
    time: Fraction = Fraction(0)
    maybe: Fraction | None = None
    task: Task | None = None
    policies: tuple[TimestepPolicy, ...] = ()


def needs(one: int, other: int = 2) -> tuple[int, int]:
    return one, other


def fails(value: int) -> None:
    raise ValueError(f"{value} is a bad value")


@pytest.fixture(autouse=True)
def probe_module(monkeypatch):
    """Makes the names above importable by address."""
    module = types.ModuleType(HERE)
    module.Probe, module.needs, module.fails = Probe, needs, fails
    monkeypatch.setitem(sys.modules, HERE, module)


def plugin(*entries, **hooks):
    """A plugin that adds these (kind, name, address) entries."""
    module = types.ModuleType("made_here")

    @hookimpl
    def register(add):
        for entry in entries:
            add(*entry, summary="a probe")

    module.register = register
    for name, hook in hooks.items():
        setattr(module, name, hookimpl(hook))
    return module


@pytest.fixture
def probes():
    host = load_plugins()
    host.add_plugin(
        plugin(
            ("dataset", "probe", f"{HERE}:Probe"), ("metric", "needs", f"{HERE}:needs"), ("model", "fails", f"{HERE}:fails"),
            ("model", "no-module", "nowhere_at_all:Thing"), ("model", "no-attribute", f"{HERE}:Thing"),
        ),
        "probes", "mmseqdiff-probes", "1.2",
    )  # fmt: skip
    return host


def test_every_builtin_plugin_is_there_and_none_failed(host):
    assert host.failures == {}
    assert {"linear", "cosine", "zero_terminal_snr"} <= set(host.names("schedule"))
    assert {"vanilla", "per_modality", "per_segment", "per_segment_modality", "monl"} <= set(host.names("policy"))
    assert {"ddpm", "ddim"} <= set(host.names("sampler"))
    for entry in host.registrations():
        assert entry.kind in KINDS
        assert entry.distribution.startswith("mmseqdiff-")
        assert entry.version == importlib.metadata.version(entry.distribution)
        assert entry.summary
        assert callable(host.load(entry.kind, entry.name))


def test_listing_imports_no_torch():
    code = (
        "import sys; from mmseqdiff import load_plugins; host = load_plugins();"
        "assert len(host.registrations()) > 20 and not host.failures;"
        "assert not {'torch', 'numpy', 'av'} & set(sys.modules), 'too heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PATH": "", "MMSEQDIFF_TYPECHECK": "0"})


def test_provenance_is_kept(probes):
    entry = probes.registration("dataset", "probe")
    assert entry == Registration("dataset", "probe", f"{HERE}:Probe", "a probe", "probes", "mmseqdiff-probes", "1.2")
    assert entry.origin == "mmseqdiff-probes 1.2"
    assert probes.names("dataset") == sorted(probes.names("dataset"))
    kinds = [KINDS.index(entry.kind) for entry in probes.registrations()]
    assert kinds == sorted(kinds)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (plugin(("metrik", "m", "a:b")), "plugin 'bad': metrik 'm': there is no kind 'metrik'; did you mean 'metric'?"),
        (plugin(("metric", "Big Name", "a:b")), "a name is lower-case letters, digits, '_' and '-'"),
        (plugin(("metric", "_m", "a:b")), "starting with none of these two"),
        (plugin(("metric", "m", "a.b")), "the address 'a.b' should read 'package.module:attribute'"),
        (plugin(("metric", "m", "a:b"), ("metric", "m", "a:c")), "metric 'm' is brought by both plugin 'bad' and plugin 'bad'"),
        (plugin(registr=lambda add: None), "unknown hook 'registr' in plugin"),
        (plugin(register=lambda add: 1 / 0), "plugin 'bad': ZeroDivisionError: division by zero"),
        (plugin(register=lambda add, more: None), "plugin 'bad': PluginValidationError"),
        (plugin(register=lambda add: add("metric", "m")), "plugin 'bad': TypeError: .*missing .*argument"),
    ],
)  # fmt: skip
def test_what_a_plugin_does_wrong_is_said_and_nothing_of_it_is_kept(bad, message):
    host = Host()
    host.add_plugin(plugin(("policy", "good", f"{HERE}:Probe")), "good")
    with pytest.raises(PluginError, match=message):
        host.add_plugin(bad, "bad")
    assert [entry.name for entry in host.registrations()] == ["good"]
    assert not host.manager.has_plugin("bad")
    host.add_plugin(plugin(("metric", "m", "a:b")), "bad")  # its name, and the names that it wanted, are free
    assert host.names("metric") == ["m"]


def test_a_name_taken_twice_names_both_distributions():
    host = Host()
    host.add_plugin(plugin(("policy", "same", "a:b")), "one", "mmseqdiff-one", "1.0")
    host.add_plugin(plugin(("task", "same", "a:b")), "task", "mmseqdiff-task", "3.0")  # another kind is no clash
    message = "policy 'same' is brought by both mmseqdiff-one 1.0 and mmseqdiff-two 2.0; uninstall one"
    with pytest.raises(PluginError, match=message):
        host.add_plugin(plugin(("policy", "same", "c:d"), ("policy", "else", "c:d")), "two", "mmseqdiff-two", "2.0")
    assert host.registration("policy", "same").origin == "mmseqdiff-one 1.0"
    assert host.names("policy") == ["same"]


def test_a_second_plugin_of_the_same_name_does_not_push_out_the_first():
    host, first = Host(), plugin(("policy", "first", "a:b"))
    host.add_plugin(first, "same", "mmseqdiff-one", "1.0")
    with pytest.raises(PluginError, match="mmseqdiff-two: there is already plugin 'same' of mmseqdiff-one 1.0"):
        host.add_plugin(plugin(("policy", "second", "a:b")), "same", "mmseqdiff-two", "2.0")
    assert host.manager.get_plugin("same") is first
    assert host.names("policy") == ["first"]


def distribution(folder: Path, name: str, module: str, code: str) -> None:
    """What pip leaves of an installed plugin."""
    information = folder / f"{name.replace('-', '_')}-0.3.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.3\n")
    (information / "entry_points.txt").write_text(f"[mmseqdiff]\n{module} = {module}\n")
    (folder / f"{module}.py").write_text(code)


def test_a_plugin_that_fails_to_load_is_reported_and_takes_no_other_down(tmp_path, monkeypatch):
    good = "from mmseqdiff.host import hookimpl\n@hookimpl\ndef register(add):\n  add('metric', 'ours', 'probe_plugin:Probe')\n"
    distribution(tmp_path, "mmseqdiff-a-broken", "a_broken", "import nothing_of_that_name\n")
    distribution(
        tmp_path,
        "mmseqdiff-b-raises",
        "b_raises",
        good + "  1 / 0\n",
    )
    distribution(tmp_path, "mmseqdiff-c-good", "c_good", good)
    distribution(tmp_path, "mmseqdiff-d-taken", "d_taken", good)
    monkeypatch.syspath_prepend(str(tmp_path))
    host = load_plugins()
    assert "ModuleNotFoundError: No module named 'nothing_of_that_name'" in host.failures["a_broken"]
    assert "ZeroDivisionError" in host.failures["b_raises"]
    assert "metric 'ours' is brought by both mmseqdiff-c-good 0.3 and mmseqdiff-d-taken 0.3" in host.failures["d_taken"]
    assert set(host.failures) == {"a_broken", "b_raises", "d_taken"}
    assert host.registration("metric", "ours").origin == "mmseqdiff-c-good 0.3"
    assert "linear" in host.names("schedule")
    with pytest.raises(
        PluginError,
        match=r"(?s)no metric named 'hours'; did you mean 'ours'\?.*left out: plugin 'a_broken' of mmseqdiff-a-broken 0.3: Mod",
    ):
        host.build("metric", "hours")
    assert load_plugins(["c_good"]).names("schedule") == []


def test_parameters_become_what_annotations_say(probes):
    made = probes.build(
        "dataset", "probe", whole=3, real=2, flag=True, text="b", names=["x", "y"], pair=[1, 2], time=0.1, maybe="17/8",
        task={"name": "continue", "length": 5, "frame_rate": 8},
        policies=["monl", {"name": "mixture", "policies": ["vanilla", "monl"], "weights": [1, 2.5]}],
    )  # fmt: skip
    assert (made.whole, made.real, made.flag, made.text, made.names, made.pair) == (
        3,
        2.0,
        True,
        "b",
        ("x", "y"),
        (1, 2),
    )
    assert isinstance(made.real, float)
    assert (made.time, made.maybe) == (Fraction(1, 10), Fraction(17, 8)), "a float is read as it is written"
    assert made.task.start == Fraction(5, 8)
    assert made.policies[1].weights == (1.0, 2.5)
    assert probes.build("dataset", "probe", maybe=None).maybe is None
    assert probes.build("dataset", "probe", task=made.task).task is made.task, "what is built already is taken as it is"
    assert probes.build("metric", "needs", one=1) == (1, 2)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hole": 1}, "dataset 'probe' of mmseqdiff-probes 1.2 has no parameter 'hole'; did you mean 'whole'\\?"),
        ({"whole": 1.5}, "parameter whole: expected int, got 1.5"),
        ({"whole": "1"}, "parameter whole: expected int, got '1'"),
        ({"whole": True}, "parameter whole: expected int, got True"),
        ({"real": "1"}, "parameter real: expected float, got '1'"),
        ({"flag": 1}, "parameter flag: expected bool, got 1"),
        ({"text": 1}, "parameter text: expected str, got 1"),
        ({"names": "xy"}, "parameter names: expected a list of strings, got 'xy'"),
        ({"names": ["x", 1]}, "parameter names: expected a list of strings"),
        ({"pair": [1, 2, 3]}, "parameter pair: .*Too many values"),
        ({"time": "soon"}, "parameter time: .*'soon'"),
        ({"time": True}, "parameter time: expected a number or a fraction such as '17/8', got True"),
        ({"task": "contine"}, "parameter task: there is no task named 'contine'; did you mean 'continue'"),
        ({"task": {"length": 1}}, "parameter task: expected the name of a task, or a table with its 'name'"),
        ({"task": {"name": "continue", "lenght": 1}}, "task 'continue' of mmseqdiff-noise .* has no parameter 'lenght'; did you mean 'length'"),
        ({"policies": ["vanilla", {"name": "mixture", "policies": ["vanila"]}]}, "policies.1: .*policies.0: .*did you mean 'vanilla'"),
        ({"policies": ["vanilla", 3]}, "parameter policies.1: "),
    ],
)  # fmt: skip
def test_wrong_parameters_are_refused_with_their_place(probes, parameters, message):
    with pytest.raises(PluginError, match=f"(?s){message}"):
        probes.build("dataset", "probe", **parameters)


@pytest.mark.parametrize(
    ("kind", "name", "parameters", "message"),
    [
        ("metric", "needs", {}, "metric 'needs' of mmseqdiff-probes 1.2 needs 'one'"),
        ("metric", "need", {}, "there is no metric named 'need'; did you mean 'needs'\\? known: .*needs"),
        ("metrics", "needs", {}, "there is no kind 'metrics'; did you mean 'metric'"),
        ("model", "fails", {"value": 3}, "model 'fails' of mmseqdiff-probes 1.2: 3 is a bad value"),
        ("model", "no-module", {}, "cannot be loaded from 'nowhere_at_all:Thing': ModuleNotFoundError"),
        ("model", "no-attribute", {}, "cannot be loaded from 'probe_plugin:Thing': AttributeError"),
    ],
)
def test_what_cannot_be_built_is_said(probes, kind, name, parameters, message):
    with pytest.raises(PluginError, match=message):
        probes.build(kind, name, **parameters)


def test_only_the_plugins_that_the_environment_lists_are_loaded(monkeypatch):
    monkeypatch.setenv("MMSEQDIFF_PLUGINS", "noise, samplers")
    host = load_plugins()
    assert {entry.plugin for entry in host.registrations()} == {"noise", "samplers"}
    monkeypatch.setenv("MMSEQDIFF_PLUGINS", "noise,sampler")
    with pytest.raises(
        PluginError, match="MMSEQDIFF_PLUGINS: no plugin named 'sampler' is installed; did you mean 'samplers'"
    ):
        load_plugins()
    assert {entry.plugin for entry in load_plugins(["avdit"]).registrations()} == {"avdit"}, "an argument comes first"
    monkeypatch.setenv("MMSEQDIFF_PLUGINS", "")
    assert len({entry.plugin for entry in load_plugins().registrations()}) > 5


@pytest.mark.parametrize(
    ("requirement", "fits"),
    [
        ("mmseqdiff>=0.1,<0.2", True),
        ("mmseqdiff>=7", False),
        ("MMSeqDiff<0.1", False),
        ('mmseqdiff>=7; extra == "later"', True),
        ("mmseqdiff-noise>=7", True),
    ],
)
def test_a_plugin_for_another_version_of_the_core_is_left_out(tmp_path, monkeypatch, caplog, requirement, fits):
    good = "from mmseqdiff.host import hookimpl\n@hookimpl\ndef register(add):\n  add('metric', 'ours', 'probe_plugin:Probe')\n"
    distribution(tmp_path, "mmseqdiff-later", "later", good)
    metadata = tmp_path / "mmseqdiff_later-0.3.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text() + f"Requires-Dist: {requirement}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    host = load_plugins()
    assert ("ours" in host.names("metric")) == fits
    assert set(host.failures) == (set() if fits else {"later"})
    if not fits:
        version = importlib.metadata.version("mmseqdiff")
        said = f"plugin 'later' of mmseqdiff-later 0.3: it requires {requirement}, but mmseqdiff {version} is installed"
        assert host.failures["later"].startswith(said)
        assert [record.message for record in caplog.records] == [f"left out: {host.failures['later']}"]
