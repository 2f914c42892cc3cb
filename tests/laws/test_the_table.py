"""The table in README.md says which law is tested where, for every registered plugin of the kinds that laws apply to."""

import re
from pathlib import Path

from mmseqdiff.testing import CONTRACTS

HERE = Path(__file__).parent
TABLE = (HERE / "README.md").read_text(encoding="utf-8")

WITH_HEAVY_DEPENDENCIES = {("codec", "diffusers_video"), ("codec", "transformers_audio")}
"""Of distributions that are not installed everywhere."""


def rows(heading):
    """The table under a heading, as lists of cells, without its header."""
    section = TABLE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_registered_plugin_is_in_the_table(host):
    listed = {(kind, name) for kind, names, *_ in rows("Plugins") for name in re.findall(r"`([^`]+)`", names)}
    registered = {(kind, name) for kind in CONTRACTS for name in host.names(kind)}
    assert registered <= listed
    assert listed - registered <= WITH_HEAVY_DEPENDENCIES, "listed, but registered by no plugin"


def test_every_law_has_its_file_and_every_test_of_it_its_name():
    numbers = []
    for number, _, file in rows("Laws"):
        path = HERE / re.search(r"`([^`]+)`", file)[1]
        numbers.append(int(number))
        if path.name == "test_plugins.py":  # a law of plugins alone
            continue
        tests = re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert tests
        assert all(test.startswith(f"test_law_{int(number)}_") for test in tests)
        assert path.name.startswith(f"test_law_{int(number):02}_")
    assert numbers == list(range(1, 13))
    assert len(list(HERE.glob("test_law_*.py"))) == 10


def test_every_law_of_a_contract_is_in_the_table():
    for number, _, where in rows("Laws"):
        said = set(re.findall(r"`(\w+Contract)`", where))
        assert said == {
            contract.__name__
            for contract in CONTRACTS.values()
            if int(number) in {law.number for law in contract.laws()}
        }, number
    for kind, names, laws in rows("Plugins"):
        listed = {int(number) for number in re.findall(r"\b\d+\b", laws.split(", in ")[0])}
        assert {law.number for law in CONTRACTS[kind].laws()} <= listed, names


def test_tests_that_the_table_points_to_exist():
    root = HERE.parents[1]
    for pointer in re.findall(r"`(tests/[\w/.]+)(?:::(\w+))?`", TABLE):
        path, test = pointer
        text = (root / path).read_text(encoding="utf-8") if (root / path).is_file() else None
        assert (root / path).exists(), path
        assert not test or f"def {test}" in text, test
