"""What a commit costs as a file grows: journal pages and milliseconds after 10, 1,000, 10,000 … batches.

python benchmarks/journal.py [--batches BATCHES] [--quick] [--json FILE] [--markdown FILE]

10,000 batches by default, a tenth of that with fsync; 100,000 take some minutes.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
from measure import Row, Table, argument, main, median, nanoseconds, sized, spread

from mulletdaq.hdf5.engine import Engine
from mulletdaq.hdf5.options import EngineOptions, RingAddress
from mulletdaq.ring import RingBuffer

MARKS = (10, 1_000, 10_000, 100_000)
WINDOW = 50
PAGES = 50
BATCHES = argument("--batches", sized(10_000, 15))
ROWS = 100


def batch(first: int) -> pa.RecordBatch:
    """Two columns of 100 rows."""
    numbers = np.arange(first, first + ROWS)
    return pa.record_batch({"timestamp": numbers, "voltage": numbers * 0.5})


def measured(table: Table, folder: Path, fsync: str, batches: int) -> None:
    """Fill one file, with a row for each mark: over the 50 commits before it, beside those before the first."""
    with RingBuffer.create(folder / f"{fsync}.ring", capacity_mb=16) as ring:
        address = RingAddress(ring.path, ring.stream_id)
        options = EngineOptions(str(folder / f"{fsync}.h5"), {"": address}, fsync=fsync)
        with closing(Engine(options)) as engine:
            seconds: list[float] = []
            pages = [engine.journal_statistics().pages]
            first = 0.0
            for number in range(1, batches + 1):
                ring.write_arrow_batch(batch(number * ROWS))
                began = time.perf_counter()
                engine.commit()
                seconds.append(time.perf_counter() - began)
                pages.append(engine.journal_statistics().pages)
                if number in MARKS or number == batches:
                    window = seconds[-WINDOW:]
                    first = first or median(window)
                    work = f"commit {number:,}, fsync={fsync!r}"
                    per_commit = (pages[-1] - pages[-1 - len(window)]) / len(window)
                    table.add(
                        Row(f"{work}: journal pages", f"{per_commit:.1f}", "limit", str(PAGES), per_commit / PAGES,
                            "≤ 1", per_commit <= PAGES)
                    )  # fmt: skip
                    table.add(
                        Row(f"{work}: time", nanoseconds(median(window) * 1e9), f"the first {MARKS[0]}",
                            nanoseconds(first * 1e9), median(window) / first, "≤ 2", median(window) <= 2 * first,
                            spread(window), f"a file of {engine.statistics().file_bytes / 1e6:.1f} MB")
                    )  # fmt: skip


def run(table: Table) -> None:
    """Both durabilities, one after the other, on the disk that temporary files are on."""
    with tempfile.TemporaryDirectory(prefix="mulletdaq-bench-") as folder:
        # A disk takes its time for each fsync: a tenth of the commits.
        for fsync, batches in (("never", BATCHES), ("commit", max(BATCHES // 10, min(BATCHES, 20)))):
            measured(table, Path(folder), fsync, batches)


if __name__ == "__main__":
    main("The journal", run)
