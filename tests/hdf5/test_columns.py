"""Arrow types to datasets and back, read with bare h5py."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulletdaq.errors import SchemaError, UnsupportedTypeError
from mulletdaq.hdf5 import parts
from mulletdaq.hdf5.columns import columns_of
from mulletdaq.schema import Channel, arrow_schema

from .arrays import FLOATS, INTEGERS, TIMES
from .types_table import REFUSED


def stored(tmp_path: Path, field: Any, *pieces: Any, compression: str | None = None) -> h5py.Group:
    """Write one column and open it again."""
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.h5"
    with h5py.File(path, "x") as file:
        columns_of(pa.schema([field]))[0].write(file, pieces, compression)
    return h5py.File(path)["/"]


@pytest.mark.parametrize("type_", [*INTEGERS, *FLOATS, *TIMES], ids=str)
def test_fixed_width_values_are_bit_exact(tmp_path: Path, type_: Any) -> None:
    raw = np.random.default_rng(1000).bytes(1000 * type_.bit_width // 8)
    array = pa.Array.from_buffers(type_, 1000, [None, pa.py_buffer(raw)])
    group = stored(tmp_path, pa.field("x", type_), array[:300], array[300:], compression="gzip")
    assert group["x"][:].tobytes() == raw
    assert set(group) == {"x"}
    assert group["x"].attrs.get("arrow_type", b"").decode() == (str(type_) if type_ in TIMES else "")


def test_texts_of_a_field_go_with_its_dataset(tmp_path: Path) -> None:
    field = arrow_schema([Channel("x", "µV", "float32", (2, 3), "a picture")]).field("x")
    values = np.random.default_rng(1).random((5, 2, 3), np.float32)
    array = pa.FixedShapeTensorArray.from_numpy_ndarray(values)
    group = stored(tmp_path, field, array[:2], array[2:])
    assert np.array_equal(group["x"][:], values)
    assert dict(group["x"].attrs) == {"units": "µV".encode(), "description": b"a picture"}


def test_a_list_passes_its_unit_on_and_a_struct_has_its_fields(tmp_path: Path) -> None:
    texts = {"unit": "mV", "description": "where the peaks are"}
    group = stored(
        tmp_path, pa.field("x", pa.list_(pa.float32()), metadata=texts), pa.array([[1]], pa.list_(pa.float32()))
    )
    assert group["x"].attrs["description"] == b"where the peaks are" and group["x"].attrs["arrow_type"] == b"list"
    assert group["x/values"].attrs["units"] == b"mV"
    type_ = pa.struct([pa.field("left", pa.float64(), metadata={"unit": "mm", "description": "slit"})])
    group = stored(tmp_path, pa.field("x", type_), pa.array([{"left": 0.5}], type_))
    assert dict(group["x/left"].attrs) == {"units": b"mm", "description": b"slit"}


def test_permuted_tensor_has_its_logical_shape(tmp_path: Path) -> None:
    type_ = pa.fixed_shape_tensor(pa.int16(), [2, 3, 4], permutation=[2, 0, 1])
    flat = np.arange(48, dtype=np.int16)
    storage = pa.FixedSizeListArray.from_arrays(pa.array(flat), 24)
    array = pa.ExtensionArray.from_storage(type_, storage)
    group = stored(tmp_path, pa.field("x", type_), array)
    assert group["x"].shape == (2, 4, 2, 3)
    for (row, k, i, j), value in np.ndenumerate(group["x"][:]):
        assert value == row * 24 + i * 12 + j * 4 + k


def test_floats_that_are_missing_are_nan_without_a_mask(tmp_path: Path) -> None:
    pieces = pa.array([1, None], pa.float32()), pa.array([2], pa.float32())
    group = stored(tmp_path, pa.field("x", pa.float32()), *pieces)
    assert np.array_equal(group["x"][:], np.array([1, np.nan, 2], np.float32), equal_nan=True)
    assert set(group) == {"x"}


def test_a_mask_covers_the_arrays_without_nulls_too(tmp_path: Path) -> None:
    group = stored(tmp_path, pa.field("x", pa.int8()), pa.array([7, 8], pa.int8()), pa.array([None, 3], pa.int8()))
    assert group["x"][:].tolist() == [7, 8, 0, 3]
    assert group["x_valid"][:].tolist() == [1, 1, 0, 1]


def test_where_a_struct_is_missing_so_are_its_fields(tmp_path: Path) -> None:
    """Also those that have no place for nulls, such as runs, and whatever lies below."""
    members = {
        "number": pa.array([7, 8, 9]),
        "runs": pa.RunEndEncodedArray.from_arrays(pa.array([3], pa.int32()), pa.array([5])),
        "text": pa.array(["a", "b", "c"]).dictionary_encode(),
        "list": pa.array([[1], [2], [3, 4]]),
        "wave": pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((3, 2), np.int16)),
        "inner": pa.array([{"n": 1}, {"n": 2}, {"n": 3}]),
    }
    array = pa.StructArray.from_arrays(members.values(), members, mask=pa.array([False, True, False]))
    group = stored(tmp_path, pa.field("x", array.type), array[:2], array[2:])
    assert group["x_valid"][:].tolist() == [1, 0, 1]
    inside = group["x"]
    assert inside["number"][:].tolist() == [7, 0, 9] and inside["runs"][:].tolist() == [5, 0, 5]
    assert inside["text"][:].tolist() == [b"a", b"", b"c"]
    assert inside["list/offsets"][:].tolist() == [0, 1, 1, 3] and inside["list/values"][:].tolist() == [1, 3, 4]
    assert inside["wave"][:].tolist() == [[1, 1], [0, 0], [1, 1]] == inside["wave_valid"][:].tolist()
    assert inside["inner/n"][:].tolist() == [1, 0, 3]
    for name in ("number", "runs", "text", "list", "inner", "inner/n"):
        assert inside[f"{name}_valid"][:].tolist() == [1, 0, 1]


@pytest.mark.parametrize("rows", [10, 1000])
@pytest.mark.parametrize("items", ["floats", "texts", "encoded", "bool8", "structs of runs"])
def test_lists_that_lie_in_any_order(tmp_path: Path, items: str, rows: int) -> None:
    """Back to front, every third one missing; however many, and whether Arrow can pick such items or not."""
    numbers = np.arange(2 * rows)
    runs = pa.RunEndEncodedArray.from_arrays(pa.array(numbers + 1), pa.array(numbers))
    values = {
        "floats": pa.array(numbers * 0.5),
        "texts": pa.array([f"{number:04}" for number in numbers], pa.string_view()),
        "encoded": pa.array([f"{number:04}" for number in numbers]).dictionary_encode(),
        "bool8": pa.ExtensionArray.from_storage(pa.bool8(), pa.array(numbers % 3, pa.int8())),
        "structs of runs": pa.StructArray.from_arrays([runs], ["n"]),
    }[items]
    starts = pa.array(numbers[::-2] - 1, pa.int32())
    missing = pa.array(np.arange(rows) % 3 == 0)
    array = pa.ListViewArray.from_arrays(starts, pa.array([2] * rows, pa.int32()), values, mask=missing)
    group = stored(tmp_path, pa.field("x", array.type), array)
    picked = numbers.reshape(-1, 2)[::-1][np.arange(rows) % 3 != 0].reshape(-1)
    expected = {
        "floats": picked * 0.5, "bool8": (picked % 3 != 0), "structs of runs": picked,
    }.get(items, [f"{number:04}".encode() for number in picked])  # fmt: skip
    found = group["x/values/n"] if items == "structs of runs" else group["x/values"]
    assert np.array_equal(found[:], expected)
    assert np.diff(group["x/offsets"][:]).tolist() == [0 if row % 3 == 0 else 2 for row in range(rows)]


def test_dictionaries_that_change_from_batch_to_batch(tmp_path: Path) -> None:
    pieces = [pa.array(words).dictionary_encode() for words in (["on", "off"], ["off", None, "on"])]
    group = stored(tmp_path, pa.field("x", pieces[0].type), *pieces)
    assert group["x"][:].tolist() == [b"on", b"off", b"off", b"", b"on"]


def test_text_says_its_character_set(tmp_path: Path) -> None:
    for words, encoding in ((["on", "off"], "ascii"), (["ö"], "utf-8")):
        group = stored(tmp_path, pa.field("x", pa.string()), pa.array(words))
        assert h5py.check_string_dtype(group["x"].dtype).encoding == encoding
        assert group["x"].asstr()[:].tolist() == words


def test_long_text_among_many_short_ones_is_not_padded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence must not make a million words as wide as itself."""
    field, words = pa.field("x", pa.string()), pa.array([*["word"] * 999, "z" * 1000])
    for limit, kind in ((1_000_000, h5py.Dataset), (999_999, h5py.Group)):
        monkeypatch.setattr(parts, "MAX_PADDED_BYTES", limit)
        found = stored(tmp_path, field, words, compression="gzip")["x"]
        assert isinstance(found, kind)
    assert found["offsets"][-2:].tolist() == [3996, 4996]
    assert found["values"][-1001:].tobytes() == b"d" + b"z" * 1000


