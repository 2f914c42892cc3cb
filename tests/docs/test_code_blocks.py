"""Every block of Python in the documentation runs, every command line is one that the program takes, all TOML reads.

A page is a script: its Python blocks run from top to bottom in one namespace, in an empty folder that holds ``in.mp4``,
``speech.wav`` and ``clips/``. A block with a title is a file of that name. Tests and contracts that a page defines are run, too.
"""

import importlib
import shlex
import shutil
import sys
import tomllib
import types

import pytest
import typer
from pages import DOCS, PAGES, ROOT, blocks

from mmseqdiff.cli import app, main
from mmseqdiff.errors import UserError
from mmseqdiff.pipeline import build_task
from mmseqdiff.recipe import Component, Recipe, load_recipe
from mmseqdiff.testing import Contract
from mmseqdiff.testing.verdicts import FAILS, verdicts

EVERYWHERE = [ROOT / "README.md", *PAGES]
PROGRAM = "mmseqdiff"
KINDS = {"plan", "sampler", "guidance", "policy"}
"""Options that name a plugin of this kind."""
WRITTEN_THERE = ("plan.json",)
"""Files that a page writes: what else the commands name must be there."""


def with_blocks(*languages):
    pages = [page for page in EVERYWHERE if blocks(page, *languages)]
    return pytest.mark.parametrize("page", pages, ids=lambda page: str(page.relative_to(ROOT)))


@pytest.fixture
def folder(tmp_path, monkeypatch, host):
    """A folder with two media files and the demo's clips, that is the current one and importable from."""
    here = tmp_path / "here"
    host.build("dataset", "demo-clips").prepare(here / "clips")
    for name in ("in.mp4", "speech.wav"):  # a container says itself what it holds
        shutil.copy(here / "clips" / "000000.mp4", here / name)
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(str(here))
    before = set(sys.modules)
    yield here
    for name in set(sys.modules) - before:
        if str(here) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


@with_blocks("python")
def test_python_runs(page, folder, monkeypatch):
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # where annotations of its classes are looked up
    for block in blocks(page, "python", "toml"):
        if block.title is not None:
            path = folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code, encoding="utf-8")
            importlib.invalidate_caches()
        if block.language != "python":
            continue
        known = set(vars(module))
        lines = "\n" * block.line  # so that a traceback names the page's own lines
        exec(compile(lines + block.code, str(page), "exec"), vars(module))
        for name in sorted(set(vars(module)) - known):
            made = vars(module)[name]
            if name.startswith("test_"):
                made()
            elif isinstance(made, type) and issubclass(made, Contract) and name.startswith("Test"):
                assert [verdict.message for verdict in verdicts(made(), 3) if verdict.outcome == FAILS] == []


def command_lines(page):
    """``(where, words after "mmseqdiff")`` of every command line, continued lines joined."""
    for block in blocks(page, "console"):
        for line in block.code.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if PROGRAM in words:
                yield block.where, words[words.index(PROGRAM) + 1 :]


def parsed(words):
    """The last command's context: parsed, types and needed options checked, not run."""
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        name, *words = words
        command = command.commands[name]
    return command.make_context(command.name, list(words))


@with_blocks("console")
def test_commands_are_taken(page, host):
    for where, words in command_lines(page):
        try:
            values = parsed(words).params
        except Exception as error:
            pytest.fail(f"{where}: mmseqdiff {' '.join(words)}: {type(error).__name__}: {error}")
        if any(name in word for name in WRITTEN_THERE for word in words):
            continue
        try:
            for kind in KINDS & values.keys():
                if isinstance(values[kind], str):
                    Component.parse(values[kind]).build(host, kind)
            if isinstance(values.get("task"), str):
                build_task(host, values["task"])
            if isinstance(values.get("recipe"), str) and not values["recipe"].endswith(".toml"):
                load_recipe(host, values["recipe"], values.get("set_") or [])
        except UserError as error:
            pytest.fail(f"{where}: mmseqdiff {' '.join(words)}: {error}")


@pytest.mark.slow
def test_the_commands_of_the_first_run_do_what_they_say(folder, monkeypatch):
    for where, words in command_lines(DOCS / "tutorials" / "first-run.md"):
        monkeypatch.setattr(sys, "argv", [PROGRAM, *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code, f"{where}: mmseqdiff {' '.join(words)}"
    assert {"out.mp4", "clip.mp4", "clips"} <= {path.name for path in folder.iterdir()}


@with_blocks("toml")
def test_toml_reads(page):
    for block in blocks(page, "toml"):
        if {"name", "modalities"} <= tomllib.loads(block.code).keys():  # not a part of a recipe
            Recipe.from_toml(block.code)


def test_no_block_is_read_by_nobody():
    """Files have a language that a page can bring; TOML with a title is a file, too."""
    for page in EVERYWHERE:
        for block in blocks(page):
            assert block.title is None or block.language in {"python", "toml"}, block.where
