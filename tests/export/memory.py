"""Memory that a process of its own takes for a piece of work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_MEASURED = """
import sys
{work}
with open("/proc/self/status") as file:
    print(*(line.split()[1] for line in file if line.startswith("VmHWM:")))
"""
# Not getrusage: its maximum begins with what the process that started this one has.


def peak_mb(work: str, *arguments: str | Path) -> float:
    """The most memory, in MiB, that an interpreter ever held while it did this work with these arguments."""
    command = [sys.executable, "-c", _MEASURED.format(work=work), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(result.stdout) / 1024
