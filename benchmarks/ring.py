"""The ring beside its limits and peers, each figure from the same rounds.

python benchmarks/ring.py [--json FILE] [--markdown FILE]
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
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import peers
import pyarrow as pa
from measure import Row, Table, faster, interleaved, main, median, nanoseconds, rate, slower_by, spread

import mulletdaq as mullet

CALLS = 200_000
ROWS = 1_000_000


def ring_folder() -> Path:
    shared_memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="mulletdaq-bench-", dir=shared_memory if shared_memory.is_dir() else None))


def a_call(function: Callable[..., Any], value: float, calls: int = CALLS) -> Callable[[], float]:
    """Nanoseconds a call."""
    timer = timeit.Timer("function(value)", globals={"function": function, "value": value})
    return lambda: timer.timeit(calls) / calls * 1e9


def seconds(function: Callable[[], Any], repeat: int) -> Callable[[], float]:
    """Nanoseconds a call of something slow enough to be timed alone."""
    timer = timeit.Timer(function)
    return lambda: timer.timeit(repeat) / repeat * 1e9


def per_sample(table: Table, folder: Path) -> None:
    """Rows 1 to 3: an append beside math.sqrt, beside peers that cross processes, beside peers that write files."""
    with ExitStack() as stack:
        ring = stack.enter_context(mullet.RingBuffer.create(folder / "append.ring", 100))
        append = ring.producer({"voltage": "V"}).append
        work = {"append": a_call(append, 1.5), "sqrt": a_call(math.sqrt, 1.5)}
        results = interleaved(work, rounds=15)
        limit = 2.0 if sys.version_info >= (3, 12) else 2.5
        slower_by(table, "write_measurement, stamped, visible", results["append"], "math.sqrt", results["sqrt"], limit)

        stamped = {"append": work["append"]}
        for name, peer in peers.CROSS_PROCESS.items():
            try:
                push = stack.enter_context(peer())
                push(1.0)
            except Exception as error:
                table.leave_out(name, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
                continue
            stamped[name] = a_call(push, 1.5, 20_000)
        results = interleaved(stamped, rounds=5)
        ours = results.pop("append")
        best = min(results, key=lambda name: median(results[name]))
        for name in results:
            goal = 8.0 if name == best else 1.0
            label = f"{name} (the best)" if name == best else name
            faster(table, "the same", ours, label, results[name], goal)

        for name, (peer, goal) in peers.IN_FILE.items():
            try:
                push = stack.enter_context(peer())
            except ImportError as error:
                table.leave_out(name, str(error))
                continue
            calls = 20_000 if goal < 100 else 1_000
            results = interleaved({"append": work["append"], name: a_call(push, 1.5, calls)}, rounds=5)
            faster(table, "the same", results["append"], name, results[name], goal)


def blocks(table: Table, folder: Path) -> None:
    """Row 4: a million float64 at once, beside copying the same bytes."""
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

            results = interleaved({"ours": seconds(write, 6), "copy": seconds(copy, 6)})
        ours, copied = (16 * ROWS / (np.array(results[name]) / 1e9) for name in ("ours", "copy"))
        ratio = float(np.median(ours) / np.median(copied))
        name = "write_block of 1 M float64" + (", checksum" if checksum else "")
        table.add(
            Row(name, rate(float(np.median(ours))), "numpy.copyto of the same bytes", rate(float(np.median(copied))),
                ratio, f"≥ {goal:g}", ratio >= goal, spread(results["ours"]))
        )  # fmt: skip


def batches(table: Table, folder: Path) -> None:
    """Row 5: a record batch, beside serialising it and copying the message."""
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

            results = interleaved({"ours": seconds(write, 6000), "rival": seconds(serialize, 6000)})
        name = "write_arrow_batch, 2 × 1000 rows" + (", checksum" if checksum else "")
        faster(table, name, results["ours"], "batch.serialize() and a copy", results["rival"], goal)


def latency(table: Table) -> None:
    """Row 6: from one process's append to another's read."""
    root = Path(__file__).resolve().parent.parent
    command = ["cargo", "bench", "--quiet", "--locked", "-p", "mulletdaq-ring", "--bench", "latency"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        table.leave_out("cross-process latency", str(error))
        return
    middle, most = (float(word) for word in done.stdout.split()[-2:])
    table.add(
        Row("latency between two processes, median", nanoseconds(middle), "99.9 % of the same", nanoseconds(most),
            middle / 1000, "≤ 1 µs", middle <= 1000)
    )  # fmt: skip


def tail(table: Table, folder: Path) -> None:
    """Row 7: the slowest appends while a writer process flushes, beside none."""
    for name, rate_hz, appends in (("flat out", None, 1_000_000), ("10 kHz", 10_000, 50_000), ("100 Hz", 100, 1_000)):
        results: dict[str, list[float]] = {"with": [], "without": []}
        worst: dict[str, float] = {"with": 0.0, "without": 0.0}
        for _ in range(5):
            for key in results:
                slowest = _append_times(folder, key == "with", rate_hz, appends)
                results[key].append(float(np.percentile(slowest, 99.9)))
                worst[key] = max(worst[key], float(slowest.max()))
        ratio = median(results["with"]) / median(results["without"])
        table.add(
            Row(f"append's 99.9 %, writer flushing, {name}", nanoseconds(median(results["with"])), "without a writer",
                nanoseconds(median(results["without"])), ratio, "≤ 1.5", ratio <= 1.5,
                f"(worst {nanoseconds(worst['with'])} with, {nanoseconds(worst['without'])} without)")
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
