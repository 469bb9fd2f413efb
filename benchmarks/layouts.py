"""Long files in both layouts: their size, how soon they open, and whether commits grow with them.

python benchmarks/layouts.py [--commits BATCHES] [--rows ROWS] [--fsync] [--folder FOLDER] [--quick]
                             [--json FILE] [--markdown FILE]

200 channels in ``continuous`` and 2 in ``batches``, as many batches as told (2,000 by default, 100,000 take half an
hour), ROWS rows each, every one a commit of its own. A first and a last commit is the median of a hundred, by the clock
and in time of the processors, which others on the machine lengthen less. A new process opens the file, with h5py alone.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from measure import Row, Table, argument, main, median, sized

from mulletdaq.hdf5.engine import Engine
from mulletdaq.hdf5.options import EngineOptions, RingAddress
from mulletdaq.ring import RingBuffer

SAMPLE = sized(100, 10)
BATCHES = argument("--commits", sized(2_000, 40))
LAYOUTS = (("continuous", BATCHES, 200), ("batches", BATCHES, 2))
ROWS = argument("--rows", 10)
FSYNC = "commit" if "--fsync" in sys.argv else "never"
OPEN = """
import sys, time
import h5py
began = time.perf_counter()
with h5py.File(sys.argv[1]) as file:
    group = file["measurements"]
    if "batches" in file:
        value = group["c000"][-1]
    else:
        value = group[f"batch_{len(group):06d}"]["c000"][-1]
print(time.perf_counter() - began, value)
"""


class LongFile:
    """A file made of many commits, each measured."""

    def __init__(self, folder: Path, layout: str, channels: int, rows: int, fsync: Any) -> None:
        self.path = folder / f"{layout}.h5"
        self.schema = pa.schema([("timestamp", pa.int64()), *((f"c{n:03d}", pa.float64()) for n in range(channels))])
        self.rows, self.layout, self.channels = rows, layout, channels
        self.ring = RingBuffer.create(str(folder / f"{layout}.ring"), capacity_mb=64, exist_ok=False)
        address = RingAddress(self.ring.path, self.ring.stream_id)
        self.engine = Engine(EngineOptions(str(self.path), {"": address}, layout=layout, fsync=fsync))
        self.chance = np.random.default_rng(1)
        self.written = 0
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        self.pages: list[int] = []

    def fill(self, batches: int) -> None:
        """Make that many commits, and say how far it is."""
        began = shown = time.monotonic()
        for number in range(batches):
            self.write()
            pages = self.engine.journal_statistics().pages
            before, cpu_before = time.perf_counter(), time.process_time()
            self.engine.commit()
            self.seconds.append(time.perf_counter() - before)
            self.cpu_seconds.append(time.process_time() - cpu_before)
            self.pages.append(self.engine.journal_statistics().pages - pages)
            if (now := time.monotonic()) - shown > 5:
                shown, left_s = now, (now - began) / (number + 1) * (batches - number - 1)
                print(
                    f"\r{self.layout}: {number + 1:,} of {batches:,} batches, {left_s:.0f} s to go ", end="", flush=True
                )
        print("\r" + " " * 70 + "\r", end="")
        self.engine.drain({})
        self.engine.close()

    def write(self) -> None:
        stamps = pa.array(np.arange(self.written, self.written + self.rows) * 1_000_000)
        values = np.cumsum(self.chance.normal(size=(self.channels, self.rows)), axis=1).round(3)
        self.ring.write_arrow_batch(pa.record_batch([stamps, *map(pa.array, values)], schema=self.schema))
        self.written += self.rows

    @property
    def raw_bytes(self) -> int:
        return self.written * 8 * len(self.schema)


def measured(table: Table, file: LongFile, batches: int) -> None:
    """The figures of one layout."""
    file.fill(batches)
    work = f"{file.layout}, {batches:,} × {file.channels}"
    size = file.path.stat().st_size
    ratio = size / file.raw_bytes
    # A batch of ten rows in groups of its own is mostly the groups: its size is told, not judged.
    goal = "≤ 1.2" if file.layout == "continuous" else "none"
    table.add(
        Row(f"{work}: size", f"{size / 1e6:.1f} MB", "raw data", f"{file.raw_bytes / 1e6:.1f} MB", ratio,
            goal, goal == "none" or ratio <= 1.2)
    )  # fmt: skip
    opened = subprocess.run([sys.executable, "-c", OPEN, str(file.path)], check=True, capture_output=True, text=True)
    seconds = float(opened.stdout.split()[0])
    table.add(Row(f"{work}: open, last value", f"{seconds * 1e3:.1f} ms", "limit", "1 s", seconds, "≤ 1", seconds <= 1))
    for kind, seconds_each in (("", file.seconds), (", processor time", file.cpu_seconds)):
        first, last = median(seconds_each[1 : SAMPLE + 1]), median(seconds_each[-SAMPLE:])
        table.add(
            Row(f"{work}: last commits{kind}", f"{last * 1e3:.2f} ms", "first commits", f"{first * 1e3:.2f} ms",
                last / first, "≤ 2", last <= 2 * first, f"worst {max(seconds_each) * 1e3:.0f} ms")
        )  # fmt: skip
    before, after = median(file.pages[1 : SAMPLE + 1]), median(file.pages[-SAMPLE:])
    most = max(file.pages[SAMPLE:], default=0)
    table.add(
        Row(f"{work}: pages of last commits", f"{after:.0f}", "pages of first commits", f"{before:.0f}",
            after / max(before, 1), "≤ 2", after <= 2 * before, f"most {most}")
    )  # fmt: skip


def run(table: Table) -> None:
    """Both layouts, one after the other."""
    with tempfile.TemporaryDirectory(prefix="mulletdaq-bench-", dir=argument("--folder", "") or None) as folder:
        for layout, batches, channels in LAYOUTS:
            file = LongFile(Path(folder), layout, channels, ROWS, FSYNC)
            measured(table, file, batches)


if __name__ == "__main__":
    main("Long files", run)
