"""A program of its own, and how much memory it took."""

import subprocess
import sys

REPORT = """
import re
from pathlib import Path
print()
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def run(program, *arguments):
    """What a program prints, and the peak of its resident memory in bytes.

    The kernel counts it for this program alone; ``ru_maxrss`` begins with the peak of the one that started it.
    """
    command = [sys.executable, "-c", program + REPORT, *map(str, arguments)]
    *printed, peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return "\n".join(printed), 1024 * int(peak)
