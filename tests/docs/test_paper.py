"""docs/paper.md leaves out no piece of the paper, and whatever it names is there."""

import importlib
import re
from functools import reduce

import pytest
from pages import DOCS, ROOT

PAGE = (DOCS / "paper.md").read_text(encoding="utf-8")
OBJECTS = sorted(set(re.findall(r"`(mmseqdiff[\w.]*):([\w.]+)`", PAGE)))
TESTS = sorted(set(re.findall(r"`(tests/[\w/.]+)(?:::(\w+))?`", PAGE)))
SECTIONS = ("1", "2", "3", "3.1", "3.2", "3.3", "4", "5", "6", "6.1", "6.2", "6.3", "7")
APPENDICES = ("A", "B", "C", "C.1", "C.2", "C.3", "D", "E", "F")


def rows(heading):
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")
    ]


def table(number):
    return PAGE.split(f"\n### Table {number}\n")[1].split("\n## ")[0].split("\n### ")[0]


@pytest.mark.parametrize(
    ("heading", "pieces"),
    [
        ("Sections", [*(f"§{n}" for n in SECTIONS), *(f"App. {n}" for n in APPENDICES)]),
        ("Equations", [f"Eq. {n}" for n in range(1, 18)]),
        ("Algorithms", [f"Algorithm {n}" for n in range(1, 5)]),
        ("Figures", [f"Fig. {n}" for n in range(1, 16)]),
    ],
)
def test_every_piece_has_a_row_with_code_and_test_or_a_reason(heading, pieces):
    found = rows(heading)[2:]
    for piece in pieces:
        assert any(re.match(rf"{re.escape(piece)}[\s,]", first) for first, *_ in found), piece
    for first, code, test in found:
        if test:
            assert re.search(r"`mmseqdiff[\w.]*:[\w.]+`", code), f"{first} has a test but no code"
            assert re.search(r"`tests/[\w/.]+::\w+`", test), f"{first}: {test}"
        else:
            assert re.match(r"\*not reproduced\*: \w+|no code: |Tables? \d|below|its three parts", code), (
                f"{first} has no test"
            )


@pytest.mark.parametrize("number", range(1, 8))
def test_every_table_has_a_heading_and_code_or_a_reason(number):
    text = table(number)
    assert re.search(r"\*[Nn]ot\s+reproduced\*(:|, for)", text)
    assert number in (3, 4) or re.search(r"`tests/[\w/.]+::\w+`", text)


def test_from_the_first_page_every_table_is_one_click_away():
    first = (DOCS / "index.md").read_text(encoding="utf-8")
    for number in range(1, 8):
        assert f"(paper.md#table-{number})" in first


@pytest.mark.parametrize(("module", "name"), OBJECTS, ids=lambda part: part)
def test_every_object_is_there(module, name):
    assert reduce(getattr, name.split("."), importlib.import_module(module)) is not None


@pytest.mark.parametrize(("path", "name"), TESTS, ids=lambda part: part)
def test_every_test_is_there(path, name):
    text = (ROOT / path).read_text(encoding="utf-8")
    assert not name or re.search(rf"^(?:def|class) {name}\b", text, re.MULTILINE)
