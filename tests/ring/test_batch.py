"""Record batches of every kind, alone and among rows and blocks."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mulletdaq.ring import RingBuffer
from mulletdaq.schema import Channel
from tests.ring.conftest import MakeRing
from tests.ring.support import ARROW, ROWS, batch_of, drain, frames_of


def read_back(ring: RingBuffer) -> pa.Table:
    """Everything in the ring by a cursor, checked to be what a snapshot gives."""
    table = pa.Table.from_batches(drain(ring.cursor()), schema=ring.schema)
    table.validate(full=True)
    stream = pa.ipc.open_stream(ring.read_snapshot()).read_all()
    assert stream.equals(table)
    return table


def tensors(count: int) -> pa.Array:
    """Images of 2 × 3."""
    values = np.arange(count * 6, dtype=np.float32).reshape(count, 2, 3)
    return pa.FixedShapeTensorArray.from_numpy_ndarray(values)


COLUMNS: dict[str, pa.Array] = {
    "float64": pa.array(np.arange(40) * 0.5),
    "bool": pa.array([index % 3 == 0 for index in range(40)]),
    "int8": pa.array(np.arange(40, dtype=np.int8)),
    "half": pa.array(np.arange(40, dtype=np.float16)),
    "nulls": pa.array([None if index % 4 == 0 else index for index in range(40)]),
    "bool nulls": pa.array([None if index % 5 == 0 else index % 2 == 0 for index in range(40)]),
    "all null": pa.nulls(40),
    "string": pa.array([f"text {index}" * (index % 3) for index in range(40)]),
    "string view": pa.array([f"a rather long text {index}" for index in range(40)], pa.string_view()),
    "binary": pa.array([bytes(index) for index in range(40)]),
    "fixed binary": pa.array([b"%04d" % index for index in range(40)], pa.binary(4)),
    "dictionary": pa.array([f"state {index % 3}" for index in range(40)]).dictionary_encode(),
    "list": pa.array([list(range(index % 4)) for index in range(40)]),
    "struct": pa.array([{"x": index, "s": str(index)} for index in range(40)]),
    "map": pa.array([[(str(index), index)] for index in range(40)], pa.map_(pa.string(), pa.int64())),
    "fixed list": pa.array([[index, index + 1, index + 2] for index in range(40)], pa.list_(pa.int16(), 3)),
    "bool list": pa.array([[index % 2 == 0, True, False] for index in range(40)], pa.list_(pa.bool_(), 3)),
    "list with nulls": pa.array([[index, None] for index in range(40)], pa.list_(pa.int16(), 2)),
    "tensor": tensors(40),
    "timestamp": pa.array(np.arange(40), pa.timestamp("us", "UTC")),
    "date": pa.array(np.arange(40, dtype=np.int32), pa.date32()),
    "duration": pa.array(np.arange(40), pa.duration("us")),
    "decimal": pa.array(list(range(40)), pa.decimal128(12, 3)),
    "uuid": pa.array([index.to_bytes(16, "little") for index in range(40)], pa.uuid()),
}


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("kept", [slice(0, 40), slice(0, 1), slice(3, 30), slice(8, 24), slice(39, 40), slice(17, 17)])
def test_every_type_in_slices(make_ring: MakeRing, kind: str, kept: slice) -> None:
    """A slice's offset is in values, for bools in bits, for lists times their length."""
    ring = make_ring()
    batch = pa.record_batch([pa.array(np.arange(40)), COLUMNS[kind]], names=["row", "x"])
    piece = batch.slice(kept.start, kept.stop - kept.start)
    ring.write_arrow_batch(piece)
    ring.write_arrow_batch(piece)
    ring.write_arrow_batch(batch)
    table = read_back(ring)
    expected = pa.Table.from_batches([piece, piece, batch])
    assert table.schema == batch.schema
    assert table.to_pydict() == expected.to_pydict()
    assert ring.newest_row == expected.num_rows


