"""The file's bytes, read by the layout alone: what any other program may rely on."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mulletdaq.ring import RingBuffer
from mulletdaq.schema import Channel
from tests.ring.conftest import MakeRing
from tests.ring.support import ARROW, OPAQUE, PADDING, ROWS, VOLTAGE, frames_of, header_of

CASTAGNOLI = 0x82F63B78


def crc32c(data: bytes) -> int:
    """The checksum, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (CASTAGNOLI if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_frames_follow_on_each_other(make_ring: MakeRing) -> None:
    """Aligned, never wrapping, sequence and row unbroken, padding at the end of a lap."""
    ring = make_ring(8192)
    sizes = [1, 700, 64, 0, 1000, 333, 1500] * 30
    for size in sizes:
        ring.write(bytes(size), timestamp_ns=size)
    frames = list(frames_of(ring.path))
    header = header_of(ring.path)
    assert any(frame.kind == PADDING for frame in frames)
    assert sum(64 + -(-frame.length // 64) * 64 for frame in frames) == header.write_head - header.oldest <= 8192
    messages = [frame for frame in frames if frame.kind == OPAQUE]
    assert [frame.sequence for frame in messages] == list(range(210 - len(messages), 210))
    assert [frame.first_row for frame in messages] == [frame.sequence for frame in messages]
    assert [frame.length for frame in messages] == sizes[-len(messages) :]
    assert [frame.timestamp_ns for frame in messages] == sizes[-len(messages) :]
    for frame in frames:
        assert frame.sealed
        assert frame.position % 64 == 0
        assert frame.position % 8192 + 64 + frame.length <= 8192
        assert frame.rows == (0 if frame.kind == PADDING else 1)


def test_midway_is_a_frame(make_ring: MakeRing) -> None:
    """The one that last crossed a half-ring mark: where overtaken readers go on."""
    ring = make_ring(8192)
    for size in [100, 900, 300] * 40:
        ring.write(bytes(size))
        header = header_of(ring.path)
        assert header.oldest <= header.midway <= header.write_head
        starts = [frame.position for frame in frames_of(ring.path)]
        assert header.midway in starts or header.midway == 0
        assert header.write_head // 4096 - header.midway // 4096 <= 1


def test_sealed_frames_are_arrow_messages(make_ring: MakeRing) -> None:
    """Straight from the file, each is a valid record batch message of the schema."""
    ring = make_ring(1 << 16)
    channels = [Channel("a"), Channel("flag", dtype="bool"), Channel("w", dtype="int16", shape=(3,))]
    with ring.producer(channels) as producer:
        for row in range(500):
            producer.append(row * 0.5, row % 3 == 0, [row, -row, 1], timestamp_ns=row)
        producer.seal()
        schema = _schema_in(ring.path)
        assert schema == ring.schema
        row = 0
        for frame in frames_of(ring.path):
            assert frame.sealed
            if frame.kind == PADDING:
                continue
            assert frame.kind == ROWS
            batch = pa.ipc.read_record_batch(pa.py_buffer(frame.payload), schema)
            batch.validate(full=True)
            assert (batch.num_rows, frame.first_row) == (frame.rows, row)
            rows = range(row, row + batch.num_rows)
            assert batch["timestamp"].to_pylist() == list(rows)
            assert batch["a"].to_pylist() == [number * 0.5 for number in rows]
            assert batch["flag"].to_pylist() == [number % 3 == 0 for number in rows]
            assert batch["w"].to_pylist() == [[number, -number, 1] for number in rows]
            row += batch.num_rows
        assert row == 500


def _schema_in(path: str) -> pa.Schema:
    header = header_of(path)
    with Path(path).open("rb") as file:
        file.seek(128 + header.capacity)
        return pa.ipc.read_schema(pa.py_buffer(file.read(header.schema_len)))


def test_columns_lie_where_the_layout_says(make_ring: MakeRing) -> None:
    """Column c starts at the body offset plus the earlier columns, each N × width rounded up to 64."""
    ring = make_ring(1 << 16)
    with ring.producer([Channel("a"), Channel("flag", dtype="bool"), Channel("n", dtype="uint16")]) as producer:
        for row in range(20):
            producer.append(row * 0.5, row % 2 == 0, row, timestamp_ns=row)
        (frame,) = frames_of(ring.path)
    assert (frame.sealed, frame.rows, frame.kind) == (False, 20, ROWS)
    at = frame.body_offset
    found = []
    for bits, dtype in ((64, "<i8"), (64, "<f8"), (1, "<u1"), (16, "<u2")):
        size = -(-frame.row_capacity * bits // 8)
        found.append(np.frombuffer(frame.payload[at : at + size], dtype))
        at += -(-size // 64) * 64
    assert at == frame.length
    np.testing.assert_array_equal(found[0][:20], np.arange(20))
    np.testing.assert_array_equal(found[1][:20], np.arange(20) * 0.5)
    np.testing.assert_array_equal(np.unpackbits(found[2], bitorder="little")[:20], [1, 0] * 10)
    np.testing.assert_array_equal(found[3][:20], np.arange(20))


def test_open_frame_shows_its_rows(make_ring: MakeRing) -> None:
    """The state tells the rows so far, without the top bit, until it is sealed."""
    ring = make_ring(1 << 16)
    with ring.producer(VOLTAGE) as producer:
        for row in range(1, 30):
            producer.append(1.0)
            (frame,) = frames_of(ring.path)
            assert (frame.sealed, frame.rows) == (False, row)
        producer.seal()
        producer.seal()
        (frame,) = frames_of(ring.path)
        assert (frame.sealed, frame.rows) == (True, 29)
        assert header_of(ring.path).next_row == 29


@pytest.mark.parametrize("capacity", [1 << 14, 1 << 16, 1 << 20, 1 << 23])
@pytest.mark.parametrize("channels", [1, 30])
def test_how_much_a_row_frame_holds(make_ring: MakeRing, capacity: int, channels: int) -> None:
    """max(256 KiB, 16 × message) but at most capacity/16, at least one row, and nearly as much as that."""
    ring = make_ring(capacity)
    with ring.producer([Channel(f"c{index}") for index in range(channels)]) as producer:
        producer.append(*[0.0] * channels)
        (frame,) = frames_of(ring.path)
    span = 64 + frame.length
    limit = min(max(256 << 10, 16 * frame.body_offset), capacity // 16)
    assert span <= limit or frame.row_capacity == 1
    assert span <= capacity // 4
    a_line_more = (-(-frame.row_capacity * 8 // 64) + 1) * 64 * (channels + 1)
    assert 64 + frame.body_offset + a_line_more > limit


def test_batches_lie_in_the_file_as_messages(make_ring: MakeRing) -> None:
    """Dictionaries first, then the batch: with the schema before it a complete stream."""
    ring = make_ring(1 << 16)
    batch = pa.record_batch({"s": pa.array(["a", None, "a"]).dictionary_encode(), "n": [1, 2, 3]})
    ring.write_arrow_batch(batch)
    (frame,) = frames_of(ring.path)
    assert (frame.kind, frame.rows, frame.sealed) == (ARROW, 3, True)
    stream = batch.schema.serialize().to_pybytes() + frame.payload
    found = pa.ipc.open_stream(stream).read_next_batch()
    found.validate(full=True)
    assert found.equals(batch)


@pytest.mark.parametrize("content", ["opaque", "rows", "strings"])
def test_checksums_are_crc32c(make_ring: MakeRing, content: str) -> None:
    """Of the header, its own field taken as zero, and the payload in whole words."""
    ring = make_ring(1 << 14, checksum=True)
    if content == "opaque":
        ring.write(b"thirteen bytes", timestamp_ns=7)
    elif content == "strings":
        ring.write_arrow_batch(pa.record_batch({"s": ["a", "bc"]}))
    else:
        with ring.producer(VOLTAGE) as producer:
            producer.append(1.5, timestamp_ns=3)
    (frame,) = frames_of(ring.path)
    header = struct.pack(
        "<QQQQQQIIII",
        frame.position, frame.length, frame.sequence, frame.first_row, frame.rows | 1 << 63,
        frame.timestamp_ns, frame.kind, 0, frame.row_capacity, frame.body_offset,
    )  # fmt: skip
    assert frame.crc == crc32c(header + frame.payload + bytes(-len(frame.payload) % 8))


def test_no_checksums_unless_asked_for(make_ring: MakeRing) -> None:
    """The field stays zero."""
    ring = make_ring(4096)
    ring.write(b"x")
    assert [frame.crc for frame in frames_of(ring.path)] == [0]


def test_plain_table_behind_the_schema(make_ring: MakeRing) -> None:
    """Name, format and width of each column, for readers without Arrow."""
    ring = make_ring(1 << 16)
    ring.producer([Channel("volt ö"), Channel("flag", dtype="bool"), Channel("w", dtype="int16", shape=(2, 3))]).close()
    header = header_of(ring.path)
    region = Path(ring.path).read_bytes()[128 + header.capacity :]
    at = -(-header.schema_len // 8) * 8
    size, count = struct.unpack_from("<II", region, at)
    end, at = at + size, at + 8
    rows = []
    for _ in range(count):
        bits, name_len, format_len = struct.unpack_from("<QII", region, at)
        text = region[at + 16 : at + 16 + name_len + format_len]
        rows.append((text[:name_len].decode(), text[name_len:].decode(), bits))
        at += 16 + -(-len(text) // 8) * 8
    assert at == end
    assert rows == [("timestamp", "l", 64), ("volt ö", "g", 64), ("flag", "b", 1), ("w", "s[2,3]", 96)]
    with RingBuffer.open(ring.path) as other:
        assert other._native.columns() == rows
