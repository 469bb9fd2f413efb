"""The ring beside its limits, each figure from the same rounds; `peers.py` has its rivals.

python benchmarks/ring.py [--quick] [--json FILE] [--markdown FILE]
"""

from __future__ import annotations

import gc
import math
import os
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from measure import (
    QUICK,
    Row,
    Table,
    faster,
    first_line,
    interleaved,
    main,
    median,
    nanoseconds,
    rate,
    shared_memory,
    sized,
    slower_by,
    spread,
)

import mulletdaq as mullet

CALLS = sized(200_000, 2_000)
ROWS = 1_000_000
PACES = (
    ("flat out", None, sized(1_000_000, 10_000)),
    ("10 kHz", 10_000, sized(20_000, 1_000)),
    ("100 Hz", 100, sized(1_000, 20)),
)


def ring_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="mulletdaq-bench-", dir=shared_memory()))


def a_call(function: Callable[..., Any], value: float, calls: int = CALLS) -> Callable[[], float]:
    """Nanoseconds a call."""
    timer = timeit.Timer("function(value)", globals={"function": function, "value": value})
    return lambda: timer.timeit(calls) / calls * 1e9


def seconds(function: Callable[[], Any], repeat: int) -> Callable[[], float]:
    """Nanoseconds a call of something slow enough to be timed alone."""
    timer = timeit.Timer(function)
    return lambda: timer.timeit(repeat) / repeat * 1e9


def per_sample(table: Table, folder: Path) -> None:
    """An append beside math.sqrt."""
    with mullet.RingBuffer.create(folder / "append.ring", 100) as ring:
        append = ring.producer({"voltage": "V"}).append
        work = {"append": a_call(append, 1.5), "sqrt": a_call(math.sqrt, 1.5)}
        results = interleaved(work, rounds=15)
        limit = 2.0 if sys.version_info >= (3, 12) else 2.5
        slower_by(table, "write_measurement, stamped, visible", results["append"], "math.sqrt", results["sqrt"], limit,
                  goal_of="sample")  # fmt: skip


def blocks(table: Table, folder: Path) -> None:
    """A million float64 at once, beside copying the same bytes."""
    values = np.random.default_rng(1).normal(size=ROWS)
    stamps = np.arange(ROWS, dtype=np.int64)
    for checksum, goal in ((False, 0.8), (True, 0.5)):
        with mullet.RingBuffer.create(folder / f"block{checksum}.ring", 100, checksum=checksum) as ring:
            producer = ring.producer({"voltage": "V"})
            # The same bytes to an area as large as the ring, so that both come from and go to memory alike.
            area = np.zeros((6, 2, ROWS))
            turn = 0

            def copy(area: Any = area) -> None:
                nonlocal turn
                turn = (turn + 1) % len(area)
                np.copyto(area[turn, 0].view(np.int64), stamps)
                np.copyto(area[turn, 1], values)

            def write(producer: Any = producer) -> None:
                producer.append_block(values, timestamps_ns=stamps)

            results = interleaved({"ours": seconds(write, sized(6, 1)), "copy": seconds(copy, sized(6, 1))})
        ours, copied = (16 * ROWS / (np.array(results[name]) / 1e9) for name in ("ours", "copy"))
        ratio = float(np.median(ours) / np.median(copied))
        name = "write_block of 1 M float64" + (", checksum" if checksum else "")
        table.add(
            Row(name, rate(float(np.median(ours))), "numpy.copyto of the same bytes", rate(float(np.median(copied))),
                ratio, f"≥ {goal:g}", ratio >= goal, spread(results["ours"], results["copy"]), goal_of="block")
        )  # fmt: skip


