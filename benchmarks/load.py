"""The whole path under load: instruments that write as fast as they would, and what reaches the disk.

python benchmarks/load.py [--minutes M] [--only WORDS] [--ring-mb MB,…] [--rings shm,disk] [--sweep] [--folder F]
                          [--block-ms MS] [--streams N] [--fsync commit|never]
                          [--png FILE] [--json FILE] [--markdown FILE] [--list]

M is for all runs together. ``--only "digitiser none"`` chooses the cases whose names have these words; it may be
given several times. ``--sweep`` tries the digitiser with rings from 10 MB to 1 GB. The 200 streams share the ring's
size, with at least 1 MB each. Files are counted and removed as soon as the writer is done with them: there are never
more than 8 GB. Ends with 1 if the rows of a run do not add up: rows on the disk and rows that the files have as lost
must be the rows written. How fast it was decides nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from load_cases import SWEEP_MB, WORK, Case, chosen
from load_report import HEAD, line, markdown, plot
from load_watch import MOST_BYTES, ROTATE_MB, Result, Watch
from machine import machine
from measure import rate

SHM = Path("/dev/shm")
SPARE_BYTES = 1 << 30
FASTEST = 2 << 30
STEP = 1 << 20
_INTERRUPTED = 130


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="The whole path under load: rows in, rows on disk, rows lost, and what it costs."
    )
    parser.add_argument("--minutes", type=float, default=5.0, help="for all runs together")
    parser.add_argument("--only", action="append", default=[], metavar="WORDS", help="cases with all these words")
    parser.add_argument("--ring-mb", default="", metavar="MB,…", help="size of the ring, or sizes to try; 100")
    parser.add_argument("--rings", default="shm,disk", help="where the rings lie: shm, disk or both")
    parser.add_argument("--sweep", action="store_true", help="the digitiser with rings from 10 MB to 1 GB")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to write to")
    parser.add_argument("--block-ms", type=float, default=20.0, help="length of the digitiser's blocks")
    parser.add_argument("--streams", type=int, default=200, help="how many streams of 100 Hz")
    parser.add_argument("--fsync", choices=("commit", "never"), default="commit")
    parser.add_argument("--png", metavar="FILE", help="a plot of how full the rings were")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--markdown", metavar="FILE")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    return parser.parse_args()


@contextmanager
def own_folder(parent: Path) -> Iterator[Path]:
    """A folder that goes again, whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="mulletdaq-load-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def disk_rate(folder: Path, megabytes: int) -> float:
    """What the disk takes of bytes alone, in bytes a second: os.write, and an fsync at the end."""
    path, content = folder / "disk", os.urandom(STEP)
    began = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(megabytes):
            file.write(content)
        os.fsync(file.fileno())
    took = time.perf_counter() - began
    path.unlink()
    return megabytes * STEP / took


def lacks_room(folder: Path, rings: Path, seconds: float, ring_mb: float) -> str:
    """Why a run cannot be, if there is too little room for its files or its rings."""
    needed = {folder: min(MOST_BYTES, 3 * ROTATE_MB << 20, int(FASTEST * seconds) + (256 << 20)) + SPARE_BYTES}
    ring_bytes = int(ring_mb * STEP * 1.1) + (64 << 20)
    needed[rings] = needed.get(rings, 0) + ring_bytes
    for place, wanted in needed.items():
        free = shutil.disk_usage(place).free
        if free < wanted:
            return f"{place} has {free / 1e9:.1f} GB free, {wanted / 1e9:.1f} GB are needed"
    return ""


class Progress:
    """One line that changes, on a terminal; else one for each run."""

    def __init__(self, runs: int, seconds: float) -> None:
        self._runs, self._seconds = runs, seconds
        self._shown = 0.0
        self._live = sys.stderr.isatty()

    def begin(self, number: int, name: str) -> None:
        """Name the run."""
        self._name = f"{number} of {self._runs}: {name}"
        if not self._live:
            print(f"{self._name}, {self._seconds:.3g} s", file=sys.stderr, flush=True)

    def show(self, elapsed_s: float, fill: float) -> None:
        """Where it is."""
        if self._live and time.monotonic() - self._shown > 0.2:
            self._shown = time.monotonic()
            state = f"{elapsed_s:.0f} of {self._seconds:.3g} s, ring {fill:.0%} full"
            print(f"\r\033[K{self._name}: {state}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Make room for the run's own line."""
        if self._live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def run_all(options: argparse.Namespace, cases: list[Case], results: list[Result], left_out: dict[str, str]) -> None:
    """Every case with every ring, one after the other."""
    sizes = [float(size) for size in options.ring_mb.split(",") if size] or (SWEEP_MB if options.sweep else [100.0])
    runs = [(case, size, place) for case in cases for size in sizes for place in options.rings.split(",")]
    seconds = max(0.3, options.minutes * 60 / len(runs))
    progress = Progress(len(runs), seconds)
    for number, (case, size, place) in enumerate(runs, 1):
        name = f"{case.name}, {size:g} MB ring, {place}"
        with own_folder(options.folder) as folder, own_folder(SHM if place == "shm" else options.folder) as rings:
            if reason := lacks_room(folder, rings, seconds, size):
                left_out[name] = reason
                print(f"left out: {name}: {reason}", flush=True)
                continue
            plan = {"seconds": seconds, "ring_mb": size}
            plan |= {name: getattr(options, name) for name in ("block_ms", "streams", "fsync")}
            progress.begin(number, name)
            try:
                results.append(Watch(case, folder, rings, plan, progress.show).run())
            finally:
                progress.end()
        print(line(results[-1]), flush=True)


def main() -> int:
    options = arguments()
    cases = chosen(options.only, sweep=options.sweep)
    if options.list or not cases:
        for case in chosen([], sweep=options.sweep):
            print(f"{case.name:<36} {WORK[case.work]}")
        return 0 if options.list else 2
    if not set(options.rings.split(",")) <= {"shm", "disk"}:
        print(f"--rings takes shm, disk or both, not {options.rings}", file=sys.stderr)
        return 2
    on = machine()
    with own_folder(options.folder) as folder:
        on["disk"] = f"{rate(disk_rate(folder, 256 if options.minutes >= 1 else 16))} by os.write and fsync"
    print(f"Under load: {', '.join(f'{key} {value}' for key, value in on.items())}\n{HEAD}", flush=True)
    left_out: dict[str, str] = {}
    results: list[Result] = []
    interrupted = False
    try:
        run_all(options, cases, results, left_out)
    except KeyboardInterrupt:
        interrupted = True
        print("interrupted; what was measured so far stands", flush=True)
    if options.json:
        content = {"machine": on, "runs": [result.to_dict() for result in results], "left_out": left_out}
        Path(options.json).write_text(json.dumps(content))
    if options.markdown:
        Path(options.markdown).write_text(markdown(results, on))
    if options.png and results:
        plot(results, options.png)
    wrong = [result for result in results if not result.adds_up]
    for result in wrong:
        reason = result.error or f"{result.rows_in} in, {result.rows_on_disk} on disk, {result.rows_lost} lost"
        print(f"does not add up: {result.case}, {result.ring_mb:g} MB ring in {result.place}: {reason}", flush=True)
    return 1 if wrong else _INTERRUPTED if interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