def test_padding_goes_step_by_step(tmp_path: Path) -> None:
    words = [chr(97 + row % 26) * (row % 3000) for row in range(4000)]
    group = stored(tmp_path, pa.field("x", pa.string()), pa.array(words), compression="gzip")
    assert group["x"].dtype.itemsize * 4000 > 2 * (4 << 20)
    assert group["x"].asstr()[:].tolist() == words


@given(st.sampled_from([pa.decimal32, pa.decimal64, pa.decimal128, pa.decimal256]), st.data())
def test_decimals_are_the_float_next_to_them(make: Any, data: st.DataObject) -> None:
    precision = data.draw(st.integers(1, 9 if make is pa.decimal32 else 15))
    scale = data.draw(st.integers(-22, 22))
    numbers = data.draw(st.lists(st.integers(1 - 10**precision, 10**precision - 1), min_size=1))
    type_ = make(precision, scale)
    width = type_.bit_width // 8
    content = b"".join(number.to_bytes(width, "little", signed=True) for number in numbers)
    array = pa.Array.from_buffers(type_, len(numbers), [None, pa.py_buffer(content)])
    [column] = columns_of(pa.schema([("x", type_)]))
    [part] = column.parts([array])
    values = [Decimal(number).scaleb(-scale) for number in numbers]
    assert part.values.tolist() == [float(value) for value in values]
    if 0 <= scale <= precision:
        for value, stored_value in zip(values, part.values.tolist(), strict=True):
            assert round(Decimal(stored_value), scale) == value


