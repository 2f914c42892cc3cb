"""The documentation as tests see it: its pages, their code blocks, and the module that makes parts of them."""

import importlib.util
import re
import textwrap
from pathlib import Path

import attrs
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if path.relative_to(DOCS).parts[0] != "dev")
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*)(?P<info>[^\n]*)\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)


@attrs.frozen
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    title: str | None
    code: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, *languages: str) -> list[Block]:
    """A page's blocks in these languages; all of them where none is named."""
    text, found = page.read_text(encoding="utf-8"), []
    for fence in FENCE.finditer(text):
        if not languages or fence["language"] in languages:
            title = re.search(r'title="([^"]+)"', fence["info"])
            line = text.count("\n", 0, fence.start()) + 1
            code = textwrap.dedent(fence["code"])
            found.append(Block(page, line, fence["language"], title and title[1], code))
    return found


def navigation() -> list[str]:
    """The pages that mkdocs.yml lists, in its order."""

    class Loader(yaml.SafeLoader):
        """Knows no Python names, which only mkdocs has to resolve."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/name:", lambda loader, suffix, node: suffix)

    def leaves(entry):
        if isinstance(entry, str):
            return [entry]
        return [leaf for child in (entry if isinstance(entry, list) else entry.values()) for leaf in leaves(child)]

    return leaves(yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)["nav"])


def load_file(path: Path):
    """A Python file that belongs to no package, as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rendered(page: str) -> str:
    """A page with what is generated in it."""
    return load_file(DOCS / "generated.py").expand((DOCS / page).read_text(encoding="utf-8"))
