"""Where a new run begins in its ring, and who moves the ring's tail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.hdf5.beginning import row_since
from mulletdaq.hdf5.verify import verify
from mulletdaq.ring import RingBuffer

from .conftest import rows, stored_rows

MakeRing = Callable[..., RingBuffer]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, range(30)),
        ({"start": "oldest"}, range(30)),
        ({"start": 0}, range(30)),
        ({"start": 7}, range(7, 30)),
        ({"start": 20}, range(20, 30)),
        ({"start": {"": 13}}, range(13, 30)),
        ({"start": "latest"}, range(20, 30)),
        ({"since_ns": 12}, range(12, 30)),
        ({"since_ns": -5}, range(30)),
        ({"since_ns": 10**18}, range(25, 30)),
    ],
)
@pytest.mark.parametrize("run_in", ["thread", "process"])
def test_a_new_run_begins_where_it_is_told_to(
    path: Path, make_ring: MakeRing, run_in: Any, options: dict[str, Any], expected: range
) -> None:
    ring = make_ring()
    ring.write_arrow_batch(rows(0, 20))
    writer = HDF5Writer(path, ring, run_in=run_in, **options)
    ring.write_arrow_batch(rows(20, 5))
    writer.start()
    ring.write_arrow_batch(rows(25, 5))
    statistics = writer.stop()
    assert stored_rows(path) == list(expected)
    assert statistics.rows_lost == 0
    assert verify(path).ok, verify(path).problems


def test_a_file_that_has_the_ring_goes_on_whatever_start_says(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    ring.write_arrow_batch(rows(0, 10))
    HDF5Writer(path, ring, start=4).stop()
    ring.write_arrow_batch(rows(10, 10))
    HDF5Writer(path, ring, start=17).stop()
    assert stored_rows(path) == list(range(4, 20))


def test_a_row_that_is_gone_gives_the_oldest_that_is_there(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring(capacity_bytes=64 << 10)
    for first in range(0, 10_000, 100):
        ring.write_arrow_batch(rows(first, 100))
    with ring.cursor("oldest") as cursor:
        oldest = cursor.row
    assert oldest > 5
    HDF5Writer(path, ring, start=5).stop()
    assert stored_rows(path) == list(range(oldest, 10_000))


@pytest.mark.parametrize("start", [21, -1, "newest"])
def test_what_is_no_start_is_refused(path: Path, make_ring: MakeRing, start: Any) -> None:
    ring = make_ring()
    ring.write_arrow_batch(rows(0, 20))
    with pytest.raises(ValueError, match="start"):
        HDF5Writer(path, ring, start=start)


def test_of_two_writers_only_the_persisting_one_moves_the_tail(tmp_path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    ring.write_arrow_batch(rows(0, 10))
    other = HDF5Writer(tmp_path / "other.h5", ring, persist=False)
    other.start()
    other.flush()
    assert ring.read_tail == 0 and ring.statistics().sink_pid is None
    one = HDF5Writer(tmp_path / "one.h5", ring)
    one.start()
    assert ring.statistics().sink_pid == one.pid
    ring.write_arrow_batch(rows(10, 10))
    one.stop()
    other.stop()
    assert stored_rows(tmp_path / "one.h5") == stored_rows(tmp_path / "other.h5") == list(range(20))


def test_rows_are_found_by_their_stamps(make_ring: MakeRing) -> None:
    ring = make_ring()
    assert row_since(ring, 0) == 0
    producer = ring.producer({"x": "V"})
    stamps = np.arange(1000) * 10
    producer.append_block(np.zeros(500), timestamps_ns=stamps[:500])
    producer.seal()
    producer.append_block(np.zeros(500), timestamps_ns=stamps[500:])
    for since_ns, row in ((0, 0), (1, 1), (10, 1), (4991, 500), (5000, 500), (9990, 999), (9991, 1000)):
        assert row_since(ring, since_ns) == row
    producer.close()


def test_rows_without_stamps_have_those_of_their_frames(make_ring: MakeRing) -> None:
    opaque = make_ring("opaque")
    for number in range(10):
        opaque.write(b"x", timestamp_ns=100 * number)
    assert row_since(opaque, 250) == 3
    typed = make_ring("typed")
    stamps = pa.array([1, 2, None, 4], pa.timestamp("us"))
    typed.write_arrow_batch(pa.record_batch([stamps], names=["timestamp"]))
    assert row_since(typed, 1500) == 1
