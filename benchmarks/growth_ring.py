"""What the ring costs against channels, rows a block, cursors and its own size."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import timeit
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from growth_curves import Curve, Point, Series
from growth_settings import Settings
from measure import interleaved

import mulletdaq as mullet

BLOCK_ROWS = 1000
MESSAGE = b"sixteen bytes..."
MESSAGE_SPAN = 128
MESSAGES_BETWEEN = 100
ROUNDS_NOTE = "Median of {} interleaved rounds, in brackets where eight of ten lie."

READER = """
import select, sys, time
import mulletdaq as mullet
with mullet.RingBuffer.open(sys.argv[1]) as ring:
    work, cursor = "away", None
    while True:
        if select.select([sys.stdin], [], [], 0 if work == "reading" else None)[0]:
            work = sys.stdin.readline().strip()
            if not work:
                break
            cursor = None if work == "away" else ring.cursor("latest")
            print(work, flush=True)
        elif cursor.read() is None:
            time.sleep(0.01)
"""

Work = Mapping[tuple[str, float], Callable[[], float]]


def measured(work: Work, rounds: int) -> list[Series]:
    """The lines of a curve, from work by line and size, measured in turn."""
    lines: dict[str, Series] = {}
    for (name, size), values in interleaved(work, rounds).items():
        lines.setdefault(name, Series(name)).points.append(Point(size, values))
    return list(lines.values())


def timed(statement: str, names: dict[str, Any], calls: int, rows: int = 1) -> Callable[[], float]:
    """Nanoseconds a row of a statement that writes some, in processor time: it waits for nothing, but has to share."""
    timer = timeit.Timer(statement, timer=lambda: time.thread_time_ns() * 1e-9, globals=names)
    return lambda: timer.timeit(calls) / calls / rows * 1e9


def note(settings: Settings) -> str:
    return ROUNDS_NOTE.format(settings.rounds)


def channels(settings: Settings, folder: Path) -> Curve:
    """A row of more and more float64 channels, one at a time and in blocks."""
    work: dict[tuple[str, float], Callable[[], float]] = {}
    with ExitStack() as stack:
        for count in settings.channels:
            path = folder / f"channels{count}.ring"
            ring = stack.enter_context(mullet.RingBuffer.create(path, 32))
            producer = ring.producer({f"c{number:03d}": "V" for number in range(count)})
            calls = max(10, settings.calls // count)
            names = {"append": producer.append, "value": 1.5, "row": (1.5,) * count}
            work["`append(a, b, …)`", count] = timed(f"append({', '.join(['value'] * count)})", names, calls)
            work["`append(*row)`", count] = timed("append(*row)", names, calls)
            columns = [np.arange(BLOCK_ROWS) * 0.5] * count
            names = {"write": producer.append_block, "columns": columns, "stamps": np.arange(BLOCK_ROWS)}
            calls = max(2, settings.calls // count // BLOCK_ROWS)
            work[f"`write_block`, {BLOCK_ROWS} rows a call", count] = timed(
                "write(*columns, timestamps_ns=stamps)", names, calls, BLOCK_ROWS
            )
        lines = measured(work, settings.rounds)
    return Curve("channels", "A row, by channels", "channels", "processor time a row", "ns", lines, note(settings))


def block_rows(settings: Settings, folder: Path) -> Curve:
    """Larger and larger blocks of one channel."""
    work: dict[tuple[str, float], Callable[[], float]] = {}
    with ExitStack() as stack:
        blocks = stack.enter_context(mullet.RingBuffer.create(folder / "blocks.ring", 100))
        producer = blocks.producer({"voltage": "V"})
        batches = stack.enter_context(mullet.RingBuffer.create(folder / "batches.ring", 100))
        for rows in settings.block_rows:
            stamps, values = np.arange(rows), np.arange(rows) * 0.5
            batch = pa.record_batch({"timestamp": stamps, "voltage": values})
            calls = min(max(settings.calls // rows, 3), settings.calls // 10)
            names = {"write": producer.append_block, "values": values, "stamps": stamps}
            work["`write_block`", rows] = timed("write(values, timestamps_ns=stamps)", names, calls, rows)
            names = {"write": batches.write_arrow_batch, "batch": batch}
            work["`write_arrow_batch`", rows] = timed("write(batch)", names, calls, rows)
        lines = measured(work, settings.rounds)
    return Curve(
        "block-rows", "A row, by rows a call", "rows a call", "processor time a row", "ns", lines, note(settings)
    )


class Readers:
    """Processes with a cursor each, told what to do with it."""

    def __init__(self, processes: list[Any]) -> None:
        self._processes = processes

    def tell(self, count: int, work: str) -> None:
        """So many are to be ``"idle"`` or ``"reading"``, the others away; returns when all are."""
        for number, process in enumerate(self._processes):
            process.stdin.write(f"{work if number < count else 'away'}\n")
            process.stdin.flush()
        for process in self._processes:
            assert process.stdout.readline().strip()


@contextmanager
def readers(path: Path, count: int) -> Iterator[Readers]:
    """That many processes, ended with the block."""
    with ExitStack() as stack:
        command = [sys.executable, "-c", READER, str(path)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        processes = [stack.enter_context(subprocess.Popen(command, **pipes)) for _ in range(count)]
        yield Readers(processes)
        for process in processes:
            process.stdin.close()


def cursors(settings: Settings, folder: Path) -> Curve:
    """An append while others have cursors."""
    path = folder / "cursors.ring"
    with (
        mullet.RingBuffer.create(path, 100) as ring,
        ring.producer({"voltage": "V"}) as producer,
        readers(path, max(settings.cursors)) as others,
    ):
        append = timed("append(1.5)", {"append": producer.append}, settings.calls)

        def work_beside(count: int, what: str) -> Callable[[], float]:
            def work() -> float:
                others.tell(count, what)
                result = append()
                others.tell(0, "away")
                return result

            return work

        work = {(what, count): work_beside(count, what) for count in settings.cursors for what in ("idle", "reading")}
        lines = measured(work, settings.rounds)
    return Curve(
        "cursors", "An append, by cursors in other processes", "cursors", "processor time of an append", "ns", lines,
        note(settings),
    )  # fmt: skip


def rooms(settings: Settings, folder: Path) -> list[float]:
    """The sizes of ring that there is room for, MB; says which are left out."""
    free_mb = shutil.disk_usage(folder).free / (1 << 20)
    there = [size for index, size in enumerate(settings.ring_mb) if sum(settings.ring_mb[: index + 1]) < free_mb / 2]
    if len(there) < len(settings.ring_mb):
        print(f"rings above {max(there, default=0):g} MB left out: {folder} has {free_mb:.0f} MB free", flush=True)
    return there


def ring_size(settings: Settings, folder: Path) -> Curve:
    """Writing into larger and larger rings, which went round once before."""
    work: dict[tuple[str, float], Callable[[], float]] = {}
    stamps, values = np.arange(BLOCK_ROWS), np.arange(BLOCK_ROWS) * 0.5
    calls = max(2, settings.calls // BLOCK_ROWS)
    with ExitStack() as stack:
        for size in rooms(settings, folder):
            ring = stack.enter_context(mullet.RingBuffer.create(folder / f"size{size}.ring", size))
            producer = ring.producer({"voltage": "V"})
            while producer.row * 16 < ring.capacity_bytes:
                producer.append_block(values, timestamps_ns=stamps)
            work["`append`, a row a call", size] = timed("append(1.5)", {"append": producer.append}, settings.calls)
            names = {"write": producer.append_block, "values": values, "stamps": stamps}
            statement = "write(values, timestamps_ns=stamps)"
            work[f"`write_block`, {BLOCK_ROWS} rows a call", size] = timed(statement, names, calls, BLOCK_ROWS)
        lines = measured(work, settings.rounds)
    return Curve(
        "ring-size", "A row, by size of the ring", "MB of ring", "processor time a row", "ns", lines, note(settings)
    )


def looks(settings: Settings, folder: Path) -> Curve:
    """Looking into larger and larger rings that are full of the smallest messages: the most frames there can be."""
    work: dict[tuple[str, float], Callable[[], float]] = {}
    with ExitStack() as stack:
        for size in rooms(settings, folder):
            ring = stack.enter_context(mullet.RingBuffer.create(folder / f"looks{size}.ring", size))
            write = ring.write
            # Nearly round: then the half-ring mark, where a first look begins, is far behind.
            for _ in range(ring.capacity_bytes // MESSAGE_SPAN * 9 // 10):
                write(MESSAGE)
            handle = stack.enter_context(mullet.RingBuffer.open(ring.path))
            work["`statistics()`, the first of a handle", size] = lambda ring=ring: first_look(ring)
            work["`statistics()`, again", size] = later(ring, handle.statistics)
            work["`latest(10)`, again", size] = later(ring, lambda handle=handle: handle.latest(10))
        lines = measured(work, settings.rounds)
    return Curve(
        "looks", "A look into a ring full of tiny messages", "MB of ring", "processor time of a look", "ns", lines,
        note(settings) + f" Messages of {len(MESSAGE)} bytes, {MESSAGES_BETWEEN} between a look and the next.",
    )  # fmt: skip


def first_look(ring: Any) -> float:
    """Nanoseconds, the opening not included."""
    with mullet.RingBuffer.open(ring.path) as fresh:
        return elapsed_ns(fresh.statistics)


def later(ring: Any, look: Callable[[], Any]) -> Callable[[], float]:
    """A look after some more messages."""

    def work() -> float:
        for _ in range(MESSAGES_BETWEEN):
            ring.write(MESSAGE)
        return elapsed_ns(look)

    return work


def elapsed_ns(work: Callable[[], Any]) -> float:
    """In processor time."""
    began = time.thread_time_ns()
    work()
    return float(time.thread_time_ns() - began)


__all__ = ["block_rows", "channels", "cursors", "looks", "ring_size"]
