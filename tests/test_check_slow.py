"""`make check-slow` runs what `make test` leaves out, and on another device whatever can run there."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def chosen(*options: str) -> set[str]:
    """The tests in two files that options choose; none of them is run."""
    files = ["tests/laws/test_law_09_a_sample_is_a_function_of_its_key.py", "tests/test_long.py"]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *options, *files]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    return set(re.findall(r"::(test_\w+)", listing))


def test_on_a_gpu_check_slow_runs_what_needs_one():
    (marks,) = re.findall(r'pytest -m "(.*)" --device', (ROOT / "Makefile").read_text(encoding="utf-8"))
    found = chosen("-m", marks, "--device", "cuda")
    assert "test_law_9_a_sample_does_not_depend_on_the_device" in found
    assert "test_law_9_noise_does_not_depend_on_the_device" in found
    assert "test_sixty_seconds_take_the_memory_of_two" in found
    assert "test_law_9_a_network_does_not_depend_on_the_batch" not in found, "it runs on CPU alone"
