"""Every command, option, recipe field, plugin parameter, hook and public name is in the reference, and says what it is."""

import ast
import inspect
import re
import subprocess
import sys
import zlib
from pathlib import Path

import attrs
import pytest
import typer
from pages import DOCS, PAGES, ROOT, blocks, load_file, rendered

from mmseqdiff import recipe
from mmseqdiff.cli import app
from mmseqdiff.host import hookspecs

GENERATED = load_file(DOCS / "generated.py")
PACKAGES = ["mmseqdiff", *GENERATED.PACKAGES]
HOOKS = [name for name, value in vars(hookspecs).items() if hasattr(value, "mmseqdiff_spec")]


def commands():
    """``(words, command)`` of every command, as click has them."""

    def walk(words, command):
        for name, child in getattr(command, "commands", {}).items():
            yield from walk((*words, name), child)
        if not hasattr(command, "commands"):
            yield words, command

    return list(walk((), typer.main.get_command(app)))


def test_every_command_and_option_is_on_the_page_with_its_meaning():
    page = rendered("reference/commands.md")
    for words, command in commands():
        section = page.split(f"## {' '.join(words)}\n")[1].split("\n## ")[0]
        assert inspect.cleandoc(command.help) in section
        for parameter in command.params:
            shown = parameter.opts[0] if parameter.opts[0].startswith("--") else parameter.opts[0].rstrip("_").upper()
            (row,) = [line for line in section.splitlines() if line.startswith(f"| `{shown}`")]
            assert len(row.rsplit("|", 2)[1].strip()) > 5, f"{words}: {shown} has no help"


@pytest.mark.parametrize("kind", GENERATED.RECIPE, ids=lambda kind: kind.__name__)
def test_every_recipe_field_is_on_the_page_with_its_meaning(kind):
    section = rendered("reference/recipe.md").split(f"\n## {kind.__name__}\n")[1].split("\n## ")[0]
    for field in attrs.fields(kind):
        (row,) = [line for line in section.splitlines() if line.startswith(f"| `{field.name}`")]
        assert row.rsplit("|", 2)[1].strip(), f"the docstring of {kind.__name__} says nothing of {field.name!r}"


def test_recipes_are_made_of_these_classes():
    reachable = {value for value in vars(recipe).values() if isinstance(value, type) and attrs.has(value)}
    assert {kind for kind in reachable if kind.__module__ == recipe.__name__} == set(GENERATED.RECIPE)


def test_every_plugin_of_this_repository_is_on_the_page_with_its_parameters(host):
    page = rendered("reference/plugins.md")
    for entry in host.registrations():
        if entry.distribution not in GENERATED.BUNDLED:
            continue
        section = page.split(f"{{ #{entry.kind}-{entry.name} }}\n")[1].split("\n## ")[0].split("\n### ")[0]
        assert entry.summary in section
        for row in section.splitlines():
            if row.startswith("| `"):
                assert row.rsplit("|", 2)[1].strip(), (
                    f"the docstring of {entry.address} says nothing of {row.split('`')[1]!r}"
                )


def definition(text, name):
    """The parameters and the result of the first function of that name, as text."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            # Annotations in quotes are of what is not imported where the hooks are.
            return ast.unparse(node.args).replace("'", ""), node.returns and ast.unparse(node.returns)
    return None


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_page_with_the_signature_of_the_code(hook):
    page = DOCS / "reference" / "hooks" / f"{hook}.md"
    assert page.is_file(), f"the hook {hook!r} needs a page {page.relative_to(ROOT)}"
    (first, *_) = [found for block in blocks(page, "python") if (found := definition(block.code, hook))]
    assert first == definition(Path(hookspecs.__file__).read_text(encoding="utf-8"), hook)
    assert f"({hook}.md)" in rendered("reference/hooks/index.md")


def test_no_page_is_for_a_hook_that_is_not_there():
    assert sorted(path.stem for path in (DOCS / "reference" / "hooks").glob("*.md")) == sorted([*HOOKS, "index"])


# The API. Read as text, so that what is seen is what mkdocstrings sees.


def source(module):
    path = next(
        root / Path(*module.split("."))
        for root in (ROOT, *(ROOT / "plugins").glob("*"))
        if (root / module.split(".")[0]).is_dir()
    )
    return ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8"))


def documented(tree):
    """Name → docstring (or None) of what a module defines at its top: functions, classes, and constants."""
    found = {}
    for node, after in zip(tree.body, [*tree.body[1:], None]):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = ast.get_docstring(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            said = (
                isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            )
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    found[target.id] = after.value.value if said else None
    return found


def exported(tree):
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
        ):
            return ast.literal_eval(node.value)
    return []


def imported(tree):
    """Name → module that it comes from."""
    return {
        alias.asname or alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


MODULES = GENERATED.public_modules(*PACKAGES)


def test_every_public_module_is_in_the_api_reference_once():
    listed = [
        name
        for page in PAGES
        if page.parent.name == "api"
        for name in re.findall(r"^::: ([\w.]+)$", GENERATED.expand(page.read_text(encoding="utf-8")), re.MULTILINE)
    ]
    assert sorted(listed) == sorted(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_says_what_it_is(module):
    tree = source(module)
    assert ast.get_docstring(tree), f"{module} has no docstring"
    own, elsewhere = documented(tree), imported(tree)
    for name in exported(tree):
        if name in elsewhere:
            assert name in exported(source(elsewhere[name])), f"{module}.{name} comes from where it is not public"
        else:
            assert own.get(name), f"{module}.{name} has no docstring"


def public_definitions(body):
    """The functions and classes that somebody else can name: not those within functions or private classes."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_function_says_what_it_does(module):
    silent = [node.name for node in public_definitions(source(module).body) if not ast.get_docstring(node)]
    assert silent == []


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_holds_every_public_name(tmp_path):
    """Needs what ``make docs`` installs."""
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-3000:]
    inventory = (tmp_path / "objects.inv").read_bytes().split(b"\n", 4)[4]
    shown = {line.split()[0] for line in zlib.decompress(inventory).decode().splitlines()}
    public = {
        f"{module}.{name}"
        for module in MODULES
        for name in exported(source(module))
        if name not in imported(source(module))
    }
    assert sorted(public - shown) == []
