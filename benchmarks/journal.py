"""What a commit costs as a file grows: journal pages and milliseconds after 10, 1,000 and 100,000 batches.

``python benchmarks/journal.py [BATCHES]``; 100,000 take some minutes.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa

from mulletdaq.hdf5.engine import Engine
from mulletdaq.hdf5.options import EngineOptions, RingAddress
from mulletdaq.ring import RingBuffer

MARKS = (10, 1_000, 10_000, 100_000)
WINDOW = 50
ROWS = 100


def batch(first: int) -> pa.RecordBatch:
    """Two columns of 100 rows."""
    numbers = np.arange(first, first + ROWS)
    return pa.record_batch({"timestamp": numbers, "voltage": numbers * 0.5})


def measure(folder: Path, fsync: str, batches: int) -> None:
    """Fill one file, and print a line at each mark: over the 50 commits before it."""
    with RingBuffer.create(folder / f"{fsync}.ring", capacity_mb=16) as ring:
        address = RingAddress(ring.path, ring.stream_id)
        options = EngineOptions(str(folder / f"{fsync}.h5"), {"": address}, fsync=fsync)
        with closing(Engine(options)) as engine:
            seconds: list[float] = []
            pages = [engine.journal_statistics().pages]
            for number in range(1, batches + 1):
                ring.write_arrow_batch(batch(number * ROWS))
                began = time.perf_counter()
                engine.commit()
                seconds.append(time.perf_counter() - began)
                pages.append(engine.journal_statistics().pages)
                if number in MARKS:
                    window = seconds[-WINDOW:]
                    per_commit = (pages[-1] - pages[-1 - len(window)]) / len(window)
                    median_ms = statistics.median(window) * 1e3
                    size_mb = engine.statistics().file_bytes / 1e6
                    print(
                        f"fsync={fsync:6}  {number:7,} batches  {per_commit:5.1f} pages  {median_ms:6.2f} ms a commit  "
                        f"{size_mb:8.1f} MB",
                        flush=True,
                    )


def main() -> None:
    """Both durabilities, one after the other."""
    batches = int(sys.argv[1]) if len(sys.argv) > 1 else MARKS[-1]
    with tempfile.TemporaryDirectory(prefix="mulletdaq-bench-", dir=".") as folder:
        for fsync in ("never", "commit"):
            measure(Path(folder), fsync, batches)


if __name__ == "__main__":
    main()