def test_masks_do_not_take_a_fields_name() -> None:
    fields = [("x", pa.int8()), ("x_valid", pa.int8())]
    for prefix, nodes in (
        ("", [column.node for column in columns_of(pa.schema(fields))]),
        ("p/", columns_of(pa.schema([("p", pa.struct(fields))]))[0].node.fields),
        ("p/values/", columns_of(pa.schema([("p", pa.list_(pa.struct(fields)))]))[0].node.item.fields),
    ):
        assert [node.mask for node in nodes] == [f"{prefix}x_valid_", f"{prefix}x_valid_valid"]


@pytest.mark.parametrize("type_", REFUSED, ids=str)
def test_types_that_cannot_be_stored_are_refused_by_name(type_: Any) -> None:
    with pytest.raises(UnsupportedTypeError, match=r"^column 'the column': Arrow type .* cannot be stored; ") as caught:
        columns_of(pa.schema([("timestamp", pa.int64()), ("the column", type_)]))
    assert "\n" not in str(caught.value)


def test_nested_fields_are_named_by_their_path() -> None:
    bad = pa.field("bad", pa.null())
    for type_, path in (
        (pa.struct([("good", pa.int8()), bad]), "x.bad"),
        (pa.list_(pa.struct([pa.field("p", pa.struct([bad]))])), "x.item.p.bad"),
        (pa.list_(pa.list_(pa.field("entry", pa.null()))), "x.item.entry"),
        (pa.map_(pa.string(), pa.struct([bad])), "x.item.value.bad"),
        (pa.list_(pa.null(), 3), "x.item"),
        (pa.dictionary(pa.int8(), pa.null()), "x"),
    ):
        with pytest.raises(UnsupportedTypeError, match=f"^column '{path}': "):
            columns_of(pa.schema([("x", type_)]))
    with pytest.raises(SchemaError, match=r"^column 'x\.a/b' cannot be"):
        columns_of(pa.schema([("x", pa.struct([("a/b", pa.int8())]))]))


