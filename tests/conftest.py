"""Set up before mmseqdiff is first imported: checked types, one thread, quick Hypothesis profiles, ``--device``."""

import os
import sys
from pathlib import Path

PLUGINS = sorted(folder.name for folder in (Path(__file__).parents[1] / "plugins").glob("*/mmseqdiff_*"))
os.environ.setdefault("MMSEQDIFF_TYPECHECK_ALSO", ",".join(PLUGINS))
if os.environ.setdefault("MMSEQDIFF_TYPECHECK", "1") == "1" and "mmseqdiff" in sys.modules:
    sys.modules["mmseqdiff"].check_types()  # its pytest plugin, which is nothing but fixtures, was imported before

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)
hypothesis.settings.register_profile(
    "default",
    deadline=None,
    max_examples=20,
    derandomize="CI" in os.environ,
    # A fixture here is a device, a host or an immutable object: nothing that an example could change for the next.
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile("thorough", parent=hypothesis.settings.get_profile("default"), max_examples=400)
hypothesis.settings.register_profile("quick", parent=hypothesis.settings.get_profile("default"), max_examples=3)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="where the tests that take a device run: cpu (default) or cuda")


def pytest_configure(config):
    # beartype looks at random items of containers; Hypothesis seeds the module that it takes its numbers from.
    config.addinivalue_line("filterwarnings", "ignore:Do not use the `random` module inside strategies")


def pytest_itemcollected(item):
    """What takes a device can be chosen by that, so that a GPU's run needs no list of its own."""
    if "device" in item.fixturenames:
        item.add_marker("device")


@pytest.fixture(scope="session")
def device(request):
    """Where to run."""
    name = request.config.getoption("--device")
    if name.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return name


@pytest.fixture(scope="session")
def host():
    """A host with every installed plugin, none of which failed."""
    from mmseqdiff import load_plugins

    host = load_plugins()
    assert not host.failures
    return host
