"""A plugin of every kind, as ``mmseqdiff new`` writes it, installed by pip in a folder of its own."""

import os
import subprocess
import sys

import pytest

from mmseqdiff.scaffold import KINDS, create

NAMES = {
    "modality": "heartbeat",
    "policy": "alternating",
    "task": "checkered",
    "sampler": "fresh-noise",
    "plan": "bent",
    "guidance": "bounded",
    "backbone": "mean-mixer",
    "codec": "blockwise",
    "metric": "distance",
}


def pip(*words, **settings):
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--disable-pip-version-check",
        "--target",
    ]
    subprocess.run([*command, *map(str, words)], check=True, **settings)


@pytest.fixture(scope="session")
def written(host, tmp_path_factory):
    """Kind → the folder of its new distribution."""
    assert NAMES.keys() == KINDS.keys()
    folder = tmp_path_factory.mktemp("new")
    return {kind: create(host, kind, name, folder) for kind, name in NAMES.items()}


@pytest.fixture(scope="session")
def environment(written, tmp_path_factory):
    """This environment, with all of them installed; the build tool is fetched once, and not for each."""
    tools, site, path = tmp_path_factory.mktemp("tools"), tmp_path_factory.mktemp("site"), os.environ.get("PYTHONPATH")
    pip(tools, "hatchling", "packaging", "pathspec", "pluggy", "trove-classifiers")
    build = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(tools), path]))}
    pip(site, "--no-build-isolation", *written.values(), env=build)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(site), path]))}
