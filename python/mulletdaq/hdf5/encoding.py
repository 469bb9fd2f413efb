"""Stored entries back to Arrow arrays: the way back from :mod:`mulletdaq.hdf5.decoding`."""

from __future__ import annotations

from typing import Any

from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.parts import Entries, List, Node, Numbers, Struct

with needs_extra("hdf5"):
    import numpy as np
    import pyarrow as pa


def decoded_type(type_: Any) -> Any:
    """The Arrow type in which values of a declared type come back: the same, without dictionaries, runs and views."""
    if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        return decoded_type(type_.value_type)
    if isinstance(type_, pa.BaseExtensionType):
        storage = decoded_type(type_.storage_type)
        return type_ if storage == type_.storage_type else storage
    if pa.types.is_string_view(type_):
        return pa.large_string()
    if pa.types.is_binary_view(type_):
        return pa.large_binary()
    if pa.types.is_map(type_):
        return pa.map_(_decoded_field(type_.key_field), _decoded_field(type_.item_field))
    if pa.types.is_struct(type_):
        return pa.struct([_decoded_field(field) for field in type_])
    if pa.types.is_fixed_size_list(type_):
        return pa.list_(_decoded_field(type_.value_field), type_.list_size)
    if pa.types.is_list(type_) or pa.types.is_list_view(type_):
        return pa.list_(_decoded_field(type_.value_field))
    if pa.types.is_large_list(type_) or isinstance(type_, pa.LargeListViewType):
        return pa.large_list(_decoded_field(type_.value_field))
    return type_


def _decoded_field(field: Any) -> Any:
    return field.with_type(decoded_type(field.type))


def arrow_array(type_: Any, node: Node, entries: Entries) -> Any:
    """An Arrow array of stored entries.

    Parameters
    ----------
    type_
        As :func:`decoded_type` gives it.
    node
        Of the declared type.
    entries
        As :func:`~mulletdaq.hdf5.stored.read_entries` gives them.

    Notes
    -----
    A missing float comes back as NaN: the file does not tell it from one that was written. Of waveforms and images,
    each missing element is null rather than the row.
    """
    if isinstance(node, Numbers):
        return _numbers(type_, node, entries)
    if isinstance(type_, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(type_, arrow_array(type_.storage_type, node, entries))
    if isinstance(node, Struct):
        arrays = [
            arrow_array(field.type, member, own)
            for field, member, own in zip(type_, node.fields, entries.members, strict=True)
        ]
        return pa.StructArray.from_arrays(arrays, fields=list(type_), mask=_mask(entries.valid))
    if isinstance(node, List):
        return _list(type_, node, entries)
    wide = pa.types.is_large_string(type_) or pa.types.is_large_binary(type_)
    offsets = _buffer(entries.offsets, np.dtype(np.int64 if wide else np.int32))
    return pa.Array.from_buffers(
        type_, entries.count, [_bitmap(entries.valid), offsets, _buffer(entries.values, np.dtype(np.uint8))]
    )


def _list(type_: Any, node: List, entries: Entries) -> Any:
    mask = _mask(entries.valid)
    if pa.types.is_map(type_):
        pair = arrow_array(pa.struct([type_.key_field, type_.item_field]), node.item, entries.members[0])
        offsets = pa.array(entries.offsets, pa.int32())
        return pa.MapArray.from_arrays(offsets, pair.field(0), pair.field(1), type=type_, mask=mask)
    items = arrow_array(type_.value_type, node.item, entries.members[0])
    if pa.types.is_fixed_size_list(type_):
        if mask is not None:  # a missing list has no items in the file, and has them in Arrow
            items = items.take(_places(entries.valid, type_.list_size))
        return pa.FixedSizeListArray.from_arrays(items, type=type_, mask=mask)
    if pa.types.is_large_list(type_):
        return pa.LargeListArray.from_arrays(pa.array(entries.offsets, pa.int64()), items, type=type_, mask=mask)
    return pa.ListArray.from_arrays(pa.array(entries.offsets, pa.int32()), items, type=type_, mask=mask)


def _places(valid: Any, size: int) -> Any:
    """For each item of lists of one size its place among those that are there, null in a list that is missing."""
    there = np.repeat(valid, size)
    return pa.array(np.cumsum(there) - 1, pa.int64(), mask=~there)


def _numbers(type_: Any, node: Numbers, entries: Entries) -> Any:
    order = np.argsort(node.axes)
    values, valid = entries.values, entries.valid
    if len(order) > 1:
        tail = range(1 + len(order), values.ndim)
        values = values.transpose(0, *(1 + order), *tail)
        valid = None if valid is None else valid.transpose(0, *(1 + order))
    singles = values.reshape(-1, *node.tail)
    return _nested(type_, singles, None if valid is None else valid.reshape(-1))


def _nested(type_: Any, singles: Any, valid: Any) -> Any:
    """Single values in the lists and tensors of their type."""
    if isinstance(type_, pa.Bool8Type):
        return pa.ExtensionArray.from_storage(type_, _single(pa.int8(), singles.astype(np.int8), valid))
    if isinstance(type_, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(type_, _nested(type_.storage_type, singles, valid))
    if pa.types.is_fixed_size_list(type_):
        return pa.FixedSizeListArray.from_arrays(_nested(type_.value_type, singles, valid), type=type_)
    return _single(type_, singles, valid)


def _single(type_: Any, singles: Any, valid: Any) -> Any:
    if pa.types.is_boolean(type_):
        return pa.array(singles != 0, mask=None if valid is None else ~valid)
    if pa.types.is_decimal(type_):
        return _decimals(type_, singles)
    count = len(singles)
    data = pa.py_buffer(np.ascontiguousarray(singles))
    return pa.Array.from_buffers(type_, count, [_bitmap(valid), data])


def _decimals(type_: Any, values: Any) -> Any:
    """The decimals of up to 15 digits next to each float64, which are those that were written."""
    valid = ~np.isnan(values)
    scaled = values * float(10**type_.scale) if type_.scale >= 0 else values / float(10**-type_.scale)
    digits = np.rint(np.where(valid, scaled, 0)).astype(np.int64)
    if type_.bit_width == 32:
        words = digits.astype(np.int32)
    else:
        words = np.empty((len(digits), type_.bit_width // 64), np.int64)
        words[:, 0] = digits
        words[:, 1:] = (digits >> 63)[:, None]  # the sign goes on in the higher words
    return pa.Array.from_buffers(type_, len(values), [_bitmap(valid), pa.py_buffer(words)])


def _mask(valid: Any) -> Any:
    return None if valid is None else pa.array(~valid)


def _bitmap(valid: Any) -> Any:
    return None if valid is None else pa.array(valid).buffers()[1]


def _buffer(values: Any, dtype: Any) -> Any:
    return pa.py_buffer(np.ascontiguousarray(values, dtype))


__all__ = ["arrow_array", "decoded_type"]
