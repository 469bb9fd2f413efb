"""Channels, and the Arrow schemas made of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mulletdaq.errors import SchemaError, UnsupportedTypeError
from mulletdaq.schema import Channel, arrow_schema, channels_of, field_description, field_unit, normalize_channels

# ---- channels


def test_defaults() -> None:
    """One float64 a sample."""
    assert Channel("x") == Channel("x", "", "float64", (), "")
    with pytest.raises(dataclasses.FrozenInstanceError):
        Channel("x").name = "y"  # type: ignore[misc]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "nul\0", "timestamp", None, 5, b"x"])
def test_impossible_names(name: Any) -> None:
    """No HDF5 dataset could have them, or the stream has it already."""
    with pytest.raises(SchemaError, match="name"):
        Channel(name)


@pytest.mark.parametrize("name", ["x", "volt age", "Spannung ü", "...", ".x", "Timestamp", "µV²"])
def test_possible_names(name: str) -> None:
    """Anything else."""
    assert Channel(name).name == name


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("float32", "float32"), (np.float32, "float32"), (np.dtype("float32"), "float32"), (float, "float64"),
        (int, "int64"), (bool, "bool"), ("bool", "bool"), (np.dtype("u2"), "uint16"), ("float16", "float16"),
        ("int", "int64"), ("float", "float64"),
    ],
)  # fmt: skip
def test_dtypes(given: Any, name: str) -> None:
    """By name, by NumPy type or dtype, or by Python type."""
    assert Channel("x", dtype=given).dtype == name


@pytest.mark.parametrize("dtype", ["complex64", "str", str, "datetime64[ns]", object, None, "", "f8", np.dtype("V4")])
def test_unsupported_dtypes(dtype: Any) -> None:
    """Named together with the channel and what there is."""
    with pytest.raises(UnsupportedTypeError, match=r"'x'.*float64"):
        Channel("x", dtype=dtype)


@pytest.mark.parametrize("shape", [(0,), (-1,), (3, 0), (1,) * 9])
def test_impossible_shapes(shape: tuple[int, ...]) -> None:
    """Extents of at least one, not too many."""
    with pytest.raises(SchemaError, match="'x'"):
        Channel("x", shape=shape)


@pytest.mark.parametrize("shape", [3, "ab", (2.5,), None])
def test_shapes_that_are_none(shape: Any) -> None:
    """An error, never a shape that nobody meant."""
    with pytest.raises((SchemaError, TypeError, ValueError)):
        Channel("x", shape=shape)


def test_shape_from_numpy() -> None:
    """An array's shape, its numbers made plain."""
    channel = Channel("x", shape=tuple(np.array([2, 3])))
    assert channel.shape == (2, 3)
    assert all(type(extent) is int for extent in channel.shape)
    assert Channel("x", shape=[2, 3]).shape == (2, 3)  # type: ignore[arg-type]


# ---- lists of channels


def test_normalized_channels() -> None:
    """A dict of units or channels, or a list; the order is kept."""
    a, b = Channel("a", "V"), Channel("b", "A")
    assert normalize_channels({"a": "V", "b": b}) == [a, b]
    assert normalize_channels([b, a]) == [b, a]
    assert normalize_channels(iter([a])) == [a]


@pytest.mark.parametrize(
    "channels",
    [
        [], {}, [Channel("a"), Channel("a")], {"a": Channel("b")}, {"a": 5}, {"a": None}, ["a"], [("a", "V")], "a",
        {5: "V"},
    ],
)  # fmt: skip
def test_impossible_channels(channels: Any) -> None:
    """None, twice, under another name, or no channel at all."""
    with pytest.raises(SchemaError):
        normalize_channels(channels)


# ---- schemas


def test_schema_of_channels() -> None:
    """timestamp first, units and descriptions in the metadata, tensors for arrays."""
    schema = arrow_schema(
        [Channel("a", "V", description="an input"), Channel("w", "A", "int16", (2, 3)), Channel("flag", dtype="bool")]
    )
    assert schema.names == ["timestamp", "a", "w", "flag"]
    assert schema.types == [pa.int64(), pa.float64(), pa.fixed_shape_tensor(pa.int16(), (2, 3)), pa.bool_()]
    assert not any(field.nullable for field in schema)
    assert [field_unit(field) for field in schema] == ["ns", "V", "A", ""]
    assert [field_description(field) for field in schema] == ["", "an input", "", ""]


@pytest.mark.parametrize("dtype", [
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool",
])  # fmt: skip
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3, 4)])
def test_channels_come_back(dtype: str, shape: tuple[int, ...]) -> None:
    """From a schema that was made of them."""
    channel = Channel("x", "m/s²", dtype, shape, "how fast it goes")
    schema = arrow_schema([channel])
    assert channels_of(schema) == [channel]
    again = pa.ipc.read_schema(pa.py_buffer(schema.serialize()))
    assert channels_of(again) == [channel]


def test_timestamp_is_added_to_an_arrow_schema() -> None:
    """In front, without touching the rest."""
    given = pa.schema([pa.field("x", pa.string(), metadata={"unit": "V"})], metadata={"who": "me"})
    schema = arrow_schema(given)
    assert schema.names == ["timestamp", "x"]
    assert schema.field(1).equals(given.field(0), check_metadata=True)
    assert schema.metadata == {b"who": b"me"}
    assert arrow_schema(schema).equals(schema, check_metadata=True)


@pytest.mark.parametrize(
    "fields",
    [
        [("x", pa.int64()), ("timestamp", pa.int64())],
        [("timestamp", pa.int64()), ("timestamp", pa.int64())],
        [("timestamp", pa.timestamp("ns"))],
        [("timestamp", pa.float64())],
        [("timestamp", pa.uint64())],
    ],
)
def test_impossible_timestamps(fields: list[tuple[str, pa.DataType]]) -> None:
    """First, once, int64."""
    with pytest.raises(SchemaError, match="timestamp"):
        arrow_schema(pa.schema(fields))


def test_units_that_are_no_text() -> None:
    """Read as well as they can be."""
    field = pa.field("x", pa.int64(), metadata={b"unit": b"\xb5V"})
    assert field_unit(field) == "\ufffdV"
