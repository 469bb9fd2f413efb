"""What importing takes, beside what cannot be avoided, each figure from the same rounds.

python benchmarks/imports.py [--rounds N] [--json FILE] [--markdown FILE]

Each import is timed within a fresh interpreter, so that starting Python is not in it; commands are timed from outside.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from measure import Table, interleaved, main, slower_by

ROUNDS = int(sys.argv[sys.argv.index("--rounds") + 1]) if "--rounds" in sys.argv else 15
TIMED = "import time; began = time.perf_counter_ns(); {code}; print(time.perf_counter_ns() - began)"


def importing(code: str) -> Callable[[], float]:
    """Nanoseconds that some code takes in an interpreter of its own."""
    command = [sys.executable, "-c", TIMED.format(code=code)]
    return lambda: float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def running(*command: str) -> Callable[[], float]:
    """Nanoseconds from a command's start to its end."""

    def run_it() -> float:
        began = time.perf_counter_ns()
        subprocess.run(command, capture_output=True, check=True)
        return float(time.perf_counter_ns() - began)

    return run_it


def run(table: Table) -> None:
    mullet = str(Path(sys.executable).parent / "mullet")
    work = {
        "ours": importing("import mulletdaq"),
        "numpy": importing("import numpy"),
        "ring": importing("import mulletdaq; mulletdaq.RingBuffer"),
        "record": importing("import mulletdaq; mulletdaq.record"),
        "packages": importing("import numpy, pyarrow, h5py"),
        "version": running(mullet, "--version"),
        "help": running(mullet, "--help"),
        "python": running(sys.executable, "-c", "import numpy"),
        "typer": running(sys.executable, "-c", "import typer, rich.table, rich.progress, typer.rich_utils"),
    }
    results = interleaved(work, ROUNDS)
    slower_by(table, "import mulletdaq", results["ours"], "import numpy", results["numpy"], 2.0)
    slower_by(table, "the same, and mulletdaq.RingBuffer", results["ring"], "import numpy", results["numpy"], 2.0)
    slower_by(
        table,
        "the same, and mulletdaq.record",
        results["record"],
        "import numpy, pyarrow, h5py",
        results["packages"],
        2.0,
    )
    slower_by(table, "mullet --version", results["version"], "python -c 'import numpy'", results["python"], 1.0)
    slower_by(table, "mullet --help", results["help"], "python -c 'import typer, rich…'", results["typer"], 2.0)


if __name__ == "__main__":
    main("Imports", run)
