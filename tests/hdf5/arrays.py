"""Arrow arrays of any type from Python values, and strategies for both.

Times are integers here, decimals ``Decimal``s, maps lists of ``{"key": …, "value": …}``. Where a value is missing,
something else lies in memory below it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from .reading import is_grid, plain_type

INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
FLOATS = [pa.float16(), pa.float32(), pa.float64()]
DECIMALS = [pa.decimal32(4, 1), pa.decimal64(12, -3), pa.decimal128(5, 2), pa.decimal256(15, 15)]
DAY_S = 86_400
TIMES = {
    pa.timestamp("ns", "Europe/Berlin"): (2**63, 1), pa.timestamp("us"): (2**63, 1), pa.duration("ms"): (2**63, 1),
    pa.date32(): (2**31, 1), pa.date64(): (10**10, DAY_S * 1000),
    pa.time32("s"): (DAY_S, 1), pa.time64("us"): (DAY_S * 10**6, 1),
}  # fmt: skip
TEXTS = [pa.string(), pa.large_string(), pa.string_view()]
BINARIES = [pa.binary(), pa.large_binary(), pa.binary_view()]
EXTENSIONS = [pa.bool8(), pa.uuid(), pa.json_(), pa.opaque(pa.int16(), "angle", "a vendor")]

bare_types = st.sampled_from([*INTEGERS, *FLOATS, *DECIMALS, *TIMES, *TEXTS, *BINARIES, pa.bool_(), pa.binary(3)])
single_types = bare_types | st.sampled_from(EXTENSIONS)
fixed_types = single_types.filter(is_grid)
run_types = st.builds(pa.run_end_encoded, st.sampled_from([pa.int16(), pa.int32(), pa.int64()]), single_types)
index_types = st.sampled_from([pa.int8(), pa.uint16(), pa.int64()])
NAMES = ["a", "a_valid", "a_valid_", "values", "offsets", "ä b"]
field_names = st.lists(st.sampled_from(NAMES), min_size=1, unique=True)


@st.composite
def tensor_types(draw: st.DrawFn) -> Any:
    shape = draw(st.lists(st.integers(1, 3), max_size=3))
    order = draw(st.permutations(range(len(shape))))
    return pa.fixed_shape_tensor(draw(fixed_types), shape, permutation=order)


def _structs(inner: Any) -> Any:
    field = st.tuples(st.sampled_from(NAMES), inner)
    return st.lists(field, min_size=1, max_size=4, unique_by=lambda pair: pair[0]).map(pa.struct)


def _nested(inner: Any) -> Any:
    return st.one_of(
        st.builds(pa.list_, inner),
        st.builds(pa.large_list, inner),
        st.builds(pa.list_view, inner),
        st.builds(pa.large_list_view, inner),
        st.builds(pa.list_, inner, st.integers(1, 3)),
        _structs(inner),
        st.builds(pa.map_, st.sampled_from([pa.string(), pa.int32()]), inner),
    )  # fmt: skip


def _types(in_dictionaries: Any) -> Any:
    dictionaries = st.builds(pa.dictionary, index_types, in_dictionaries)
    return st.recursive(st.one_of(single_types, run_types, dictionaries, tensor_types()), _nested, max_leaves=4)


types = _types(single_types)
ring_types = _types(bare_types)
"""Without dictionaries of extension types: pyarrow writes them into messages that it cannot read."""


def values_of(type_: Any, *, nullable: bool = True) -> Any:
    """Strategy of single values, null among them."""
    strategy = _values_of(plain_type(type_))
    return st.none() | strategy if nullable else strategy


def _values_of(type_: Any) -> Any:
    if isinstance(type_, pa.FixedShapeTensorType):
        size = int(np.prod(type_.shape))
        return st.lists(values_of(type_.value_type), min_size=size, max_size=size)
    if pa.types.is_fixed_size_list(type_):
        return st.lists(values_of(type_.value_type), min_size=type_.list_size, max_size=type_.list_size)
    if pa.types.is_struct(type_):
        return st.fixed_dictionaries({field.name: values_of(field.type) for field in type_})
    if pa.types.is_map(type_):
        entry = {"key": values_of(type_.key_type, nullable=False), "value": values_of(type_.item_type)}
        return st.lists(st.fixed_dictionaries(entry), max_size=3)
    if pa.types.is_nested(type_):
        return st.lists(values_of(type_.value_type), max_size=3)
    if pa.types.is_integer(type_):
        signed = pa.types.is_signed_integer(type_)
        bound = 1 << (type_.bit_width - signed)
        return st.integers(-bound if signed else 0, bound - 1)
    if pa.types.is_floating(type_):
        return st.floats(width=type_.bit_width)
    if pa.types.is_decimal(type_):
        bound = 10**type_.precision - 1
        return st.integers(-bound, bound).map(lambda digits: Decimal(digits).scaleb(-type_.scale))
    if type_ in TIMES:
        bound, step = TIMES[type_]
        return st.integers(0, bound - 1).map(lambda ticks: ticks - ticks % step)
    if pa.types.is_boolean(type_):
        return st.booleans()
    if pa.types.is_fixed_size_binary(type_):
        return st.binary(min_size=type_.byte_width, max_size=type_.byte_width)
    if type_ in BINARIES:
        return st.binary(max_size=5)
    return st.text(st.characters(codec="utf-8"), max_size=5)


def build(type_: Any, values: list[Any]) -> Any:
    """An Arrow array of the values."""
    if isinstance(type_, pa.Bool8Type):
        bytes_ = [None if value is None else int(value) * (1 + row % 100) for row, value in enumerate(values)]
        return pa.ExtensionArray.from_storage(type_, pa.array(bytes_, pa.int8()))
    if isinstance(type_, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(type_, build(type_.storage_type, values))
    if pa.types.is_dictionary(type_):
        unused = filler(type_.value_type)
        return pa.DictionaryArray.from_arrays(
            pa.array([None if value is None else row + 1 for row, value in enumerate(values)], type_.index_type),
            build(type_.value_type, [unused, *values]),
        )
    if pa.types.is_run_end_encoded(type_):
        return _build_runs(type_, values)
    missing = pa.array([value is None for value in values], pa.bool_())
    if pa.types.is_struct(type_):
        rows = [filler(type_) if value is None else value for value in values]
        members = [build(field.type, [row[field.name] for row in rows]) for field in type_]
        return pa.StructArray.from_arrays(members, fields=list(type_), mask=missing)
    if pa.types.is_fixed_size_list(type_):
        rows = [filler(type_) if value is None else value for value in values]
        items = build(type_.value_type, [item for row in rows for item in row])
        return pa.FixedSizeListArray.from_arrays(items, type=type_, mask=missing)
    if pa.types.is_nested(type_):
        return _build_list(type_, values, missing)
    if pa.types.is_floating(type_) and type_.bit_width == 16:
        values = [None if value is None else np.float16(value) for value in values]
    return pa.array(values, type_)


def _build_runs(type_: Any, values: list[Any]) -> Any:
    ends = [row + 1 for row in range(len(values)) if row + 1 == len(values) or values[row] is not values[row + 1]]
    runs = build(type_.value_type, [values[end - 1] for end in ends])
    return pa.RunEndEncodedArray.from_arrays(pa.array(ends, type_.run_end_type), runs)


def _build_list(type_: Any, values: list[Any], missing: Any) -> Any:
    """A missing list has an item in memory, and the first has one before it."""
    is_map = pa.types.is_map(type_)
    item_type = pa.struct([type_.key_field, type_.item_field]) if is_map else type_.value_type
    rows = [[filler(item_type)] if value is None else value for value in values]
    ends = np.cumsum([1, *(len(row) for row in rows)])
    items = build(item_type, [filler(item_type), *(item for row in rows for item in row)])
    if is_map:
        return pa.MapArray.from_arrays(
            pa.array(ends, pa.int32()), items.field(0), items.field(1), type=type_, mask=missing
        )
    wide = pa.types.is_large_list(type_) or isinstance(type_, pa.LargeListViewType)
    offsets = pa.array(ends, pa.int64() if wide else pa.int32())
    if pa.types.is_list_view(type_) or isinstance(type_, pa.LargeListViewType):
        array = pa.LargeListViewArray if wide else pa.ListViewArray
        sizes = pa.array(np.diff(ends), offsets.type)
        return array.from_arrays(offsets[:-1], sizes, items, type=type_, mask=missing)
    array = pa.LargeListArray if wide else pa.ListArray
    return array.from_arrays(offsets, items, type=type_, mask=missing)


def filler(type_: Any) -> Any:
    """A value that no test expects to read."""
    type_ = plain_type(type_)
    if isinstance(type_, pa.FixedShapeTensorType):
        return [filler(type_.value_type)] * int(np.prod(type_.shape))
    if pa.types.is_fixed_size_list(type_):
        return [filler(type_.value_type)] * type_.list_size
    if pa.types.is_struct(type_):
        return {field.name: filler(field.type) for field in type_}
    if pa.types.is_map(type_):
        return [{"key": filler(type_.key_type), "value": filler(type_.item_type)}]
    if pa.types.is_nested(type_):
        return [filler(type_.value_type)]
    if pa.types.is_decimal(type_):
        return Decimal(99).scaleb(-type_.scale)
    if pa.types.is_fixed_size_binary(type_):
        return b"#" * type_.byte_width
    if type_ in BINARIES:
        return b"##"
    if type_ in TEXTS:
        return "##"
    return 0 if type_ == pa.date64() else pa.types.is_boolean(type_) or 99


def as_read(type_: Any, value: Any) -> Any:
    """What :func:`tests.hdf5.reading.read_column` gives for a value."""
    type_ = plain_type(type_)
    if isinstance(type_, pa.FixedShapeTensorType):
        items = [None] * int(np.prod(type_.shape)) if value is None else value
        singles = np.empty(len(items), object)
        singles[:] = [as_read(type_.value_type, item) for item in items]
        order = type_.permutation or range(len(type_.shape))
        return singles.reshape(type_.shape).transpose(list(order)).tolist()
    if pa.types.is_fixed_size_list(type_) and is_grid(type_):
        items = [None] * type_.list_size if value is None else value
        return [as_read(type_.value_type, item) for item in items]
    if pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return float("nan") if value is None else float(value)
    if value is None:
        return None
    if pa.types.is_struct(type_):
        return {field.name: as_read(field.type, value[field.name]) for field in type_}
    if pa.types.is_map(type_):
        return [
            {"key": as_read(type_.key_type, e["key"]), "value": as_read(type_.item_type, e["value"])} for e in value
        ]
    if pa.types.is_nested(type_):
        return [as_read(type_.value_type, item) for item in value]
    return int(value) if pa.types.is_boolean(type_) else value
