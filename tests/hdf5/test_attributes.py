"""Attributes and metadata, read back with bare h5py."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mulletdaq.errors import UnsupportedTypeError
from mulletdaq.hdf5.attributes import get_text, set_attribute
from mulletdaq.hdf5.metadata import plain_metadata, read_metadata, write_metadata


def test_text_is_stored_fixed_length_ascii_or_utf8(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, text, charset in (("a", "V", "ascii"), ("b", "µV", "utf-8"), ("c", "", "ascii")):
            set_attribute(file, name, text)
            info = h5py.check_string_dtype(file.attrs.get_id(name).dtype)
            assert info == (charset, max(len(text.encode()), 1))
            assert get_text(file, name) == text


def test_attribute_changes_type_and_length(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for value in (np.int64(1), np.int64(2), "short", "much longer", np.float32(1.5)):
            set_attribute(file, "x", value)
        assert file.attrs["x"] == 1.5
        assert file.attrs["x"].dtype == np.float32


def test_metadata_round_trip(tmp_path: Path) -> None:
    when = datetime.datetime(2025, 5, 1, 12, tzinfo=datetime.UTC)
    given = {
        "operator": "Zoë",
        "run": 7,
        "gain": 2.5,
        "cooled": True,
        "nothing": None,
        "when": when,
        "file": Path("/data/x"),
        "key": b"\x00\x01",
        "tags": ["a", "µ"],
        "grid": [["a", "b"], ["c", "dd"]],
        "days": [datetime.date(2025, 5, 1), "later"],
        "stamps": np.array(["2025-05-01T12:00:00.123456789"], "datetime64[ns]"),
        "none of them": [],
        "most": 2**64 - 1,
        "half": np.float16(0.5),
        "one": np.array(["x"]),
        "matrix": np.arange(6, dtype=np.uint16).reshape(2, 3),
        "laser": {"power": {"value": np.float32(3.0), "unit": "mW"}},
        "empty": {},
    }
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_metadata(file, plain_metadata(given))
        found = read_metadata(file)
    assert found["operator"] == "Zoë"
    assert found["run"] == 7 and found["run"].dtype == np.int64
    assert found["gain"] == 2.5
    assert found["cooled"] == 1 and found["cooled"].dtype == np.uint8
    assert found["nothing"] is None
    assert found["when"] == when.isoformat()
    assert found["file"] == "/data/x"
    assert found["key"].tolist() == [0, 1]
    assert found["tags"] == ["a", "µ"]
    assert found["one"] == ["x"]
    assert found["grid"] == [["a", "b"], ["c", "dd"]]
    assert found["days"] == ["2025-05-01", "later"]
    assert found["stamps"] == ["2025-05-01T12:00:00.123456789"]
    assert found["none of them"].shape == (0,)
    assert found["most"] == 2**64 - 1
    assert found["half"] == 0.5 and found["half"].dtype == np.float16
    assert found["matrix"].tolist() == [[0, 1, 2], [3, 4, 5]] and found["matrix"].dtype == np.uint16
    assert found["laser"]["power"] == {"value": np.float32(3.0), "unit": "mW"}
    assert found["empty"] == {}


def test_large_metadata_becomes_a_dataset(tmp_path: Path) -> None:
    text, table = "x" * 70_000, np.arange(20_000.0)
    with h5py.File(tmp_path / "a.h5", "w", libver=("earliest", "v108")) as file:
        write_metadata(file, plain_metadata({"log": text, "table": table, "small": "y" * 50_000}))
    with h5py.File(tmp_path / "a.h5") as file:
        assert isinstance(file["metadata/log"], h5py.Dataset)
        assert read_metadata(file)["log"] == text
        assert np.array_equal(file["metadata/table"][:], table)
        assert set(file["metadata"].attrs) == {"small"}


@pytest.mark.parametrize(
    ("metadata", "named"),
    [
        ({"a": {"b": object()}}, "a.b"),
        ({"a": 1 + 2j}, "a"),
        ({"a": [1, "x", None]}, "a"),
        ({"a": [[1], [2, 3]]}, "a"),
        ({"a/b": 1}, "a/b"),
        ({"": 1}, "''"),
        ({3: 1}, "3"),
        ({"big": 2**70}, "big.*more than 64 bits"),
        ({"mixed": [1, "x"]}, "mixed"),
        ({"mixed": ["x", None]}, "mixed"),
        ({"tables": [{"a": 1}]}, "tables"),
        ({"ragged": [["x"], ["y", "z"]]}, "ragged"),
        ({"a": {"cut": "off\0"}}, "a.cut"),
        ({"cut": np.array(["a\0b"])}, "cut"),
        ({"torn": "\ud800"}, "torn"),
        ({"\ud800": 1}, "ud800"),
        ({"k" * 2000: 1}, "over 1000 bytes"),
        ({"long": np.longdouble(1)}, "long"),
        ({"many": dict.fromkeys(map(str, range(10_001)), 1)}, "many"),
        ({"set": {1, 2}}, "set"),
    ],
)
def test_what_cannot_be_stored_is_named(metadata: dict[str, object], named: str) -> None:
    with pytest.raises(UnsupportedTypeError, match=named):
        plain_metadata(metadata)


@pytest.mark.parametrize("metadata", ["operator", ["operator"], 7])
def test_metadata_that_has_no_names(metadata: Any) -> None:
    with pytest.raises(UnsupportedTypeError, match=f"metadata is a {type(metadata).__name__}; give a dict"):
        plain_metadata(metadata)
