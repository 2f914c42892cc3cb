"""The pytest plugin: its fixtures, that it costs nothing at start-up; and the page that explains it all."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLUGIN = "mmseqdiff.testing.pytest_plugin"

USE = """
import sys

WEIGHT = "torch" in sys.modules or "hypothesis.extra.numpy" in sys.modules


def test_nothing_heavy_is_imported_before_it_is_asked_for():
    assert not WEIGHT


def test_fixtures(plugin_host, tiny_recipe, gaussian_world, mixture_world, audiovisual_world):
    from mmseqdiff.layout import Layout, Track

    assert tiny_recipe("training.steps=1").training.steps == 1
    layout = Layout([Track("video", range(3))])
    assert gaussian_world(layout).layout == mixture_world(layout).layout == layout
    assert audiovisual_world.layout.modalities == ("video", "audio")
    plugin_host.add_plugin(type("Empty", (), {"register": lambda add: None}), "mine")


def test_a_host_is_a_tests_own(plugin_host):
    assert not plugin_host.manager.has_plugin("mine")
"""


def pytest_in(folder, *words):
    quiet = {key: value for key, value in os.environ.items() if not key.startswith("MMSEQDIFF_TYPECHECK")}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        PLUGIN,
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(folder),
        *words,
    ]
    done = subprocess.run(command, cwd=folder, env=quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_fixtures_in_a_project_of_its_own(tmp_path):
    (tmp_path / "test_use.py").write_text(USE)
    pytest_in(tmp_path, "test_use.py")


def test_the_code_of_the_page_runs(tmp_path):
    page = (ROOT / "docs" / "testing-a-plugin.md").read_text(encoding="utf-8")
    for n, block in enumerate(re.findall(r"```python\n(.*?)```", page, re.DOTALL)):
        (tmp_path / f"test_block_{n}.py").write_text(block)
    (tmp_path / "conftest.py").write_text(
        "import hypothesis\n"
        "hypothesis.settings.register_profile('few', max_examples=5, deadline=None)\n"
        "hypothesis.settings.load_profile('few')\n"
    )
    pytest_in(tmp_path)