@pytest.mark.parametrize("kind", ["bool", "fixed list", "bool list", "tensor", "float64", "uuid", "decimal"])
def test_slices_of_columns(make_ring: MakeRing, kind: str) -> None:
    """Columns with different offsets of their own, each bit by bit."""
    ring = make_ring()
    column = COLUMNS[kind]
    expected = []
    for first in range(0, 33, 3):
        batch = pa.record_batch([column.slice(first, 7), column.slice(33 - first, 7)], names=["x", "y"])
        ring.write_arrow_batch(batch)
        expected.append(batch)
    assert read_back(ring).to_pydict() == pa.Table.from_batches(expected).to_pydict()
    assert {frame.kind for frame in frames_of(ring.path)} == {ROWS}


def test_dictionaries_that_change(make_ring: MakeRing) -> None:
    """Each frame brings its own: any may be the first that survives."""
    ring = make_ring(1 << 16)
    for number in range(400):
        words = pa.array([f"{number}", "same", f"{number}"]).dictionary_encode()
        ring.write_arrow_batch(pa.record_batch([words], names=["word"]))
    cursor = ring.cursor()
    first = cursor.row // 3
    assert first > 0
    found = [word for batch in drain(cursor) for word in batch["word"].to_pylist()]
    expected = [word for number in range(first, 400) for word in (f"{number}", "same", f"{number}")]
    assert found == expected
    assert pa.ipc.open_stream(ring.read_snapshot()).read_all()["word"].to_pylist() == expected


def test_rows_of_a_message_piece_by_piece(make_ring: MakeRing) -> None:
    """max_rows slices what is not laid out in rows as well."""
    ring = make_ring()
    ring.write_arrow_batch(pa.record_batch({"s": [str(index) for index in range(10)]}))
    cursor = ring.cursor(start_row=1)
    found = []
    while (batch := cursor.read(max_rows=4)) is not None:
        assert 1 <= batch.num_rows <= 4
        found += batch["s"].to_pylist()
        assert cursor.row == len(found) + 1
    assert found == [str(index) for index in range(1, 10)]


def test_batch_without_rows(make_ring: MakeRing) -> None:
    """Fixes the schema, writes no frame."""
    ring = make_ring()
    ring.write_arrow_batch(batch_of(0, 0))
    assert (ring.newest_row, ring.write_head, ring.content) == (0, 0, "arrow")
    assert ring.schema == batch_of(0, 0).schema


def test_schema_metadata_survives(make_ring: MakeRing) -> None:
    """Of the schema and of each field."""
    ring = make_ring()
    field = pa.field("x", pa.int64(), metadata={"unit": "V"})
    batch = pa.record_batch([pa.array([1])], schema=pa.schema([field], metadata={"who": "me"}))
    ring.write_arrow_batch(batch)
    with RingBuffer.open(ring.path) as other:
        assert other.schema.equals(batch.schema, check_metadata=True)
        assert drain(other.cursor())[0].schema.equals(batch.schema, check_metadata=True)


def test_anything_with_the_arrow_interface(make_ring: MakeRing) -> None:
    """Not only pyarrow's own class."""

    class Foreign:
        def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
            schema, array = batch_of(3, 4).__arrow_c_array__(requested_schema)
            return schema, array

    ring = make_ring()
    ring.write_arrow_batch(Foreign())
    assert read_back(ring).to_pydict() == batch_of(3, 4).to_pydict()


def test_polars_frames(make_ring: MakeRing) -> None:
    """As far as they are a record batch."""
    import polars

    ring = make_ring()
    frame = polars.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, 2.5]})
    ring.write_arrow_batch(frame)
    assert read_back(ring).to_pydict() == {"a": [1, 2, 3], "b": [0.5, 1.5, 2.5]}


def test_nanoarrow_arrays(make_ring: MakeRing) -> None:
    """A struct array is a batch."""
    import nanoarrow

    ring = make_ring()
    ring.write_arrow_batch(nanoarrow.c_array(batch_of(3, 4)))
    assert read_back(ring).to_pydict() == batch_of(3, 4).to_pydict()


