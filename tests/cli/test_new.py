"""``mmseqdiff new``: what it writes, and what it refuses; that it works is in ``tests/third_party``."""

import ast
import sys
import tomllib

import pytest

from mmseqdiff import cli, scaffold
from mmseqdiff.errors import UserError


@pytest.mark.parametrize("kind", scaffold.KINDS)
def test_a_new_plugin_is_a_distribution_with_an_entry_point_and_a_test(host, tmp_path, kind):
    folder = scaffold.create(host, kind, "first-try", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mmseqdiff-first-try"], "nothing temporary is left"
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["name"] == "mmseqdiff-first-try"
    assert project["project"]["entry-points"]["mmseqdiff"] == {"first-try": "mmseqdiff_first_try"}
    module = f"first_try_{kind}"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    package = {f"mmseqdiff_first_try/{name}.py" for name in ("__init__", module)}
    assert files == {"pyproject.toml", "README.md", f"tests/test_{module}.py", *package}
    for path in folder.rglob("*"):
        if path.suffix == ".py":
            assert ast.get_docstring(ast.parse(path.read_text())), path
        if path.is_file():
            assert "{{" not in path.read_text(), path
            assert "{%" not in path.read_text(), path
    contract = scaffold.KINDS[kind].contract
    assert f"({contract}):" in (folder / f"tests/test_{module}.py").read_text()


def test_an_existing_folder_is_never_written_over(host, tmp_path):
    folder = scaffold.create(host, "policy", "mine", tmp_path)
    (folder / "README.md").write_text("my own words")
    with pytest.raises(UserError, match="exists already: nothing was written"):
        scaffold.create(host, "task", "mine", tmp_path)
    assert (folder / "README.md").read_text() == "my own words"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("policy", "Mine", "is no name for a plugin: use lower-case letters"),
        ("policy", "2fast", "is no name"),
        ("policy", "my--own", "is no name"),
        ("policy", "../up", "is no name"),
        ("policy", "", "is no name"),
        ("policies", "mine", "no template for the kind 'policies'; did you mean 'policy'"),
        ("recipe", "mine", "no template for the kind 'recipe'"),
        ("policy", "monl", "there is a policy named 'monl' already, of mmseqdiff-noise"),
        ("policy", "noise", "distribution mmseqdiff-noise, which is installed"),
        ("policy", "none", "its class None would hide"),
        ("policy", "timestep-policy", "its class TimestepPolicy would hide"),
        ("modality", "blocks", "its class Blocks would hide"),
        ("guidance", "limited", "its class Limited would hide"),
    ],
)
def test_what_is_refused_leaves_nothing(host, tmp_path, kind, name, message):
    with pytest.raises(UserError, match=message):
        scaffold.create(host, kind, name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command_says_what_comes_next(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["mmseqdiff", "new", "task", "mine", "--out", str(tmp_path / "deep" / "folder")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    said = capsys.readouterr().out
    assert "mmseqdiff check mine --kind task" in said
    assert (tmp_path / "deep" / "folder" / "mmseqdiff-mine" / "pyproject.toml").is_file()
