"""The table in README.md says which law is tested where, for every registered plugin of the kinds that laws apply to."""

import re
from pathlib import Path

HERE = Path(__file__).parent
TABLE = (HERE / "README.md").read_text(encoding="utf-8")
KINDS = ("schedule", "policy", "task", "plan", "sampler", "guidance", "backbone", "modality", "codec")


def rows(heading):
    """The table under a heading, as lists of cells, without its header."""
    section = TABLE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_registered_plugin_is_in_the_table(host):
    listed = {(kind, name) for kind, names, *_ in rows("Plugins") for name in re.findall(r"`([^`]+)`", names)}
    assert listed == {(kind, name) for kind in KINDS for name in host.names(kind)}


def test_every_law_has_its_file_and_every_test_of_it_its_name():
    numbers = []
    for number, _, file in rows("Laws"):
        path = HERE / re.search(r"`([^`]+)`", file)[1]
        tests = re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert tests
        assert all(test.startswith(f"test_law_{int(number)}_") for test in tests)
        numbers.append(int(number))
    assert numbers == list(range(1, 13))
    assert len(list(HERE.glob("test_law_*.py"))) == 12


def test_tests_that_the_table_points_to_exist():
    root = HERE.parents[1]
    for pointer in re.findall(r"`(tests/[\w/.]+)(?:::(\w+))?`", TABLE):
        path, test = pointer
        text = (root / path).read_text(encoding="utf-8") if (root / path).is_file() else None
        assert (root / path).exists(), path
        assert not test or f"def {test}" in text, test
