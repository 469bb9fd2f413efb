"""Every benchmark, one after the other, and one table of them all.

python benchmarks/run.py [--only ring,hdf5] [--quick] [--json FILE] [--markdown FILE] [--page FILE]

Each part runs in a process of its own. One that fails is left out with its reason, what it measured before that stays,
and the exit code is 1. A goal that is not met changes nothing in the exit code: nothing here asserts a time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO

from measure import QUICK, Table, argument

PARTS = ("ring", "peers", "hdf5", "flight", "sustained", "journal", "layouts", "imports", "idle")
HERE = Path(__file__).resolve().parent


def chosen() -> list[str]:
    """The parts to run; a name that is none ends the program."""
    names = [name for name in argument("--only", ",".join(PARTS)).split(",") if name]
    if unknown := [name for name in names if name not in PARTS]:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(PARTS)}", file=sys.stderr)
        raise SystemExit(2)
    return names


def run_part(name: str, table: Table, folder: Path) -> bool:
    """One part in its process, its progress shown as it comes; whether it ended well."""
    result = folder / f"{name}.json"
    command = [sys.executable, str(HERE / f"{name}.py"), "--json", str(result), *(["--quick"] if QUICK else [])]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stderr is not None
        last: list[str] = []
        told = threading.Thread(target=pass_on, args=(process.stderr, last))
        told.start()
        process.wait()
        told.join()
    if result.exists():
        table.merge(json.loads(result.read_text()))
    if process.returncode:
        reason = last[-1] if last else "it said nothing"
        table.leave_out(f"{name}.py" if not result.exists() else f"the rest of {name}.py",
                        f"exit code {process.returncode}: {reason}")  # fmt: skip
    return process.returncode == 0


def pass_on(stream: IO[str], last: list[str]) -> None:
    """What a part says on standard error, and of that the last line with something on it."""
    for line in stream:
        sys.stderr.write(line)
        if line.strip():
            last[:] = [line.strip()]


def main() -> int:
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        return 0
    names = chosen()
    table = Table("Benchmarks")
    good = True
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mulletdaq-bench-") as folder:
        for number, name in enumerate(names, 1):
            print(f"\n[{number} of {len(names)}, {time.monotonic() - began:.0f} s] {name}", flush=True)
            good &= run_part(name, table, Path(folder))
    table.show()
    table.write()
    print(f"\n{sum(row.met for row in table.rows)} of {len(table.rows)} met, {time.monotonic() - began:.0f} s in all")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