def batches(table: Table, folder: Path) -> None:
    """A record batch, beside serialising it and copying the message."""
    batch = pa.record_batch({"timestamp": np.arange(1000), "voltage": np.random.default_rng(1).normal(size=1000)})
    area = np.zeros((6000, 17_000), dtype=np.uint8)
    for checksum, goal in ((False, 1.2), (True, 1.0)):
        with mullet.RingBuffer.create(folder / f"batch{checksum}.ring", 100, checksum=checksum) as ring:
            turn = 0

            def serialize() -> None:
                nonlocal turn
                turn = (turn + 1) % len(area)
                message = batch.serialize()
                area[turn, : message.size] = np.frombuffer(message, np.uint8)

            def write(ring: Any = ring) -> None:
                ring.write_arrow_batch(batch)

            calls = sized(6000, 60)
            results = interleaved({"ours": seconds(write, calls), "rival": seconds(serialize, calls)})
        name = "write_arrow_batch, 2 × 1000 rows" + (", checksum" if checksum else "")
        faster(table, name, results["ours"], "batch.serialize() and a copy", results["rival"], goal, goal_of="batch")


def latency(table: Table) -> None:
    """From one process's append to another's read."""
    if QUICK:
        table.leave_out("latency between two processes", "left to runs without --quick: cargo may have to build it")
        return
    root = Path(__file__).resolve().parent.parent
    command = ["cargo", "bench", "--quiet", "--locked", "-p", "mulletdaq-ring", "--bench", "latency"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        table.leave_out("latency between two processes", first_line(error))
        return
    middle, most = (float(word) for word in done.stdout.split()[-2:])
    table.add(
        Row("latency between two processes, median", nanoseconds(middle), "99.9 % of the same", nanoseconds(most),
            middle / 1000, "≤ 1 µs", middle <= 1000, goal_of="latency")
    )  # fmt: skip


def tail(table: Table, folder: Path) -> None:
    """The slowest appends while a writer process flushes, beside none."""
    for name, rate_hz, appends in PACES:
        results: dict[str, list[float]] = {"with": [], "without": []}
        worst: dict[str, float] = {"with": 0.0, "without": 0.0}
        for _ in range(sized(5, 1)):
            for key in results:
                slowest = _append_times(folder, key == "with", rate_hz, appends)
                results[key].append(float(np.percentile(slowest, 99.9)))
                worst[key] = max(worst[key], float(slowest.max()))
        ratio = median(results["with"]) / median(results["without"])
        table.add(
            Row(f"append's 99.9 %, writer flushing, {name}", nanoseconds(median(results["with"])), "without a writer",
                nanoseconds(median(results["without"])), ratio, "≤ 1.5", ratio <= 1.5,
                f"worst {nanoseconds(worst['with'])} with, {nanoseconds(worst['without'])} without",
                goal_of="tail")
        )  # fmt: skip


def _append_times(folder: Path, flushing: bool, rate_hz: float | None, appends: int) -> Any:
    path = folder / "tail.ring"
    output = folder / "tail.h5"
    durations = np.empty(appends, dtype=np.int64)
    with mullet.RingBuffer.create(path, 100) as ring:
        append = ring.producer({"voltage": "V"}).append
        writer = mullet.HDF5Writer(output, ring, flush_interval_s=0.2) if flushing else None
        if writer:
            writer.start()
        now_ns = time.perf_counter_ns
        gc.disable()
        due = now_ns()
        for index in range(appends):
            if rate_hz:
                due += int(1e9 / rate_hz)
                while (left := due - now_ns()) > 0:
                    if left > 200_000:
                        time.sleep((left - 100_000) / 1e9)
            before = now_ns()
            append(1.5)
            durations[index] = now_ns() - before
        gc.enable()
        if writer:
            writer.stop()
        ring.unlink()
    output.unlink(missing_ok=True)
    return durations


def run(table: Table) -> None:
    folder = ring_folder()
    try:
        per_sample(table, folder)
        blocks(table, folder)
        batches(table, folder)
        latency(table)
        tail(table, folder)
    finally:
        for left in folder.iterdir():
            left.unlink()
        os.rmdir(folder)


if __name__ == "__main__":
    main("The ring", run)
