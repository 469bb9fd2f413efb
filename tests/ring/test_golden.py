"""A ring made by the first version, kept: whatever comes later must read it and go on in it."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mulletdaq.ring import RingBuffer
from mulletdaq.schema import channels_of
from tests.golden.make_ring import CHANNELS, GOLDEN, ROWS, START_NS, columns
from tests.ring.support import ARROW, PADDING, frames_of, header_of
from tests.ring.support import ROWS as ROW_FRAME

HEADER = bytes.fromhex(
    "01000000dadadada000001000000000000c001000000000000b0010000000000"
    "f00200000100000000c001000000000000c00000000000000070010000000000"
    "b6a4865433278dff5a2a9e60fd65ea18510e0000510e000035b04062fd65ea18"
    "26823c62fd65ea181c00000000000000540b0000000000000000100006000000"
)


@pytest.fixture
def golden(ring_file: Path) -> Path:
    """The golden ring, unpacked."""
    ring_file.write_bytes(gzip.decompress(GOLDEN.read_bytes()))
    ring_file.chmod(0o600)
    return ring_file


def test_header_bytes(golden: Path) -> None:
    """The first 128, one by one."""
    assert golden.read_bytes()[:128] == HEADER
    assert golden.stat().st_size == 128 + 65_536 + (1 << 20)


def test_frames(golden: Path) -> None:
    """Of every kind; the last is open, as a killed producer leaves it."""
    frames = list(frames_of(golden))
    assert {frame.kind for frame in frames} == {PADDING, ROW_FRAME, ARROW}
    assert [frame.sealed for frame in frames] == [True] * (len(frames) - 1) + [False]
    assert (frames[-1].first_row, frames[-1].rows) == (2900, 100)
    assert [frame.first_row for frame in frames if frame.kind == ARROW] == [1550]


def test_content(golden: Path) -> None:
    """Schema, statistics, and every value of every row that survives."""
    with RingBuffer.open(golden) as ring:
        assert channels_of(ring.schema) == CHANNELS
        statistics = ring.statistics()
        assert (statistics.rows_written, statistics.rows_lost) == (ROWS, 0)
        assert (statistics.stream_id, statistics.created_ns) == (header_of(golden).stream_id, 1795359540382673498)
        assert (statistics.producer_pid, statistics.sink_pid, statistics.content) == (None, None, "arrow")
        assert ring.checksum
        first = 1392
        cursor = ring.cursor(verify=True)
        assert cursor.row == first
        batches = []
        while (batch := cursor.read()) is not None:
            batches.append(batch)
        assert cursor.lost_rows == 0
        check(pa.Table.from_batches(batches), first, ROWS - first)
        check(pa.ipc.open_stream(ring.read_snapshot()).read_all(), ROWS - 100, 100)


def check(table: pa.Table, first: int, count: int) -> None:
    """Exactly these rows."""
    table.validate(full=True)
    expected = columns(first, count)
    for name in ("timestamp", "voltage", "count", "flag"):
        np.testing.assert_array_equal(table[name].to_numpy(), expected[name])
        assert table.schema.field(name).nullable is False
    wave = table["wave"].combine_chunks()
    np.testing.assert_array_equal(wave.to_numpy_ndarray(), expected["wave"])


def test_going_on(golden: Path) -> None:
    """A producer takes over: rows and sequence unbroken, the open frame sealed as it was."""
    before = list(frames_of(golden))
    with RingBuffer.open(golden) as ring, ring.producer(CHANNELS) as producer:
        cursor = ring.cursor(verify=True)
        assert producer.row == ROWS
        sealed = list(frames_of(golden))
        assert len(sealed) == len(before)
        assert (sealed[-1].rows, sealed[-1].sealed) == (before[-1].rows, True)
        pa.ipc.read_record_batch(pa.py_buffer(sealed[-1].payload), ring.schema).validate(full=True)
        producer.append(1.5, -1, True, [1, 2, 3], timestamp_ns=START_NS)
        assert list(frames_of(golden))[-1].sequence == before[-1].sequence + 1
        rows = 0
        while (batch := cursor.read()) is not None:
            rows += batch.num_rows
        assert cursor.row == ROWS + 1
        # The ring was full: the new frame takes the place of the oldest.
        assert rows + cursor.lost_rows == ROWS + 1 - 1392
        assert batch is None and ring.latest(1)["count"].tolist() == [-1]
