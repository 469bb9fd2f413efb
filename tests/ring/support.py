"""What the ring's tests share: the bytes of a ring's file, read with struct, and other processes."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mulletdaq.ring import Cursor, RingBuffer
from mulletdaq.schema import Channel
from tests import waiting
from tests.waiting import PATIENCE_S

MAGIC = 0xDADADADA00000001
HEADER = struct.Struct("<QQQQIIQQQQQIIQQQQII")
FRAME = struct.Struct("<QQQQQQIIII")
SEALED = 1 << 63
PADDING, OPAQUE, ROWS, ARROW = range(4)
SCHEMA_CAPACITY = 1 << 20
eventually = partial(waiting.eventually, poll_s=0.001)

VOLTAGE = [Channel("voltage", "V")]


@dataclass(frozen=True)
class Header:
    """A ring's header, field by field as the layout says."""

    magic: int
    capacity: int
    write_head: int
    read_tail: int
    schema_len: int
    version: int
    write_intent: int
    oldest: int
    midway: int
    stream_id: int
    created_ns: int
    producer_pid: int
    sink_pid: int
    producer_heartbeat: int
    sink_heartbeat: int
    next_sequence: int
    next_row: int
    schema_capacity: int
    flags: int


@dataclass(frozen=True)
class FrameBytes:
    """A frame as it stands in the file."""

    position: int
    length: int
    sequence: int
    first_row: int
    rows: int
    sealed: bool
    timestamp_ns: int
    kind: int
    crc: int
    row_capacity: int
    body_offset: int
    payload: bytes


def header_of(path: Path | str) -> Header:
    """The header in a ring's file."""
    with Path(path).open("rb") as file:
        return Header(*HEADER.unpack(file.read(HEADER.size)))


def frames_of(path: Path | str) -> Iterator[FrameBytes]:
    """Every frame from the oldest to the head, padding included, by the layout alone."""
    header = header_of(path)
    position = header.oldest
    with Path(path).open("rb") as file:
        while position < header.write_head:
            file.seek(128 + position % header.capacity)
            own, length, sequence, row, state, stamp, kind, crc, capacity, body = FRAME.unpack(file.read(64))
            assert own == position
            payload = file.read(length)
            yield FrameBytes(
                own, length, sequence, row, state & ~SEALED, bool(state & SEALED), stamp, kind, crc, capacity, body,
                payload,
            )  # fmt: skip
            position += 64 + -(-length // 64) * 64


def patch(path: Path | str, offset: int, content: bytes) -> None:
    """Overwrite bytes of a file in place."""
    with Path(path).open("r+b") as file:
        file.seek(offset)
        file.write(content)


def batch_of(first: int, count: int) -> pa.RecordBatch:
    """A batch of the voltage stream whose values tell their row."""
    numbers = np.arange(first, first + count)
    return pa.record_batch(
        [pa.array(numbers), pa.array(numbers * 0.5)],
        schema=pa.schema(
            [pa.field("timestamp", pa.int64(), nullable=False), pa.field("voltage", pa.float64(), nullable=False)]
        ),
    )


def ring_of(make_ring: Callable[..., RingBuffer], rows: int, capacity: int = 1 << 16) -> RingBuffer:
    """A ring whose voltages tell their row, its last frame open."""
    ring = make_ring(capacity)
    ring.producer(VOLTAGE).append_block(np.arange(float(rows)))
    return ring


def drain(cursor: Cursor) -> list[Any]:
    """Everything there is to read now."""
    taken = []
    while (content := cursor.read()) is not None:
        taken.append(content)
    return taken


def column(cursor: Cursor, name: str) -> list[Any]:
    """One column of everything there is to read now."""
    return [value for batch in drain(cursor) for value in batch.column(name).to_pylist()]


def state_of(ring: RingBuffer) -> tuple[int, int, bytes]:
    """What must not change when a write is refused."""
    return ring.newest_row, ring.write_head, ring.read_snapshot()


def run_python(script: str, *arguments: object) -> str:
    """Run a script in a process of its own; its output. It must end well."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def running_python(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A script running in a process of its own, killed at the end if it still does."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", textwrap.dedent(script), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line_from(process: subprocess.Popen[str]) -> str:
    """The next line that the process prints."""
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line, "the process ended without a word"
    return line


def tell(process: subprocess.Popen[str], line: str = "go") -> None:
    """Give the process a line to read."""
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def kill_hard(process: subprocess.Popen[str]) -> None:
    """What a crash looks like from outside."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
