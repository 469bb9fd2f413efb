"""A schema region's bytes: the IPC schema message, a plain table, and the template of row frames.

The template is an ordinary record batch message that pyarrow made for one row, with the places at
which the ring patches row counts, lengths and offsets for other numbers of rows. The places are
found by walking the message's flatbuffer (Message.fbs and Schema.fbs of the Arrow format).
"""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mulletdaq.extras import needs_extra

if TYPE_CHECKING:
    import pyarrow as pa

_VALIDITY = 2**64 - 1
_ALIGN = 64
_PREFIX = 8  # continuation marker and metadata length before the flatbuffer


@dataclass(frozen=True)
class SchemaRegion:
    """What goes into a ring's schema region."""

    content: bytes
    message_bytes: int


def schema_region(schema: pa.Schema) -> SchemaRegion:
    """Lay out the schema region for an Arrow schema."""
    message = schema.serialize().to_pybytes()
    padded = message + bytes(-len(message) % 8)
    return SchemaRegion(padded + _table(schema) + _template(schema), len(message))


def width_bits(type_: pa.DataType) -> int:
    """Bits a row of this type takes when all rows take the same; 0 otherwise.

    Waveforms and images (a list of fixed size, or a fixed-shape tensor, of numbers) count, lists of
    lists don't.
    """
    values, extents = _values_and_shape(type_)
    count = 1
    for extent in extents:
        count *= extent
    return _primitive_bits(values) * count


def _values_and_shape(type_: pa.DataType) -> tuple[pa.DataType, tuple[int, ...]]:
    with needs_extra("arrow"):
        import pyarrow as pa

    if isinstance(type_, pa.FixedShapeTensorType):
        return type_.value_type, tuple(type_.shape) or (1,)  # stored as a list of one
    if isinstance(type_, pa.BaseExtensionType):
        return _values_and_shape(type_.storage_type)
    if pa.types.is_fixed_size_list(type_):
        return type_.value_type, (type_.list_size,)
    return type_, ()


def _primitive_bits(type_: pa.DataType) -> int:
    import pyarrow as pa

    is_fixed = pa.types.is_primitive(type_) or pa.types.is_decimal(type_) or pa.types.is_fixed_size_binary(type_)
    return int(type_.bit_width) if is_fixed else 0


def _c_format(type_: pa.DataType) -> bytes:
    """The format string of the Arrow C data interface."""
    capsule = type_.__arrow_c_schema__()
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype = ctypes.c_void_p
    get_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    address = get_pointer(capsule, b"arrow_schema")
    return ctypes.c_char_p.from_address(address).value or b""


def _table(schema: pa.Schema) -> bytes:
    rows = b""
    for field in schema:
        values, extents = _values_and_shape(field.type)
        format_ = _c_format(values if extents else field.type)
        if extents:
            format_ += b"[" + b",".join(b"%d" % extent for extent in extents) + b"]"
        name = field.name.encode()
        row = struct.pack("<QII", width_bits(field.type), len(name), len(format_)) + name + format_
        rows += row + bytes(-len(row) % 8)
    return struct.pack("<II", 8 + len(rows), len(schema)) + rows


def _template(schema: pa.Schema) -> bytes:
    if not len(schema) or not all(width_bits(field.type) for field in schema):
        return bytes(32)
    import pyarrow as pa

    columns = [_one_row(field.type) for field in schema]
    batch = pa.RecordBatch.from_arrays(columns, schema=schema)
    serialized = batch.serialize().to_pybytes()
    metadata_bytes = struct.unpack_from("<i", serialized, 4)[0]
    flatbuffer = serialized[_PREFIX : _PREFIX + metadata_bytes]
    places = _find_places(flatbuffer)

    message = bytearray(serialized[: _PREFIX + metadata_bytes])
    message += bytes(-len(message) % _ALIGN)
    struct.pack_into("<i", message, 4, len(message) - _PREFIX)

    values_per_row: list[int] = []
    buffer_columns: list[int] = []
    for index, field in enumerate(schema):
        _, extents = _values_and_shape(field.type)
        values_per_row.append(1)
        buffer_columns.append(_VALIDITY)
        if extents:
            values_per_row.append(_product(extents))
            buffer_columns.append(_VALIDITY)
        buffer_columns.append(index)
    if (places.node_count, places.buffer_count) != (len(values_per_row), len(buffer_columns)):
        raise AssertionError("pyarrow laid out a record batch in an unexpected way")
    head = struct.pack(
        "<8I",
        len(message), len(values_per_row), len(buffer_columns),
        places.body_length, places.batch_length, places.nodes, places.buffers, 0,
    )  # fmt: skip
    return (
        head + struct.pack(f"<{len(values_per_row)}Q{len(buffer_columns)}Q", *values_per_row, *buffer_columns) + message
    )


def _product(extents: tuple[int, ...]) -> int:
    product = 1
    for extent in extents:
        product *= extent
    return product


def _one_row(type_: pa.DataType) -> pa.Array:
    """One row of zeros, without nulls."""
    import pyarrow as pa

    if isinstance(type_, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(type_, _one_row(type_.storage_type))
    values, extents = _values_and_shape(type_)
    count = _product(extents)
    zeros = pa.Array.from_buffers(values, count, [None, pa.py_buffer(bytes(_primitive_bits(values) * count // 8 + 8))])
    return pa.FixedSizeListArray.from_arrays(zeros, type=type_) if extents else zeros


@dataclass(frozen=True)
class _Places:
    body_length: int
    batch_length: int
    nodes: int
    node_count: int
    buffers: int
    buffer_count: int


def _find_places(flatbuffer: bytes) -> _Places:
    def u16(at: int) -> int:
        return int(struct.unpack_from("<H", flatbuffer, at)[0])

    def u32(at: int) -> int:
        return int(struct.unpack_from("<I", flatbuffer, at)[0])

    def field(table: int, index: int) -> int:
        """Where a table's field lies; a field that was left out would be an unpatchable default."""
        vtable = table - int(struct.unpack_from("<i", flatbuffer, table)[0])
        slot = 4 + 2 * index
        offset = u16(vtable + slot) if slot < u16(vtable) else 0
        if not offset:
            raise AssertionError("pyarrow left a field out of a record batch message")
        return table + offset

    def vector(table: int, index: int) -> tuple[int, int]:
        at = field(table, index)
        start = at + u32(at)
        return start + 4, u32(start)

    message = u32(0)
    header = field(message, 2)
    batch = header + u32(header)
    nodes, node_count = vector(batch, 1)
    buffers, buffer_count = vector(batch, 2)
    return _Places(
        body_length=_PREFIX + field(message, 3),
        batch_length=_PREFIX + field(batch, 0),
        nodes=_PREFIX + nodes,
        node_count=node_count,
        buffers=_PREFIX + buffers,
        buffer_count=buffer_count,
    )
