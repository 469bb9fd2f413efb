"""Arrow arrays to NumPy arrays: encodings undone, nulls apart, values as they lie in memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

from mulletdaq.extras import needs_extra

with needs_extra("hdf5"):
    import numpy as np
    import pyarrow as pa

Codec: TypeAlias = Callable[[Any], Any]
"""From a plain Arrow array of n single values to a NumPy array of shape (n, ...)."""

_PADDING_STEP_BYTES = 4 << 20
_MANY_SLICES = 16  # beyond this, picking items one by one is cheaper than a slice for each list


def plain(array: Any) -> Any:
    """The array without encoding: the values of dictionaries and runs, of an extension type what it stores."""
    type_ = array.type
    if isinstance(type_, pa.BaseExtensionType):
        return plain(array.storage)
    if pa.types.is_dictionary(type_):
        return plain(array.dictionary).take(array.indices)
    if pa.types.is_run_end_encoded(type_):
        rows = np.arange(array.offset, array.offset + len(array))
        return plain(array.values).take(pa.array(np.searchsorted(array.run_ends.to_numpy(), rows, side="right")))
    if pa.types.is_string_view(type_) or pa.types.is_binary_view(type_):
        return array.cast(pa.large_binary())  # nothing can be taken from a view
    return array


def validity(array: Any) -> Any:
    """Which entries of a plain array have a value, as bools; None when all have."""
    return None if array.null_count == 0 else array.is_valid().to_numpy(zero_copy_only=False)


def raw(dtype: Any) -> Codec:
    """A codec: values as they lie in memory, bit for bit."""
    return lambda array: _items(array, dtype, 1)


def from_fixed_binary(array: Any) -> Any:
    """A codec: binary values of n bytes each to uint8, shape (rows, n)."""
    width = array.type.byte_width
    return _items(array, np.dtype(np.uint8), width).reshape(-1, width)


def from_bits(array: Any) -> Any:
    """A codec: bits to uint8, 0 or 1."""
    return array.fill_null(False).cast(pa.uint8()).to_numpy()


def from_bool8(array: Any) -> Any:
    """A codec: bytes that are true when not 0, to uint8, 0 or 1."""
    return (_items(array, np.dtype(np.int8), 1) != 0).astype(np.uint8)


def from_decimals(array: Any) -> Any:
    """A codec: decimals of up to 15 digits to the float64 next to each."""
    bits, scale = array.type.bit_width, array.type.scale
    word = np.dtype(np.int32 if bits == 32 else np.int64)  # so few digits fit into the lowest of the words
    words = bits // 8 // word.itemsize
    digits = _items(array, word, words)[::words].astype(np.float64)
    # Both sides are exact: that makes the one rounding the nearest.
    return digits / float(10**scale) if scale >= 0 else digits * float(10**-scale)


def _items(array: Any, dtype: Any, per_value: int) -> Any:
    buffer, count = array.buffers()[1], len(array) * per_value
    if buffer is None or not count:
        return np.zeros(count, dtype)
    return np.frombuffer(buffer, dtype, count=count, offset=array.offset * per_value * dtype.itemsize)


def single_values(array: Any) -> tuple[Any, Any]:
    """The single values of waveforms and images one after the other, and which of them are there (None: all)."""
    array = plain(array)
    own = validity(array)
    if not pa.types.is_fixed_size_list(array.type):
        return array, own
    rows, size = len(array), array.type.list_size
    items, valid = single_values(array.values.slice(array.offset * size, rows * size))
    if own is None:
        return items, valid
    own = np.repeat(own, len(items) // rows)
    return items, own if valid is None else own & valid


def join(arrays: list[Any], dtype: Any) -> Any:
    """NumPy arrays one after the other; an empty one of the dtype if there are none."""
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays) if arrays else np.zeros(0, dtype)


def join_valid(flags: list[tuple[int, Any]]) -> Any:
    """Validity of several arrays, given as length and validity; None when all is valid."""
    if all(valid is None for _, valid in flags):
        return None
    return join([np.ones(length, bool) if valid is None else valid for length, valid in flags], bool)


def lengths_and_bytes(arrays: list[Any]) -> tuple[Any, Any]:
    """Length of each value (int64) and all their bytes (uint8) of large_binary arrays without nulls."""
    lengths, contents = [], []
    for array in arrays:
        _, places, content = array.buffers()
        if places is None or not len(array):
            continue
        offsets = np.frombuffer(places, np.int64, count=len(array) + 1, offset=array.offset * 8)
        lengths.append(np.diff(offsets))
        if offsets[-1] > offsets[0]:
            contents.append(np.frombuffer(content, np.uint8)[offsets[0] : offsets[-1]])
    return join(lengths, np.int64), join(contents, np.uint8)


def pad(lengths: Any, content: Any, width: int) -> Any:
    """Fixed-length strings, shape (n,): ASCII where all of them are, else UTF-8."""
    padded = np.zeros((len(lengths), width), np.uint8)
    ends = np.cumsum(lengths)
    columns, step = np.arange(width), max(1, _PADDING_STEP_BYTES // width)
    for row in range(0, len(lengths), step):  # step by step: the selection takes as much memory as the texts
        some = lengths[row : row + step]
        end = ends[row + len(some) - 1]
        padded[row : row + step][columns < some[:, None]] = content[end - some.sum() : end]
    charset = "ascii" if content.max(initial=0) < 128 else "utf-8"
    return padded.reshape(-1).view(np.dtype(f"S{width}", metadata={"h5py_encoding": charset}))


def list_items(array: Any) -> tuple[Any, list[Any]]:
    """Length of each list (int64; 0 where it is missing), and the items of all lists, in as few slices as they lie in.

    Parameters
    ----------
    array
        Plain array of lists of any kind, or of maps. What lies between lists, or under a missing one, is left out.
    """
    starts, lengths = _spans(array)
    valid = validity(array)
    if valid is not None:
        lengths = np.where(valid, lengths, 0)
    filled = lengths > 0
    begins, ends = starts[filled], (starts + lengths)[filled]
    if not len(begins):
        return lengths, [array.values.slice(0, 0)]
    breaks = begins[1:] != ends[:-1]
    begins, ends = begins[np.append(True, breaks)], ends[np.append(breaks, True)]
    if len(begins) > _MANY_SLICES:
        with suppress(pa.ArrowException):  # not every type can be picked, a struct of runs for one
            return lengths, [plain(array.values).take(pa.array(_ranges(begins, ends)))]
    runs = zip(begins.tolist(), ends.tolist(), strict=True)
    return lengths, [array.values.slice(begin, end - begin) for begin, end in runs]


def _ranges(begins: Any, ends: Any) -> Any:
    """All the numbers of several ranges, one range after the other."""
    sizes = ends - begins
    return np.arange(sizes.sum()) + np.repeat(begins - np.cumsum(sizes) + sizes, sizes)


def _spans(array: Any) -> tuple[Any, Any]:
    """Where in ``array.values`` each list begins, and how long it is, as int64."""
    type_ = array.type
    if pa.types.is_fixed_size_list(type_):
        lengths = np.full(len(array), type_.list_size, np.int64)
        return (np.arange(len(array)) + array.offset) * type_.list_size, lengths
    offsets = array.offsets.to_numpy().astype(np.int64)
    if pa.types.is_list_view(type_) or isinstance(type_, pa.LargeListViewType):
        return offsets, array.sizes.to_numpy().astype(np.int64)
    return offsets[:-1], np.diff(offsets)


def struct_members(array: Any) -> list[Any]:
    """The fields of a plain array of structs; where a struct is missing, so are its fields."""
    members = [array.field(index) for index in range(array.type.num_fields)]
    if not array.null_count:
        return members
    # Run ends have no place for nulls: without their encoding, every member has.
    names = [field.name for field in array.type]
    members = [plain(member) for member in members]
    return list(pa.StructArray.from_arrays(members, names, mask=array.is_null()).flatten())


__all__ = [
    "Codec",
    "from_bits",
    "from_bool8",
    "from_decimals",
    "from_fixed_binary",
    "join",
    "join_valid",
    "lengths_and_bytes",
    "list_items",
    "pad",
    "plain",
    "raw",
    "single_values",
    "struct_members",
    "validity",
]
