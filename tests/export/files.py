"""Recordings of every kind, made through ring and writer."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.ring import RingBuffer

LAYOUTS = ("batches", "continuous")

SCHEMA = pa.schema(
    [
        pa.field("timestamp", pa.int64(), nullable=False, metadata={"unit": "ns"}),
        pa.field("voltage", pa.float64(), nullable=False, metadata={"unit": "V", "description": "of the cell"}),
        pa.field("count", pa.int32()),
        pa.field("state", pa.string()),
    ]
)
START_NS = 1_700_000_000_000_000_000
STEP_NS = 1_000_000


def rows(first: int, count: int) -> Any:
    """Rows whose values tell their number: a count is missing in each fifth, a state in each seventh."""
    numbers = np.arange(first, first + count)
    counts = pa.array([None if n % 5 == 0 else n for n in numbers.tolist()], pa.int32())
    states = pa.array([None if n % 7 == 0 else f"state {n % 3}" for n in numbers.tolist()], pa.string())
    stamps = pa.array(START_NS + numbers * STEP_NS)
    return pa.record_batch([stamps, pa.array(numbers * 0.5), counts, states], schema=SCHEMA)


def record(
    path: Path, batches: Sequence[Any], layout: str = "batches", *, flush_each: bool = True, **options: Any
) -> Path:
    """Write batches into a file, each a commit of its own or all in one."""
    with tempfile.TemporaryDirectory() as folder, RingBuffer.create(f"{folder}/a.ring", capacity_mb=16) as ring:
        fill(path, ring, batches, layout, flush_each=flush_each, **options)
    return path


def fill(
    path: Path, ring: RingBuffer, batches: Sequence[Any], layout: str, *, flush_each: bool = True, **options: Any
) -> None:
    """The same from a ring that is there, and may hold something already."""
    writer = HDF5Writer(path, ring, fsync="never", run_in="thread", layout=layout, **options)
    for batch in batches:
        ring.write_arrow_batch(batch)
        if flush_each:
            writer.flush()
    writer.stop()


def record_with_loss(path: Path, layout: str) -> list[int]:
    """A recording of which rows were overwritten, twice; the rows that are in it."""
    with tempfile.TemporaryDirectory() as folder, RingBuffer.create(f"{folder}/a.ring", capacity_bytes=1 << 16) as ring:
        fill(path, ring, [rows(0, 10)], layout)
        for first in range(10, 4010, 100):
            ring.write_arrow_batch(rows(first, 100))
        fill(path, ring, [rows(4010, 5)], layout)
        with ring.cursor(start="oldest") as cursor:
            oldest = cursor.row
        there = stored_rows(path)
        assert oldest > 0 and there[:10] == list(range(10)) and there[-1] == 4014 and len(there) < 4015
    return there


def stored_rows(path: Path) -> list[int]:
    """Row numbers of all that is in a file of :func:`rows`."""
    import mulletdaq
    from mulletdaq.hdf5.catalog import stream_rows

    with mulletdaq.open(path) as file:
        blocks = list(stream_rows(file)[""].blocks())
    found = [n for block in blocks for n in range(block.first_row, block.first_row + block.rows)]
    stamps = [stamp for block in blocks for stamp in block.columns["timestamp"].tolist()]
    assert stamps == [START_NS + n * STEP_NS for n in found]
    return found
