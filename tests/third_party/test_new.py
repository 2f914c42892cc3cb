"""What ``mmseqdiff new`` writes works as it is: once installed, it keeps the laws, and its own tests pass."""

import json
import subprocess
import sys

import pytest

CHECK_ALL = """
import sys
from mmseqdiff.cli import app
for kind, name in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        app(["check", name, "--kind", kind, "--examples", "4", "--json"])
    except SystemExit as ended:
        assert not ended.code, (kind, name)
"""


@pytest.mark.slow
def test_mmseqdiff_check_passes_for_a_new_plugin_of_every_kind(environment, written):
    words = [word for kind, path in written.items() for word in (kind, path.name.removeprefix("mmseqdiff-"))]
    done = subprocess.run([sys.executable, "-c", CHECK_ALL, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    decoder, text, seen = json.JSONDecoder(), done.stdout, {}
    while text.strip():
        found, end = decoder.raw_decode(text.lstrip())
        text = text.lstrip()[end:]
        seen[found["kind"]] = {law["outcome"] for law in found["laws"]}
    assert seen.keys() == written.keys()
    assert all("holds" in outcomes and "fails" not in outcomes for outcomes in seen.values())


@pytest.mark.slow
def test_the_tests_that_come_with_a_new_plugin_pass(environment, written):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "--rootdir"]
    quick = {**environment, "MMSEQDIFF_TYPECHECK": "1"}
    folders = [str(folder / "tests") for folder in written.values()]
    root = str(written["policy"].parent)
    (written["policy"].parent / "conftest.py").write_text(
        "import hypothesis\n"
        "hypothesis.settings.register_profile('few', max_examples=5, deadline=None)\n"
        "hypothesis.settings.load_profile('few')\n"
    )
    done = subprocess.run([*command, root, *folders], env=quick, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]