@pytest.mark.parametrize("data", [None, 5, b"bytes", "text"])
def test_what_is_no_batch(make_ring: MakeRing, data: Any) -> None:
    """TypeError, and the ring stays empty."""
    ring = make_ring()
    with pytest.raises(TypeError):
        ring.write_arrow_batch(data)
    assert (ring.content, ring.newest_row) == ("none", 0)


def test_foreign_memory_is_not_kept(make_ring: MakeRing) -> None:
    """The batch's buffers may change or go as soon as the write returns."""
    ring = make_ring()
    memory = np.arange(100.0)
    batch = pa.record_batch([pa.array(memory)], names=["x"])
    ring.write_arrow_batch(batch)
    memory[:] = -1
    del batch
    assert read_back(ring)["x"].to_pylist() == list(range(100))


# ---- interleaved


@pytest.mark.parametrize("seed", range(4))
def test_rows_blocks_and_batches_in_turn(make_ring: MakeRing, seed: int) -> None:
    """In any order they follow on each other, and share frames where they can."""
    chosen = random.Random(seed)
    ring = make_ring(1 << 18)
    channels = [Channel("a", dtype="int64"), Channel("flag", dtype="bool"), Channel("w", dtype="int8", shape=(3,))]
    row = 0
    with ring.producer(channels) as producer:
        for _ in range(200):
            count = chosen.choice([1, 2, 5, 64, 100])
            rows = np.arange(row, row + count)
            match chosen.choice(["rows", "block", "batch", "slice", "seal"]):
                case "rows":
                    for number in rows:
                        producer.append(number, bool(number % 3 == 0), _wave(number), timestamp_ns=number)
                case "block":
                    waves = np.stack([_wave(number) for number in rows])
                    producer.append_block(rows, rows % 3 == 0, waves, timestamps_ns=rows)
                case "batch":
                    ring.write_arrow_batch(_batch(ring.schema, rows))
                case "slice":
                    longer = np.arange(row - 5, row + count + 5)
                    ring.write_arrow_batch(_batch(ring.schema, longer).slice(5, count))
                case _:
                    producer.seal()
                    count = 0
            row += count
            assert producer.row == row
        table = read_back(ring)
    kept = np.arange(row - table.num_rows, row)
    assert table["timestamp"].to_pylist() == table["a"].to_pylist() == kept.tolist()
    assert table["flag"].to_pylist() == (kept % 3 == 0).tolist()
    assert table["w"].to_pylist() == [_wave(number).tolist() for number in kept]


def _wave(number: int) -> np.ndarray[Any, Any]:
    return np.array([number % 100, -(number % 7), number % 5], dtype=np.int8)


def _batch(schema: pa.Schema, rows: np.ndarray[Any, Any]) -> pa.RecordBatch:
    waves = pa.array(np.concatenate([_wave(number) for number in rows]))
    storage = pa.FixedSizeListArray.from_arrays(waves, 3)
    wave = pa.ExtensionArray.from_storage(schema.field("w").type, storage)
    columns = [pa.array(rows), pa.array(rows), pa.array(rows % 3 == 0), wave]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def test_batches_with_nulls_stand_between_rows(make_ring: MakeRing) -> None:
    """What has no place in rows is a frame of its own; the rows go on behind it."""
    ring = make_ring()
    schema = pa.schema([("timestamp", pa.int64()), ("x", pa.int64())])
    with ring.producer(schema) as producer:
        producer.append(1, timestamp_ns=0)
        ring.write_arrow_batch(pa.record_batch([pa.array([1, 2]), pa.array([2, None])], schema=schema))
        producer.append(3, timestamp_ns=3)
        ring.write_arrow_batch(pa.record_batch([pa.array([4]), pa.array([4])], schema=schema))
    assert read_back(ring).to_pydict() == {"timestamp": [0, 1, 2, 3, 4], "x": [1, 2, None, 3, 4]}
    assert [(frame.kind, frame.rows) for frame in frames_of(ring.path)] == [(ROWS, 1), (ARROW, 2), (ROWS, 2)]