@pytest.mark.parametrize("names", [["a/b"], ["."], [""], ["a\0"], ["a", "a"], ["n" * 1001], []])
def test_impossible_names_are_refused(names: list[str]) -> None:
    with pytest.raises(SchemaError):
        columns_of(pa.schema([(name, pa.int8()) for name in names]))
    with pytest.raises(SchemaError):
        columns_of(pa.schema([("p", pa.struct([(name, pa.int8()) for name in names]))]))


def test_texts_that_no_attribute_holds_are_refused() -> None:
    long = "x" * 60_001
    for field in (
        pa.field("x", pa.int8(), metadata={"description": long}),
        pa.field("x", pa.struct([pa.field("y", pa.int8(), metadata={"unit": long})])),
        pa.field("x", pa.timestamp("ns", long)),
        pa.field("x", pa.opaque(pa.int8(), long, "vendor")),
    ):
        with pytest.raises(SchemaError, match="60000 fit"):
            columns_of(pa.schema([field]))


def test_more_axes_than_a_dataset_has_are_refused(tmp_path: Path) -> None:
    deepest = pa.fixed_shape_tensor(pa.int8(), [1] * 31)
    storage = pa.array([[7]], pa.list_(pa.int8(), 1))
    group = stored(tmp_path, pa.field("x", deepest), pa.ExtensionArray.from_storage(deepest, storage))
    assert group["x"].ndim == 32 and group["x"][:].item() == 7
    for type_ in (pa.list_(deepest, 1), pa.fixed_shape_tensor(pa.binary(2), [1] * 31)):
        with pytest.raises(UnsupportedTypeError, match="31 axes"):
            columns_of(pa.schema([("x", type_)]))


def test_only_numbers_that_mean_something_are_plottable() -> None:
    plottable = [
        pa.float64(), pa.bool_(), pa.date32(), pa.decimal128(5, 2), pa.list_(pa.int8(), 3),
        pa.dictionary(pa.int8(), pa.float64()),
    ]  # fmt: skip
    others = [pa.string(), pa.binary(4), pa.uuid(), pa.list_(pa.float64()), pa.struct([("a", pa.float64())])]
    for type_ in [*plottable, *others]:
        [column] = columns_of(pa.schema([("x", type_)]))
        assert column.plottable is (type_ in plottable), type_


def test_text_of_growing_datasets_has_no_width() -> None:
    for type_ in (pa.string(), pa.list_(pa.string(), 2), pa.struct([("s", pa.large_string())])):
        [column] = columns_of(pa.schema([("x", type_)]), growing=True)
        dtypes = {
            part.values.dtype
            for part in column.parts([pa.array([], type_)])
            if part.kind != "group"
        }  # fmt: skip
        assert dtypes == {np.dtype(np.uint8), np.dtype(np.int64)}
