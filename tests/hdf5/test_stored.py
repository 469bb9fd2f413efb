"""What was stored comes back: as the entries that were stored, and as the Arrow arrays that were written."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mulletdaq.errors import FileFormatError
from mulletdaq.hdf5.columns import columns_of, write_part
from mulletdaq.hdf5.encoding import arrow_array, decoded_type
from mulletdaq.hdf5.parts import Entries
from mulletdaq.hdf5.stored import read_entries
from tests.examples import examples

from .arrays import as_read, build, plain_type, types, values_of
from .reading import same


def alike(a: Entries, b: Entries) -> bool:
    """Bit for bit."""
    arrays = zip((a.valid, a.values, a.offsets), (b.valid, b.values, b.offsets), strict=True)
    return (
        a.count == b.count
        and all((x is None) == (y is None) and (x is None or _bits(x) == _bits(y)) for x, y in arrays)
        and all(alike(*pair) for pair in zip(a.members, b.members, strict=True))
    )


def _bits(array: Any) -> tuple[Any, ...]:
    return array.dtype.str, array.shape, array.tobytes()


def as_exported(type_: Any, value: Any) -> Any:
    """A value as Arrow gives it back: missing floats are NaN, a missing waveform has missing elements."""
    type_ = plain_type(type_)
    if isinstance(type_, pa.FixedShapeTensorType):
        items = [None] * int(np.prod(type_.shape)) if value is None else value
        return [as_exported(type_.value_type, item) for item in items]
    found = as_read(type_, value)
    if pa.types.is_decimal(type_):
        return value
    if value is not None and pa.types.is_boolean(type_):
        return bool(value)
    if isinstance(found, dict):
        return {field.name: as_exported(field.type, value[field.name]) for field in type_}
    if pa.types.is_map(type_) and value is not None:
        return [[as_exported(type_.key_type, e["key"]), as_exported(type_.item_type, e["value"])] for e in value]
    if isinstance(found, list):
        items = [None] * type_.list_size if value is None else value
        return [as_exported(type_.value_type, item) for item in items]
    return found


def as_values(array: Any) -> list[Any]:
    """Of an Arrow array; times as integers, extension types as what they are made of."""
    type_ = array.type
    if isinstance(type_, pa.BaseExtensionType):
        values = as_values(array.storage)
        return [None if v is None else bool(v) for v in values] if isinstance(type_, pa.Bool8Type) else values
    if pa.types.is_temporal(type_):
        return array.cast(pa.int32() if type_.bit_width == 32 else pa.int64()).to_pylist()
    if pa.types.is_struct(type_):
        fields = {field.name: as_values(array.field(field.name)) for field in type_}
        rows = [{name: column[row] for name, column in fields.items()} for row in range(len(array))]
    elif pa.types.is_map(type_):
        keys, items = as_values(array.keys), as_values(array.items)
        rows = [[list(pair) for pair in zip(keys[a:b], items[a:b], strict=True)] for a, b in _spans(array)]
    elif pa.types.is_fixed_size_list(type_):
        items, size = as_values(array.values), type_.list_size
        rows = [items[row * size : (row + 1) * size] for row in range(len(array))]
    elif pa.types.is_nested(type_):
        items = as_values(array.values)
        rows = [items[a:b] for a, b in _spans(array)]
    else:
        return array.to_pylist()
    return [row if there else None for row, there in zip(rows, array.is_valid().to_pylist(), strict=True)]


def _spans(array: Any) -> list[tuple[int, int]]:
    return list(pairwise(array.offsets.to_pylist()))


@settings(max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(types, st.data(), st.booleans())
def test_any_column_comes_back(type_: Any, data: st.DataObject, growing: bool) -> None:
    rows = data.draw(st.lists(values_of(type_), max_size=12))
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    [column] = columns_of(pa.schema([("a", type_)]), growing=growing)
    with h5py.File("memory.h5", "w", driver="core", backing_store=False) as file:
        stored = column.node.entries([build(type_, rows)])
        for part in column.node.parts_of(stored):
            write_part(file, part, "gzip")
        assert alike(read_entries(file, column.node, 0, len(rows)), stored)
        some = read_entries(file, column.node, start, stop)
    array = arrow_array(decoded_type(type_), column.node, some)
    array.validate(full=True)
    assert array.type == decoded_type(type_)
    expected = [as_exported(type_, row) for row in rows[start:stop]]
    assert same(as_values(array), expected), (as_values(array), expected)


@pytest.mark.parametrize("damage", [[0, 5, 2, 3], [0, 1, 2, 99], [-1, 1, 2, 3], [0, 1]])
def test_damaged_offsets_are_refused(damage: list[int]) -> None:
    """They would be addresses to Arrow."""
    [column] = columns_of(pa.schema([("a", pa.binary())]))
    with h5py.File("memory.h5", "w", driver="core", backing_store=False) as file:
        column.write(file, [pa.array([b"a", b"b", b"c"])], None)
        del file["a/offsets"]
        file["a/offsets"] = np.array(damage)
        with pytest.raises(FileFormatError, match="offsets"):
            read_entries(file, column.node, 0, 3)
