"""The writer in all three ways of running it, on real rings."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest

from mulletdaq import errors
from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.hdf5.verify import verify
from mulletdaq.ring import RingBuffer

from .conftest import COMPRESSIONS, batches_of, compression_of, eventually, rows, stored_rows

MakeRing = Callable[..., RingBuffer]


@pytest.fixture(params=["unstarted", "thread", "process"])
def make_writer(request: pytest.FixtureRequest) -> Any:
    """Make a writer, started unless the way is to leave that out."""
    writers = []

    def make(*args: Any, **options: Any) -> HDF5Writer:
        run_in = "process" if request.param == "unstarted" else request.param
        writer = HDF5Writer(*args, run_in=run_in, **options)
        writers.append(writer)
        if request.param != "unstarted":
            writer.start()
        return writer

    yield make
    for writer in writers:
        if writer.alive:
            writer.stop()


def test_flush_and_stop_bring_every_row_into_the_file(path: Path, make_ring: MakeRing, make_writer: Any) -> None:
    ring = make_ring()
    writer = make_writer(path, ring, flush_interval_s=3600)
    ring.write_arrow_batch(rows(0, 100))
    statistics = writer.flush()
    assert (statistics.rows_persisted, statistics.batches, statistics.rows_lost) == (100, 1, 0)
    ring.write_arrow_batch(rows(100, 50))
    statistics = writer.stop()
    assert statistics.streams[""].next_row == 150
    assert writer.stop() == statistics
    assert not writer.alive
    assert stored_rows(path) == list(range(150))
    assert verify(path).ok, verify(path).problems
    first, second = batches_of(path)
    assert (first["first_row"], first["rows"], first["lost_rows"], first["run"]) == (0, 100, 0, 1)
    assert (second["first_row"], second["rows"]) == (100, 50)
    assert second["ring_tail"] == ring.read_tail
    assert second["timestamp_ns"] > first["timestamp_ns"] and second["monotonic_ns"] > first["monotonic_ns"]


def test_nothing_written_makes_no_batch(path: Path, make_ring: MakeRing, make_writer: Any) -> None:
    writer = make_writer(path, make_ring())
    assert writer.flush().batches == 0
    assert writer.stop().commits == 0
    assert batches_of(path) == []
    assert verify(path).ok


def test_several_streams(path: Path, make_ring: MakeRing, make_writer: Any) -> None:
    fast, slow, raw = make_ring("fast"), make_ring("slow"), make_ring("raw")
    writer = make_writer(path, {"fast": fast, "slow": slow, "raw": raw}, flush_interval_s=3600)
    fast.write_arrow_batch(rows(0, 1000))
    raw.write(b"abc")
    assert set(writer.flush().streams) == {"fast", "slow", "raw"}
    slow.write_arrow_batch(rows(0, 5))
    fast.write_arrow_batch(rows(1000, 10))
    writer.annotate("shutter µ", 123, {"fast": 1010, "slow": 5})
    writer.stop()
    assert stored_rows(path, "fast") == list(range(1010))
    assert stored_rows(path, "slow") == list(range(5))
    assert [len(batches_of(path, name)) for name in ("fast", "slow", "raw")] == [2, 1, 1]
    with h5py.File(path) as file:
        runs = {file["runs"][name].attrs["stream"].decode(): int(name[-6:]) for name in file["runs"]}
        notes = [column[:].tolist() for column in (file["annotations/run"], file["annotations/row"])]
        assert notes == [[runs["fast"], runs["slow"]], [1010, 5]]
        assert file["annotations/text"][:].tolist() == ["shutter µ".encode()] * 2
        assert file["annotations/timestamp_ns"][:].tolist() == [123, 123]
    assert verify(path).ok, verify(path).problems


def test_opaque_messages(path: Path, make_ring: MakeRing, make_writer: Any) -> None:
    ring = make_ring()
    writer = make_writer(path, ring)
    messages = [bytes([number]) * number for number in range(1, 40)]
    for message in messages:
        ring.write(message)
    statistics = writer.stop()
    assert statistics.rows_persisted == len(messages)
    found = batches_of(path)
    raw = b"".join(batch["raw_data"].tobytes() for batch in found)
    lengths = [int(length) for batch in found for length in batch["raw_lengths"]]
    stamps = np.concatenate([batch["timestamp"] for batch in found])
    assert raw == b"".join(messages)
    assert lengths == [len(message) for message in messages]
    assert found[0]["raw_data"].dtype == np.uint8 and found[0]["raw_lengths"].dtype == np.uint64
    assert stamps.dtype == np.int64 and (np.diff(stamps) >= 0).all() and stamps[0] >= ring.created_ns
    assert verify(path).ok, verify(path).problems


def test_lapped_rows_are_in_losses_and_split_the_batch(path: Path, make_ring: MakeRing, make_writer: Any) -> None:
    ring = make_ring(capacity_bytes=64 << 10)
    for first in range(0, 40_000, 100):  # many times round the ring before anybody reads
        ring.write_arrow_batch(rows(first, 100))
    statistics = make_writer(path, ring).stop()
    assert statistics.rows_lost > 30_000
    assert statistics.rows_persisted + statistics.rows_lost == 40_000
    stored = stored_rows(path)
    assert stored == list(range(40_000 - len(stored), 40_000))
    with h5py.File(path) as file:
        columns = {name: column[:] for name, column in file["losses"].items()}
    assert columns["rows"].sum() == statistics.rows_lost and columns["first_row"][0] == 0
    assert set(columns["cause"]) == {b"overwritten"} and set(columns["run"]) == {1}
    assert batches_of(path)[0]["lost_rows"] == statistics.rows_lost
    assert verify(path).ok, verify(path).problems


def test_gap_within_one_commit_makes_two_batches(path: Path, make_ring: MakeRing, make_writer: Any) -> None:
    ring = make_ring(capacity_bytes=64 << 10)
    ring.write_arrow_batch(rows(0, 10))
    HDF5Writer(path, ring).stop()
    for first in range(10, 40_010, 100):
        ring.write_arrow_batch(rows(first, 100))
    statistics = make_writer(path, ring).stop()
    first, second = batches_of(path)
    assert (first["first_row"], first["rows"]) == (0, 10)
    assert second["first_row"] == 10 + statistics.rows_lost == 10 + second["lost_rows"]
    assert verify(path).ok, verify(path).problems


def test_same_ring_goes_on_in_its_run(path: Path, make_ring: MakeRing, make_writer: Any) -> None:
    ring = make_ring()
    for number in range(4):
        ring.write_arrow_batch(rows(number * 10, 10))
        writer = make_writer(path, ring, metadata={"session": number})
        statistics = writer.stop()
        assert statistics.streams[""].run == 1 and statistics.rows_persisted == 10 * (number + 1)
    assert stored_rows(path) == list(range(40))
    with h5py.File(path) as file:
        assert list(file["runs"]) == ["run_000001"]
        assert file["metadata"].attrs["session"] == 0
    assert verify(path).ok


def test_new_ring_begins_a_new_run(path: Path, make_ring: MakeRing, make_writer: Any) -> None:
    for number, name in enumerate("ab", start=1):
        ring = make_ring(name)
        ring.write_arrow_batch(rows(0, 10 * number))
        make_writer(path, ring, metadata={"session": number}).stop()
    assert stored_rows(path) == [*range(10), *range(20)]
    assert [(batch["run"], batch["first_row"]) for batch in batches_of(path)] == [(1, 0), (2, 0)]
    with h5py.File(path) as file:
        for number, run in enumerate(file["runs"].values(), start=1):
            schema = pa.ipc.read_schema(pa.py_buffer(run["schema"][:].tobytes()))
            assert schema.equals(rows(0, 1).schema, check_metadata=True)
            assert run.attrs["schema_text"].tolist() == [b"timestamp: int64", b"voltage: double"]
            assert run.attrs["next_row"] == 10 * number
        assert file["runs/run_000002/metadata"].attrs["session"] == 2
    assert verify(path).ok


def test_dataset_and_nexus_attributes(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    ring.write_arrow_batch(rows(0, 3))
    HDF5Writer(path, ring, creator="mulletdaq demo").stop()
    with h5py.File(path) as file:
        batch = file["measurements/batch_000001"]
        assert batch["voltage"].attrs["units"] == b"V"
        nexus = {name: batch.attrs[name] for name in ("NX_class", "signal", "axes")}
        assert nexus == {"NX_class": b"NXdata", "signal": b"voltage", "axes": b"timestamp"}
        assert file.attrs["creator"] == b"mulletdaq demo"


def test_a_second_ring_started_late_after_another_sink_keeps_first_row(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring(capacity_bytes=64 << 10)
    for first in range(0, 40_000, 100):
        ring.write_arrow_batch(rows(first, 100))
    HDF5Writer(path.with_name("first.h5"), ring).stop()
    statistics = HDF5Writer(path, ring).stop()
    stored = stored_rows(path)
    assert statistics.rows_lost == 0, "what was lost before it came is the first writer's affair"
    assert stored and stored == list(range(40_000 - len(stored), 40_000))
    with h5py.File(path) as file:
        assert file["runs/run_000001"].attrs["first_row"] == stored[0]
    assert verify(path).ok, verify(path).problems


def test_second_writer_of_a_ring_is_no_sink(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    other = path.with_name("other.h5")
    with_sink = HDF5Writer(path, ring, run_in="thread", flush_interval_s=3600)
    with_sink.start()
    secondary = HDF5Writer(other, ring, run_in="process", flush_interval_s=3600)
    secondary.start()
    ring.write_arrow_batch(rows(0, 10_000))
    secondary.flush()
    assert ring.read_tail == 0
    with_sink.stop()
    assert ring.read_tail == batches_of(path)[-1]["ring_tail"] > 0
    ring.write_arrow_batch(rows(10_000, 10_000))
    secondary.stop()
    assert ring.read_tail == batches_of(other)[-1]["ring_tail"], "the lock was free, so it became the sink"
    assert (stored_rows(path), stored_rows(other)) == (list(range(10_000)), list(range(20_000)))


@pytest.mark.parametrize("run_in", ["thread", "process"])
def test_interval_and_quarter_ring_commit_by_themselves(path: Path, make_ring: MakeRing, run_in: Any) -> None:
    by_time, by_backlog = make_ring("a"), make_ring("b")
    timed = HDF5Writer(path, by_time, run_in=run_in, flush_interval_s=0.02)
    loaded = HDF5Writer(path.with_name("b.h5"), by_backlog, run_in=run_in, flush_interval_s=3600)
    timed.start(), loaded.start()
    by_time.write_arrow_batch(rows(0, 1))
    eventually(lambda: timed.statistics().rows_persisted == 1, "commit by time")
    by_backlog.write_arrow_batch(rows(0, 1))
    written = 1
    while by_backlog.write_head < by_backlog.capacity_bytes * 3 // 8:
        by_backlog.write_arrow_batch(rows(written, 100))
        written += 100
    eventually(lambda: loaded.statistics().rows_persisted > 0, "commit by backlog")
    eventually(lambda: by_backlog.read_tail > 0, "the ring is released")
    timed.stop(), loaded.stop()
    assert stored_rows(path.with_name("b.h5")) == list(range(written))


def test_lag_tells_of_rows_not_yet_in_the_file(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    writer = HDF5Writer(path, ring, run_in="thread", flush_interval_s=3600)
    writer.start()
    assert writer.statistics().lag_s == 0
    ring.write_arrow_batch(rows(0, 1))
    assert writer.statistics().lag_s > 0
    writer.flush()
    assert writer.statistics().lag_s == 0
    writer.stop()


def test_stop_ends_at_the_rows_it_is_given(path: Path, make_ring: MakeRing, make_writer: Any) -> None:
    ring = make_ring()
    writer = make_writer(path, ring, flush_interval_s=3600)
    ring.write_arrow_batch(rows(0, 100))
    assert writer.stop({"": 37}).rows_persisted == 37
    assert stored_rows(path) == list(range(37))
    HDF5Writer(path, ring).stop()
    assert stored_rows(path) == list(range(100))
    assert verify(path).ok


def test_the_writer_outlives_the_handle_it_was_given(path: Path, make_ring: MakeRing, make_writer: Any) -> None:
    ring = make_ring()
    ring.write_arrow_batch(rows(0, 10))
    writer = make_writer(path, ring, flush_interval_s=3600)
    ring.close()
    assert writer.stop().rows_persisted == 10
    assert stored_rows(path) == list(range(10))


def test_stop_ends_though_rows_are_asked_for_that_never_come(path: Path, make_ring: MakeRing, make_writer: Any) -> None:
    ring = make_ring()
    ring.write_arrow_batch(rows(0, 5))
    assert make_writer(path, ring).stop({"": 10**9}).rows_persisted == 5


def test_flush_is_exact_under_a_running_producer(path: Path, make_ring: MakeRing, make_writer: Any) -> None:
    ring = make_ring(capacity_bytes=8 << 20)
    writer = make_writer(path, ring, flush_interval_s=0.05)
    enough = threading.Event()
    written = 0

    def produce() -> None:
        nonlocal written
        while not enough.is_set() and written < 5_000_000:
            ring.write_arrow_batch(rows(written, 50))
            written += 50
            enough.wait(0.0005)

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        for _ in range(5):
            before = ring.statistics().rows_written
            assert writer.flush().streams[""].next_row >= before
    finally:
        enough.set()
        producer.join()
    writer.stop()
    assert stored_rows(path) == list(range(written))
    assert verify(path).ok, verify(path).problems


def test_run_in_asyncio(path: Path, make_ring: MakeRing) -> None:
    async def record(run_in: Any, name: str) -> None:
        ring = make_ring(name)
        writer = HDF5Writer(path.with_name(f"{name}.h5"), ring, run_in=run_in, flush_interval_s=0.02)
        task = asyncio.create_task(writer.run())
        while not writer.alive:
            await asyncio.sleep(0.01)
        ring.write_arrow_batch(rows(0, 10))
        while writer.statistics().rows_persisted < 10:
            await asyncio.sleep(0.01)
        ring.write_arrow_batch(rows(10, 10))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not writer.alive
        assert stored_rows(path.with_name(f"{name}.h5")) == list(range(20))

    async def both() -> None:
        await asyncio.wait_for(asyncio.gather(record("thread", "a"), record("process", "b")), 60)

    asyncio.run(both())


def test_run_ends_when_stopped_and_raises_what_keeps_it_from_starting(path: Path, make_ring: MakeRing) -> None:
    async def stopped() -> None:
        writer = HDF5Writer(path, make_ring(), run_in="thread")
        task = asyncio.create_task(writer.run())
        while not writer.alive:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(writer.stop)
        await asyncio.wait_for(task, 60)

    asyncio.run(stopped())
    path.write_bytes(b"not HDF5")
    with pytest.raises(errors.FileFormatError):
        asyncio.run(HDF5Writer(path, make_ring("b"), run_in="process").run())


def test_restart_after_stop(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    writer = HDF5Writer(path, ring, run_in="thread")
    for number in range(3):
        writer.start()
        with pytest.raises(errors.WriterError, match="already"):
            writer.start()
        ring.write_arrow_batch(rows(number, 1))
        writer.stop()
    assert stored_rows(path) == [0, 1, 2]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("chunk_rows", [None, 7000])
def test_compressions(path: Path, make_ring: MakeRing, compression: Any, chunk_rows: int | None) -> None:
    ring = make_ring(capacity_bytes=8 << 20)
    ring.write_arrow_batch(rows(0, 50_000))
    HDF5Writer(path, ring, compression=compression, chunk_rows=chunk_rows).stop()
    assert stored_rows(path) == list(range(50_000))
    with h5py.File(path) as file:
        voltage = file["measurements/batch_000001/voltage"]
        assert compression_of(voltage) == compression
        assert voltage.chunks == (None if compression is None and chunk_rows is None else (chunk_rows or 50_000,))
