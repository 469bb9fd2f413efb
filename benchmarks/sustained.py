"""16 channels × 1 MS/s of float64 for some seconds, ring of 100 MB, old data overwritten: is anything lost?

python benchmarks/sustained.py [--seconds SECONDS] [--quick] [--json FILE] [--markdown FILE]

A converter's sine, in blocks of 20 ms; the file is on the disk of temporary files.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from measure import Row, Table, argument, main, shared_memory, sized
from signals import converter_volts

import mulletdaq as mullet

CHANNELS = 16
RATE_HZ = 1_000_000
BLOCK = RATE_HZ // 50
SECONDS = argument("--seconds", sized(10.0, 0.2))
DIFFERENT = sized(25, 3)
SYNCS = sized(("never", "commit"), ("commit",))


def blocks() -> list[list[np.ndarray]]:
    """Some blocks' columns, to be given again and again."""
    chance = np.random.default_rng(1)
    columns = [converter_volts(DIFFERENT * BLOCK, chance) for _ in range(CHANNELS)]
    return [[column[row : row + BLOCK] for column in columns] for row in range(0, DIFFERENT * BLOCK, BLOCK)]


def recorded(path: Path, fsync: str, seconds: float) -> tuple[mullet.RecordingStatistics, float, float]:
    """What became of it, how full the ring was at most, and how far behind the clock the last block was, s."""
    given = blocks()
    channels = [f"channel_{number:02d}" for number in range(CHANNELS)]
    fill = 0.0
    options = {"fsync": fsync, "ring_capacity_mb": 100, "layout": "continuous"}
    with mullet.record(path, dict.fromkeys(channels, "V"), **options) as recording:
        began, began_ns = time.monotonic(), time.time_ns()
        for number in range(int(seconds * RATE_HZ / BLOCK)):
            due = began + (number + 1) * BLOCK / RATE_HZ
            if (left := due - time.monotonic()) > 0:
                time.sleep(left)
            recording.write_block(*given[number % len(given)], start_ns=began_ns, rate_hz=RATE_HZ)
            if number % 5 == 0:
                fill = max(fill, recording.statistics().ring_fill)
        late = max(time.monotonic() - due, 0.0)
    return recording.statistics(), fill, late


def run(table: Table) -> None:
    with tempfile.TemporaryDirectory(prefix="mulletdaq-bench-") as folder:
        for fsync in SYNCS:
            path = Path(folder) / f"{fsync}.h5"
            what, fill, late = recorded(path, fsync, SECONDS)
            kept = what.rows_persisted / max(what.rows_written, 1)
            megabytes = what.rows_written * 8 * (CHANNELS + 1) / 1e6
            table.add(
                Row(f"16 channels × 1 MS/s, fsync={fsync!r}: rows kept", f"{what.rows_persisted:,}", "rows given",
                    f"{what.rows_written:,}", kept, "all, in time",
                    what.rows_lost == 0 and kept == 1 and late < BLOCK / RATE_HZ,
                    f"ring at most {fill:.0%} full, the last block {late * 1e3:.0f} ms late",
                    f"{megabytes:.0f} MB in {SECONDS:g} s, rings in {shared_memory() or tempfile.gettempdir()}",
                    goal_of="sustained")
            )  # fmt: skip
            path.unlink()


if __name__ == "__main__":
    main("Sustained", run)
