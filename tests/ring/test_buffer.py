"""Whole messages and batches in, snapshots and newest rows out."""

from __future__ import annotations

import os
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mulletdaq.errors import (
    FrameTooLargeError,
    ProducerLockedError,
    RingContentError,
    SchemaError,
    SchemaMismatchError,
    SinkLockedError,
)
from mulletdaq.ring import RingBuffer
from mulletdaq.schema import Channel
from tests.ring.conftest import MakeRing
from tests.ring.support import VOLTAGE, batch_of, drain, header_of, state_of

# ---- opaque messages


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"x" * 63, b"x" * 64, b"x" * 65, bytearray(b"abc"), memoryview(b"abc"), np.arange(5, dtype=np.int16)],
)
def test_message_comes_back(make_ring: MakeRing, data: Any) -> None:
    """Anything with a buffer, of any length, byte for byte."""
    ring = make_ring(4096)
    position = ring.write(data)
    assert ring.write(b"next") == position + 64 + -(-memoryview(data).nbytes // 64) * 64
    cursor = ring.cursor(position)
    assert drain(cursor) == [bytes(memoryview(data)), b"next"]
    assert ring.content == "opaque"


def test_own_stamp_of_a_message(make_ring: MakeRing) -> None:
    """A given stamp stays as it is; the cursor tells it."""
    ring = make_ring(4096)
    ring.write(b"x", timestamp_ns=123_456_789)
    cursor = ring.cursor()
    cursor.read()
    assert cursor.timestamp_ns == 123_456_789


@pytest.mark.parametrize("data", ["text", 5, None, [1, 2]])
def test_message_without_a_buffer(make_ring: MakeRing, data: Any) -> None:
    """TypeError, and the ring stays as it was."""
    ring = make_ring(4096)
    with pytest.raises(TypeError):
        ring.write(data)
    assert ring.newest_row == 0


def test_strided_message(make_ring: MakeRing) -> None:
    """Only contiguous bytes are bytes."""
    ring = make_ring(4096)
    with pytest.raises((BufferError, ValueError)):
        ring.write(memoryview(b"abcdef")[::2])
    assert ring.newest_row == 0


# ---- content


def test_opaque_ring_takes_no_rows(make_ring: MakeRing) -> None:
    """The first write fixes the content, for good and for every way of writing."""
    ring = make_ring(65536)
    ring.write(b"opaque")
    before = state_of(ring)
    with pytest.raises(RingContentError, match="opaque"):
        ring.write_arrow_batch(batch_of(0, 3))
    with pytest.raises(RingContentError, match="opaque"):
        ring.producer(VOLTAGE)
    assert state_of(ring) == before
    assert ring.schema is None


def test_arrow_ring_takes_no_messages(make_ring: MakeRing) -> None:
    """The other way round."""
    ring = make_ring(65536)
    assert ring.content == "none"
    ring.write_arrow_batch(batch_of(0, 3))
    before = state_of(ring)
    with pytest.raises(RingContentError, match="Arrow"):
        ring.write(b"opaque")
    assert state_of(ring) == before
    assert ring.content == "arrow"


def test_other_schema_is_refused(make_ring: MakeRing) -> None:
    """By name, by type and by order; the message names both."""
    ring = make_ring(65536)
    ring.write_arrow_batch(pa.record_batch({"a": [1], "b": [2.0]}))
    before = state_of(ring)
    for other in ({"a": [1]}, {"a": [1], "c": [2.0]}, {"a": [1.0], "b": [2.0]}, {"b": [2.0], "a": [1]}):
        with pytest.raises(SchemaMismatchError, match=r"a: int64, b: double.*the batch has"):
            ring.write_arrow_batch(pa.record_batch(other))
    with pytest.raises(SchemaMismatchError, match="a: int64"):
        ring.producer(VOLTAGE)
    assert state_of(ring) == before


def test_nulls_where_there_are_none(make_ring: MakeRing) -> None:
    """A column that takes no nulls gets none."""
    ring = make_ring(65536)
    ring.write_arrow_batch(batch_of(0, 2))
    before = state_of(ring)
    batch = pa.record_batch([pa.array([1, 2]), pa.array([1.0, None])], names=["timestamp", "voltage"])
    with pytest.raises(SchemaMismatchError, match="'voltage'"):
        ring.write_arrow_batch(batch)
    assert state_of(ring) == before


def test_schema_larger_than_its_region(make_ring: MakeRing) -> None:
    """A mebibyte is reserved; more is an error, not an overrun."""
    ring = make_ring(65536)
    schema = pa.schema([pa.field("a", pa.int64(), metadata={"note": "x" * (1 << 20)})])
    with pytest.raises(SchemaError, match="bytes"):
        ring.write_arrow_batch(pa.record_batch([pa.array([1])], schema=schema))
    assert (ring.content, ring.schema, ring.newest_row) == ("none", None, 0)


@pytest.mark.parametrize("kind", ["opaque", "strings", "row"])
def test_too_large_frame_names_a_capacity_that_works(make_ring: MakeRing, ring_directory: Path, kind: str) -> None:
    """More than a quarter of the ring never fits; the capacity in the message does."""

    def write(ring: RingBuffer) -> None:
        if kind == "opaque":
            ring.write(bytes(3_000_000))
        elif kind == "strings":
            ring.write_arrow_batch(pa.record_batch({"s": ["x" * 3_000_000]}))
        else:
            with ring.producer([Channel("image", dtype="uint8", shape=(1500, 2000))]) as producer:
                producer.append(np.zeros((1500, 2000), np.uint8))

    small = make_ring(1 << 20)
    with pytest.raises(FrameTooLargeError) as caught:
        write(small)
    assert (small.newest_row, small.write_head) == (0, 0)
    named = re.search(r"capacity_mb=(\d+)", str(caught.value))
    assert named is not None, str(caught.value)
    with RingBuffer.create(ring_directory / "large.ring", int(named[1])) as large:
        write(large)
        assert large.newest_row == 1


def test_refused_message_leaves_the_ring_open_to_rows(make_ring: MakeRing) -> None:
    """A write that never was does not fix the content."""
    ring = make_ring(4096)
    with pytest.raises(FrameTooLargeError):
        ring.write(bytes(4096))
    assert ring.content == "none"
    ring.write_arrow_batch(pa.record_batch({"a": [1]}))


# ---- snapshots


def test_snapshot_of_an_empty_ring(make_ring: MakeRing) -> None:
    """Nothing; with a schema an empty stream."""
    ring = make_ring(65536)
    assert ring.read_snapshot() == b""
    with ring.producer(VOLTAGE):
        table = pa.ipc.open_stream(ring.read_snapshot()).read_all()
        assert (table.schema, table.num_rows) == (ring.schema, 0)


def test_snapshot_of_messages(make_ring: MakeRing) -> None:
    """The payloads, one after the other."""
    ring = make_ring(65536)
    messages = [os.urandom(size) for size in (1, 64, 0, 100, 8)]
    for message in messages:
        ring.write(message)
    assert ring.read_snapshot() == b"".join(messages)


def test_snapshot_of_rows(make_ring: MakeRing) -> None:
    """A complete IPC stream, open frame included."""
    ring = make_ring(65536)
    with ring.producer(VOLTAGE) as producer:
        for row in range(500):
            producer.append(row * 0.5, timestamp_ns=row)
        reader = pa.ipc.open_stream(ring.read_snapshot())
        table = reader.read_all()
        table.validate(full=True)
        assert reader.schema == ring.schema
        assert table.to_pydict() == {"timestamp": list(range(500)), "voltage": [row * 0.5 for row in range(500)]}


@pytest.mark.parametrize("content", ["opaque", "arrow"])
def test_snapshot_starts_at_the_tail(make_ring: MakeRing, content: str) -> None:
    """What the sink has committed is not in it; a tail that was overwritten is of no use."""
    ring = make_ring(4096)

    def write(number: int) -> None:
        if content == "opaque":
            ring.write(b"%03d" % number)
        else:
            ring.write_arrow_batch(pa.record_batch({"s": [f"{number:03d}"]}))

    def found() -> list[int]:
        snapshot = ring.read_snapshot()
        if content == "opaque":
            return [int(snapshot[at : at + 3]) for at in range(0, len(snapshot), 3)]
        return [int(text) for text in pa.ipc.open_stream(snapshot).read_all()["s"].to_pylist()]

    for number in range(4):
        write(number)
    cursor = ring.cursor()
    cursor.read()
    cursor.read()
    with closing(ring.sink()) as sink:
        sink.advance(cursor.position)
        assert found() == [2, 3]
        for number in range(4, 100):
            write(number)
        surviving = found()
        assert surviving == list(range(surviving[0], 100))
        assert len(surviving) > 2
        sink.advance(ring.write_head)
        assert found() == []


# ---- the newest rows


def test_latest_of_nothing(make_ring: MakeRing) -> None:
    """No columns before there is a schema, empty ones before there are rows."""
    ring = make_ring(65536)
    assert ring.latest(5) == {}
    with ring.producer(VOLTAGE):
        latest = ring.latest(5)
        assert {name: values.size for name, values in latest.items()} == {"timestamp": 0, "voltage": 0}


@pytest.mark.parametrize("count", [0, 1, 10, 999, 1000, 5000])
def test_latest_of_numbers(make_ring: MakeRing, count: int) -> None:
    """The newest, in order, over as many frames as it takes; fewer when there are fewer."""
    ring = make_ring(65536)
    with ring.producer(VOLTAGE) as producer:
        producer.append_block(np.arange(1000) * 0.5, timestamps_ns=np.arange(1000))
        latest = ring.latest(count)
    expected = np.arange(max(0, 1000 - count), 1000)
    assert list(latest) == ["timestamp", "voltage"]
    assert latest["timestamp"].dtype == np.int64
    np.testing.assert_array_equal(latest["timestamp"], expected)
    np.testing.assert_array_equal(latest["voltage"], expected * 0.5)


@pytest.mark.parametrize("dtype", ["float64", "float32", "int16", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(), (5,), (3, 7)])
def test_latest_of_every_shape(make_ring: MakeRing, dtype: str, shape: tuple[int, ...]) -> None:
    """Scalars, waveforms and images, bools among them, in their own dtype and shape."""
    ring = make_ring(1 << 18)
    values = (np.arange(20 * int(np.prod(shape, dtype=int))).reshape(20, *shape) % 3).astype(dtype)
    with ring.producer([Channel("x", dtype=dtype, shape=shape)]) as producer:
        producer.append_block(values)
        latest = ring.latest(7)["x"]
    assert latest.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(latest, values[-7:])


def test_latest_of_messages(make_ring: MakeRing) -> None:
    """Bytes objects, as they were written."""
    ring = make_ring(65536)
    for message in (b"one", b"", b"three"):
        ring.write(message)
    assert ring.latest(2)["raw_data"].tolist() == [b"", b"three"]


def test_latest_with_nulls_and_strings(make_ring: MakeRing) -> None:
    """Columns that NumPy has no dtype for come as objects."""
    ring = make_ring(65536)
    ring.write_arrow_batch(pa.record_batch({"s": ["a", None, "c"], "x": pa.array([1, 2, 3])}))
    ring.write_arrow_batch(pa.record_batch({"s": ["d"], "x": pa.array([4])}))
    latest = ring.latest(3)
    assert latest["s"].tolist() == [None, "c", "d"]
    assert latest["x"].tolist() == [2, 3, 4]


# ---- about


def test_statistics(make_ring: MakeRing) -> None:
    """Counts, fill and who is there, open frame included."""
    ring = make_ring(65536)
    idle = ring.statistics()
    assert (idle.rows_written, idle.rows_lost, idle.fill) == (0, 0, 0.0)
    assert (idle.producer_pid, idle.sink_pid, idle.content) == (None, None, "none")
    assert (idle.capacity_bytes, idle.stream_id, idle.created_ns) == (65536, ring.stream_id, ring.created_ns)
    with ring.producer(VOLTAGE) as producer, closing(ring.sink()) as sink:
        for _ in range(7):
            producer.append(1.0)
        busy = ring.statistics()
        assert (busy.rows_written, busy.rows_lost, busy.content) == (7, 0, "arrow")
        assert (busy.producer_pid, busy.sink_pid) == (os.getpid(), os.getpid())
        assert busy.fill == ring.write_head / 65536
        assert ring.producer_alive
        producer.seal()
        sink.advance(ring.write_head)
        assert ring.statistics().fill == 0.0
    assert not ring.producer_alive


def test_statistics_of_lost_rows(make_ring: MakeRing) -> None:
    """Without a sink all that was overwritten is lost; what was committed before is not."""
    ring = make_ring(4096)
    for _ in range(100):
        ring.write(b"x")
    oldest = ring.cursor().row
    lost = ring.statistics()
    assert (lost.rows_written, lost.rows_lost, lost.fill) == (100, oldest, 1.0)
    assert oldest == 100 - 4096 // 128
    with closing(ring.sink()) as sink:
        sink.advance(ring.write_head)
        assert ring.statistics().rows_lost == 0
        ring.write(b"x")
        assert ring.statistics().rows_lost == 0


def test_fill_is_never_negative(make_ring: MakeRing) -> None:
    """A tail beyond the head is refused, or at least not believed."""
    ring = make_ring(4096)
    ring.write(b"x")
    with closing(ring.sink()) as sink:
        try:
            sink.advance(1 << 40)
        except ValueError:
            assert ring.read_tail == 0
        assert 0.0 <= ring.statistics().fill <= 1.0


def test_second_sink_is_refused(make_ring: MakeRing) -> None:
    """There is one, named with its pid, until it lets go; its tail never goes back."""
    ring = make_ring(4096)
    position = ring.write(b"x") + 128
    sink = ring.sink()
    with RingBuffer.open(ring.path) as other, pytest.raises(SinkLockedError, match=rf"pid {os.getpid()}\b"):
        other.sink()
    sink.advance(position)
    sink.advance(0)
    assert ring.read_tail == position
    sink.close()
    sink.close()
    with pytest.raises(ValueError, match="closed"):
        sink.advance(position)
    ring.sink().close()


def test_one_object_has_one_producer(make_ring: MakeRing) -> None:
    """Two would write over each other; after close the next may come."""
    ring = make_ring(65536)
    first = ring.producer(VOLTAGE)
    with pytest.raises(ProducerLockedError):
        ring.producer(VOLTAGE)
    first.append(1.0)
    first.close()
    with ring.producer(VOLTAGE) as second:
        second.append(2.0)
        assert second.row == 2
    assert ring.latest(9)["voltage"].tolist() == [1.0, 2.0]


def test_facts(make_ring: MakeRing) -> None:
    """Name, path and schema, the same for whoever opens it."""
    ring = make_ring(65536)
    ring.producer(VOLTAGE).close()
    with RingBuffer.open(ring.path) as other:
        assert other.name == "test0"
        assert other.schema == ring.schema
        assert other.schema.field("voltage").metadata == {b"unit": b"V"}
        assert (other.stream_id, other.created_ns) == (ring.stream_id, ring.created_ns)
    assert header_of(ring.path).schema_len == len(ring.schema.serialize())
