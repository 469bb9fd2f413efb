"""Rows of any column as Python values, by what the reference says and nothing else: h5py and NumPy."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import h5py
import pyarrow as pa


def read_column(group: Any, name: str, type_: Any, rows: int) -> list[Any]:
    """The rows of one column: None or NaN where a value is missing, fixed-size lists always with their elements."""
    found = _read(group, name, plain_type(type_), rows)
    assert len(found) == rows
    return found


def plain_type(type_: Any) -> Any:
    """The type of the values behind encodings and extensions."""
    if isinstance(type_, pa.Bool8Type):
        return pa.bool_()
    if isinstance(type_, pa.FixedShapeTensorType):
        return type_
    if isinstance(type_, pa.BaseExtensionType):
        return plain_type(type_.storage_type)
    if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        return plain_type(type_.value_type)
    return type_


def is_grid(type_: Any) -> bool:
    """Whether rows are numbers of one width in one fixed shape."""
    type_ = plain_type(type_)
    if isinstance(type_, pa.FixedShapeTensorType) or pa.types.is_fixed_size_list(type_):
        return is_grid(type_.value_type)
    return pa.types.is_fixed_size_binary(type_) or not (pa.types.is_nested(type_) or is_text(type_) or is_binary(type_))


def is_text(type_: Any) -> bool:
    return type_ in (pa.string(), pa.large_string(), pa.string_view())


def is_binary(type_: Any) -> bool:
    return type_ in (pa.binary(), pa.large_binary(), pa.binary_view())


def same(a: Any, b: Any) -> bool:
    """Equality in which a NaN equals a NaN, and -0.0 is not 0.0."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(*pair) for pair in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, float) and isinstance(b, float):
        return (a != a and b != b) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return type(a) is type(b) and bool(a == b)


def _read(group: Any, name: str, type_: Any, rows: int) -> list[Any]:
    member = group[name]
    valid = group[member.attrs["valid"].decode()][:].tolist() if "valid" in member.attrs else None
    if is_grid(type_):
        values = _bytes_of(member) if pa.types.is_fixed_size_binary(_innermost(type_)) else member[:].tolist()
        return values if valid is None else [_masked(*pair) for pair in zip(values, valid, strict=True)]
    if pa.types.is_struct(type_):
        columns = {field.name: read_column(member, field.name, field.type, rows) for field in type_}
        values = [{name: column[row] for name, column in columns.items()} for row in range(rows)]
    elif isinstance(member, h5py.Dataset):
        values = [text.decode() for text in member[:].tolist()]
    else:
        values = _read_list(member, type_)
    return values if valid is None else [value if there else None for value, there in zip(values, valid, strict=True)]


def _read_list(group: Any, type_: Any) -> list[Any]:
    offsets = group["offsets"][:].tolist()
    assert group["values"].attrs["offsets"] == b"offsets"
    spans = [slice(*pair) for pair in pairwise(offsets)]
    if is_text(type_) or is_binary(type_):
        content = group["values"][:].tobytes()
        assert len(content) == offsets[-1]
        return [content[span].decode() if is_text(type_) else content[span] for span in spans]
    item = pa.struct([type_.key_field, type_.item_field]) if pa.types.is_map(type_) else type_.value_type
    values = read_column(group, "values", item, offsets[-1])
    return [values[span] for span in spans]


def _innermost(type_: Any) -> Any:
    type_ = plain_type(type_)
    if isinstance(type_, pa.FixedShapeTensorType) or pa.types.is_fixed_size_list(type_):
        return _innermost(type_.value_type)
    return type_


def _bytes_of(dataset: Any) -> Any:
    def joined(values: Any, depth: int) -> Any:
        return bytes(values) if depth == 0 else [joined(value, depth - 1) for value in values]

    return joined(dataset[:].tolist(), dataset.ndim - 1)


def _masked(value: Any, valid: Any) -> Any:
    if isinstance(valid, list):
        return [_masked(*pair) for pair in zip(value, valid, strict=True)]
    return value if valid else None
