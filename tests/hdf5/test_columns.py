"""Arrow types to datasets and back, read with bare h5py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulletdaq.errors import SchemaError, UnsupportedTypeError
from mulletdaq.hdf5.columns import columns_of
from mulletdaq.schema import Channel, arrow_schema

NUMBERS = {
    pa.int8(): "int8", pa.int16(): "int16", pa.int32(): "int32", pa.int64(): "int64",
    pa.uint8(): "uint8", pa.uint16(): "uint16", pa.uint32(): "uint32", pa.uint64(): "uint64",
    pa.float16(): "float16", pa.float32(): "float32", pa.float64(): "float64",
}  # fmt: skip
TIMES = {
    pa.timestamp("ns", "Europe/Berlin"): "int64", pa.timestamp("us"): "int64", pa.duration("ms"): "int64",
    pa.date32(): "int32", pa.date64(): "int64", pa.time32("s"): "int32", pa.time64("us"): "int64",
}  # fmt: skip
UNSUPPORTED = [
    pa.string(), pa.large_string(), pa.binary(), pa.binary(4), pa.list_(pa.int8()), pa.struct([("a", pa.int8())]),
    pa.dictionary(pa.int8(), pa.string()), pa.null(), pa.decimal128(5), pa.map_(pa.int8(), pa.int8()),
    pa.list_(pa.string(), 2), pa.month_day_nano_interval(), pa.bool8(), pa.run_end_encoded(pa.int32(), pa.int8()),
]  # fmt: skip


def stored(tmp_path: Path, field: Any, *pieces: Any, compression: str | None = None) -> h5py.Group:
    """Write one column and open it again."""
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.h5"
    with h5py.File(path, "x") as file:
        columns_of(pa.schema([field]))[0].write(file, pieces, compression)
    return h5py.File(path)["/"]


def random_bytes(rows: int, width: int) -> bytes:
    return np.random.default_rng(rows).bytes(rows * width)


@pytest.mark.parametrize(("type_", "dtype"), (NUMBERS | TIMES).items(), ids=str)
def test_fixed_width_values_are_bit_exact(tmp_path: Path, type_: Any, dtype: str) -> None:
    raw = random_bytes(1000, np.dtype(dtype).itemsize)
    array = pa.Array.from_buffers(type_, 1000, [None, pa.py_buffer(raw)])
    group = stored(tmp_path, pa.field("x", type_), array[:300], array[300:], compression="gzip")
    assert group["x"].dtype == dtype
    assert group["x"][:].tobytes() == raw
    assert set(group) == {"x"}
    assert ("arrow_type" in group["x"].attrs) == (type_ in TIMES)


def test_time_attributes(tmp_path: Path) -> None:
    cases = {
        pa.timestamp("ns", "UTC"): ("ns", "UTC"),
        pa.duration("ms"): ("ms", None),
        pa.date32(): ("d", None),
        pa.date64(): ("ms", None),
        pa.time32("s"): ("s", None),
    }
    for type_, (unit, timezone) in cases.items():
        attrs = stored(tmp_path, pa.field("x", type_), pa.array([0], type_))["x"].attrs
        assert attrs["units"].decode() == unit
        assert attrs.get("timezone", b"").decode() == (timezone or "")
        assert attrs["arrow_type"].decode() == str(type_)


def test_bool_is_uint8_and_says_so(tmp_path: Path) -> None:
    group = stored(tmp_path, pa.field("x", pa.bool_()), pa.array([True, False, True, True])[1:])
    assert group["x"].dtype == np.uint8
    assert group["x"][:].tolist() == [0, 1, 1]
    assert group["x"].attrs["arrow_type"] == b"bool"


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4)])
def test_tensor_channels(tmp_path: Path, shape: tuple[int, ...]) -> None:
    field = arrow_schema([Channel("x", "V", "float32", shape, "a picture")]).field("x")
    values = np.random.default_rng(1).random((5, *shape), np.float32)
    array = pa.FixedShapeTensorArray.from_numpy_ndarray(values)
    group = stored(tmp_path, field, array[:2], array[2:])
    assert np.array_equal(group["x"][:], values)
    assert group["x"].attrs["units"] == b"V"
    assert group["x"].attrs["description"] == b"a picture"


def test_permuted_tensor_has_its_logical_shape(tmp_path: Path) -> None:
    type_ = pa.fixed_shape_tensor(pa.int16(), [2, 3, 4], permutation=[2, 0, 1])
    flat = np.arange(48, dtype=np.int16)
    storage = pa.FixedSizeListArray.from_arrays(pa.array(flat), 24)
    array = pa.ExtensionArray.from_storage(type_, storage)
    group = stored(tmp_path, pa.field("x", type_), array)
    assert group["x"].shape == (2, 4, 2, 3)
    for (row, k, i, j), value in np.ndenumerate(group["x"][:]):
        assert value == row * 24 + i * 12 + j * 4 + k


def test_nested_fixed_size_lists_with_nulls(tmp_path: Path) -> None:
    type_ = pa.list_(pa.list_(pa.int16(), 2), 2)
    array = pa.array([[[9, 9], [9, 9]], [[1, 2], [3, None]], None, [[4, 5], None]], type_)[1:]
    group = stored(tmp_path, pa.field("x", type_), array)
    assert group["x"][:].tolist() == [[[1, 2], [3, 0]], [[0, 0], [0, 0]], [[4, 5], [0, 0]]]
    assert group["x_valid"][:].tolist() == [[[1, 1], [1, 0]], [[0, 0], [0, 0]], [[1, 1], [0, 0]]]


def test_nulls_are_nan_in_floats_and_a_mask_elsewhere(tmp_path: Path) -> None:
    group = stored(
        tmp_path, pa.field("x", pa.float32()), pa.array([1, None], pa.float32()), pa.array([2], pa.float32())
    )
    assert np.array_equal(group["x"][:], np.array([1, np.nan, 2], np.float32), equal_nan=True)
    assert set(group) == {"x"}
    group = stored(tmp_path, pa.field("x", pa.int8()), pa.array([7, 8], pa.int8()), pa.array([None, 3], pa.int8()))
    assert group["x"][:].tolist() == [7, 8, 0, 3]
    assert group["x_valid"][:].tolist() == [1, 1, 0, 1]
    assert group["x_valid"].dtype == np.uint8
    assert group["x"].attrs["valid"] == b"x_valid"


def test_mask_does_not_take_a_columns_name() -> None:
    x, other = columns_of(pa.schema([("x", pa.int8()), ("x_valid", pa.int8())]))
    assert x.mask == "x_valid_" and other.mask == "x_valid_valid"


@pytest.mark.parametrize("type_", UNSUPPORTED, ids=str)
def test_other_types_are_refused_by_name(type_: Any) -> None:
    with pytest.raises(UnsupportedTypeError, match="'the column'"):
        columns_of(pa.schema([("timestamp", pa.int64()), ("the column", type_)]))


@pytest.mark.parametrize("names", [["a/b"], ["."], [""], ["a\0"], ["a", "a"], []])
def test_impossible_names_are_refused(names: list[str]) -> None:
    with pytest.raises(SchemaError):
        columns_of(pa.schema([(name, pa.int8()) for name in names]))


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    """Any supported array, sliced anywhere, some elements null."""
    value = draw(st.sampled_from([*NUMBERS, *TIMES, pa.bool_()]))
    rows, size = draw(st.integers(0, 40)), draw(st.sampled_from([0, 1, 3]))
    width = max(value.bit_width // 8, 1)
    count = rows * max(size, 1)
    buffer = pa.py_buffer(draw(st.binary(min_size=count * width, max_size=count * width)))
    valid = pa.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)), pa.bool_())
    bits = valid.buffers()[1] if draw(st.booleans()) else None
    array = pa.Array.from_buffers(value, count, [bits, buffer])
    if size:
        array = pa.FixedSizeListArray.from_arrays(array, size)
    start = draw(st.integers(0, rows))
    return array[start:]


@settings(max_examples=200, deadline=None)
@given(arrays())
def test_any_array_equals_what_went_in(array: Any) -> None:
    [column] = columns_of(pa.schema([("x", array.type)]))
    values, valid = column.arrays([array])
    assert values.dtype == column.dtype
    assert values.shape == (len(array), *column.shape)
    flat = array.flatten() if column.shape else array
    expected = flat.to_pylist() if pa.types.is_boolean(flat.type) else flat.view(integer_of(flat.type)).to_pylist()
    found = values.reshape(-1)
    found_bits = found.view(f"uint{found.dtype.itemsize * 8}").tolist()
    flags = [True] * len(found) if valid is None else valid.reshape(-1).astype(bool).tolist()
    for one, bits, flag, number in zip(expected, found_bits, flags, found.tolist(), strict=True):
        if one is None:
            assert np.isnan(number) if column.dtype.kind == "f" else not flag
        else:
            assert flag and bits == one


def integer_of(type_: Any) -> Any:
    return {8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}[type_.bit_width]
