"""The schema region: widths, the plain table, and the template that frames are laid out with."""

from __future__ import annotations

import struct

import pyarrow as pa
import pytest

from mulletdaq.ring import RingBuffer
from mulletdaq.ring.template import schema_region, width_bits
from mulletdaq.schema import Channel, arrow_schema
from tests.ring.conftest import MakeRing

WIDTHS = [
    (pa.float64(), 64), (pa.float32(), 32), (pa.float16(), 16), (pa.bool_(), 1), (pa.int8(), 8), (pa.uint64(), 64),
    (pa.timestamp("ns"), 64), (pa.date32(), 32), (pa.time32("s"), 32), (pa.duration("ms"), 64),
    (pa.decimal128(10, 2), 128), (pa.decimal256(40, 2), 256), (pa.decimal32(5, 2), 32), (pa.binary(5), 40),
    (pa.month_day_nano_interval(), 128), (pa.uuid(), 128), (pa.bool8(), 8),
    (pa.list_(pa.float64(), 3), 192), (pa.list_(pa.bool_(), 5), 5), (pa.fixed_shape_tensor(pa.int16(), (2, 3)), 96),
    (pa.list_(pa.binary(3), 2), 48),
    (pa.string(), 0), (pa.large_string(), 0), (pa.string_view(), 0), (pa.binary(), 0), (pa.null(), 0),
    (pa.list_(pa.int64()), 0), (pa.large_list(pa.int64()), 0), (pa.list_(pa.string(), 2), 0),
    (pa.list_(pa.list_(pa.int64(), 2), 2), 0), (pa.list_(pa.int64(), 0), 0), (pa.binary(0), 0),
    (pa.struct([("x", pa.int64())]), 0), (pa.map_(pa.string(), pa.int64()), 0),
    (pa.dictionary(pa.int8(), pa.string()), 0), (pa.json_(), 0), (pa.run_end_encoded(pa.int32(), pa.int64()), 0),
    (pa.dense_union([pa.field("x", pa.int64())]), 0),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "bits"), WIDTHS, ids=[str(type_) for type_, _ in WIDTHS])
def test_width_bits(type_: pa.DataType, bits: int) -> None:
    """Of a row whose size never changes; 0 of all others."""
    assert width_bits(type_) == bits


@pytest.mark.parametrize("type_", [type_ for type_, _ in WIDTHS], ids=[str(type_) for type_, _ in WIDTHS])
def test_every_type_has_a_schema_region(make_ring: MakeRing, type_: pa.DataType) -> None:
    """The ring takes it and gives it back; rows in place exactly where all widths are fixed."""
    schema = pa.schema([pa.field("a", pa.int64()), pa.field("x", type_, metadata={"unit": "V"})])
    region = schema_region(schema)
    assert region.content[: region.message_bytes] == schema.serialize().to_pybytes()
    ring = make_ring(1 << 16)
    with ring.producer(schema), RingBuffer.open(ring.path) as other:
        assert other.schema.equals(ring.schema, check_metadata=True)
        assert other.schema.field("x").type == type_
        assert ring._writer.fills_rows is (width_bits(type_) > 0)
        assert [bits for _, _, bits in other._native.columns()] == [64, 64, width_bits(type_)]


@pytest.mark.parametrize("type_", [type_ for type_, bits in WIDTHS if bits], ids=lambda type_: str(type_))
@pytest.mark.parametrize("rows", [1, 7, 64, 200])
def test_frames_of_every_fixed_width(make_ring: MakeRing, type_: pa.DataType, rows: int) -> None:
    """Zeros in, the same zeros out, valid to the last bit."""
    bits = width_bits(type_)
    ring = make_ring(1 << 18)
    schema = pa.schema([pa.field("x", type_), pa.field("n", pa.int16())])
    buffer = pa.py_buffer(bytes(bits * rows // 8 + 64))
    column = _column(type_, rows, buffer)
    batch = pa.RecordBatch.from_arrays([column, pa.array(range(rows), pa.int16())], schema=schema)
    ring.write_arrow_batch(batch)
    found = pa.ipc.open_stream(ring.read_snapshot()).read_all().combine_chunks()
    found.validate(full=True)
    assert found.num_rows == rows
    assert found["n"].to_pylist() == list(range(rows))
    assert found["x"].equals(pa.chunked_array([column]))


def _column(type_: pa.DataType, rows: int, buffer: pa.Buffer) -> pa.Array:
    if isinstance(type_, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(type_, _column(type_.storage_type, rows, buffer))
    if pa.types.is_fixed_size_list(type_):
        values = _column(type_.value_type, rows * type_.list_size, buffer)
        return pa.FixedSizeListArray.from_arrays(values, type=type_)
    return pa.Array.from_buffers(type_, rows, [None, buffer])


def test_template_is_kept_for_fixed_width_only() -> None:
    """Its first field counts its bytes; none means none."""
    fixed = schema_region(arrow_schema([Channel("x")]))
    varying = schema_region(pa.schema([("s", pa.string())]))
    for region, has_template in ((fixed, True), (varying, False)):
        at = -(-region.message_bytes // 8) * 8
        table = struct.unpack_from("<I", region.content, at)[0]
        message_bytes = struct.unpack_from("<I", region.content, at + table)[0]
        assert (message_bytes > 0) is has_template
        assert message_bytes % 64 == 0


def test_tensor_without_dimensions(make_ring: MakeRing) -> None:
    """One number a row, though Arrow stores it as a list of one."""
    type_ = pa.fixed_shape_tensor(pa.float32(), ())
    column = pa.ExtensionArray.from_storage(type_, pa.array([[1.0], [2.0]], pa.list_(pa.float32(), 1)))
    ring = make_ring(1 << 16)
    ring.write_arrow_batch(pa.record_batch([column], names=["x"]))
    found = pa.ipc.open_stream(ring.read_snapshot()).read_all()
    assert found["x"].combine_chunks().storage.to_pylist() == [[1.0], [2.0]]


def test_schema_without_columns() -> None:
    """Nothing to lay out."""
    region = schema_region(pa.schema([]))
    assert region.content[: region.message_bytes] == pa.schema([]).serialize().to_pybytes()


@pytest.mark.parametrize("count", [100, 2000])
def test_wide_schemas(make_ring: MakeRing, count: int) -> None:
    """Many columns make a long message; a row still goes in and comes out."""
    ring = make_ring(1 << 23)
    with ring.producer([Channel(f"channel_{index}", dtype="int32") for index in range(count)]) as producer:
        for row in range(3):
            producer.append(*range(row, row + count))
        latest = ring.latest(3)
    assert latest[f"channel_{count - 1}"].tolist() == [count - 1, count, count + 1]
