"""Every page can be reached, says what it says in languages that are checked, and links to what is there."""

import re

import pytest
from pages import DOCS, PAGES, ROOT, blocks, navigation

LANGUAGES = {"python", "console", "toml", "text", "mermaid"}
"""Python runs (test_code_blocks.py), commands and TOML are read there; text and diagrams show."""


def names(pages):
    return [str(page.relative_to(DOCS)) for page in pages]


def test_the_navigation_lists_every_page_and_no_other():
    assert sorted(navigation()) == names(PAGES)
    assert navigation()[0] == "index.md"


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_says_its_language(page):
    assert [block.where for block in blocks(page) if block.language not in LANGUAGES] == []
    assert page.read_text(encoding="utf-8").count("```") == 2 * len(blocks(page)), "a fence is not closed"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http:", "https:", "#")):
            assert (page.parent / target.partition("#")[0]).is_file(), target


def test_pages_name_no_file_of_the_repository_that_is_not_there():
    for page in PAGES:
        for path in re.findall(
            r"`((?:tests|examples|plugins|docs|mmseqdiff)/[\w./-]+?\.(?:py|md|toml|ipynb))(?:::\w+)?`",
            page.read_text(encoding="utf-8"),
        ):
            assert (ROOT / path).is_file(), f"{page.name}: {path}"
