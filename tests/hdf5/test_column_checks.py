"""Structs, lists and text in a file: verify names each kind of damage, describe and the example list what is there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest

from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.hdf5.describe import describe
from mulletdaq.hdf5.verify import verify
from mulletdaq.ring import RingBuffer

from .arrays import build
from .types_table import CASES, Case

EXAMPLE = Path(__file__).parents[2] / "docs/examples/verify_hdf5_output.py"

COLUMNS = {
    "count": pa.array([1, None, 3], pa.int16()),
    "state": pa.array(["on", None, "off"]),
    "raw": pa.array([b"\1", b"", b"\2\3"]),
    "peaks": pa.array([[1.5, 2.5], None, []], pa.list_(pa.float64())),
    "names": pa.array([["a"], [], ["b", None]]),
    "stage": pa.array([{"x": 1.5, "ok": True}, None, {"x": 2.5, "ok": False}]),
}


@pytest.fixture
def file_of_all(path: Path, make_ring: Callable[..., RingBuffer]) -> Path:
    """One batch of three rows."""
    ring = make_ring()
    ring.write_arrow_batch(pa.record_batch({"timestamp": pa.array([0, 1, 2]), **COLUMNS}))
    HDF5Writer(path, ring).stop()
    assert verify(path).problems == ()
    return path


def drop(batch: Any, name: str) -> None:
    del batch[name]


def replace(batch: Any, name: str, values: Any) -> None:
    attributes = dict(batch[name].attrs)
    del batch[name]
    batch[name] = values
    batch[name].attrs.update(attributes)


DAMAGES: dict[str, Callable[[Any], Any]] = {
    "peaks: column offsets is missing": lambda batch: drop(batch, "peaks/offsets"),
    "peaks: column values is missing": lambda batch: drop(batch, "peaks/values"),
    "peaks/more: the run's schema has no such column": lambda batch: batch.__setitem__("peaks/more", [1]),
    "peaks/offsets: shape is (3,), expected (4,)": lambda batch: replace(batch, "peaks/offsets", [0, 2, 2]),
    "peaks/offsets: type is int32": lambda batch: replace(batch, "peaks/offsets", np.zeros(4, np.int32)),
    "peaks/offsets: offsets must begin with 0": lambda batch: replace(batch, "peaks/offsets", [1, 2, 2, 2]),
    "peaks/offsets: offsets must begin with 0 and never": lambda batch: replace(batch, "peaks/offsets", [0, 2, 1, 2]),
    "peaks/values: shape is (2,), expected (1,)": lambda batch: replace(batch, "peaks/offsets", [0, 1, 1, 1]),
    "peaks/values: type is float32": lambda batch: replace(batch, "peaks/values", np.zeros(2, np.float32)),
    "peaks: is a dataset, the run's schema says a list": lambda batch: replace(batch, "peaks", [1, 2, 3]),
    "peaks: attribute valid is 'peaks_valid', but": lambda batch: drop(batch, "peaks_valid"),
    "names/values_valid: shape is (2,), expected": lambda batch: replace(batch, "names/values_valid", np.ones(2, "u1")),
    "raw/values: type is int8": lambda batch: replace(batch, "raw/values", np.zeros(3, np.int8)),
    "raw: is a dataset": lambda batch: replace(batch, "raw", np.array([b"a", b"b", b"c"])),
    "state: type is int64, the run's schema says text": lambda batch: replace(batch, "state", [1, 2, 3]),
    "state: type is object": lambda batch: replace(batch, "state", ["a", "b", "c"]),
    "state: attribute valid is '', but beside it": lambda batch: drop(batch["state"].attrs, "valid"),
    "state_valid: type is float64": lambda batch: replace(batch, "state_valid", np.ones(3)),
    "stage: is a dataset, the run's schema says a struct": lambda batch: replace(batch, "stage", [1, 2, 3]),
    "stage: column x is missing": lambda batch: drop(batch, "stage/x"),
    "stage/y: the run's schema has no such column": lambda batch: batch.__setitem__("stage/y", [1, 2, 3]),
    "stage/x: shape is (2,), expected (3,)": lambda batch: replace(batch, "stage/x", [1.0, 2.0]),
    "stage/ok: type is bool": lambda batch: replace(batch, "stage/ok", [True, False, False]),
    "count: is a group, the run's schema says int16": lambda batch: (
        drop(batch, "count"), batch.create_group("count"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("problem", DAMAGES)
def test_damage_is_named(file_of_all: Path, problem: str) -> None:
    with h5py.File(file_of_all, "r+") as file:
        DAMAGES[problem](file["measurements/batch_000001"])
    report = verify(file_of_all)
    assert any(f"/measurements/batch_000001/{problem}" in line for line in report.problems), report.problems
    assert all("\n" not in line for line in report.problems)


def test_text_stored_as_bytes_is_good_too(path: Path, make_ring: Callable[..., RingBuffer]) -> None:
    ring = make_ring()
    writer = HDF5Writer(path, ring)
    for text in ("plain", "with a \0 in it"):
        ring.write_arrow_batch(pa.record_batch({"timestamp": [0], "note": [text]}))
        writer.flush()
    assert verify(path).problems == ()
    with h5py.File(path, "r+") as file:
        first, second = (file[f"measurements/batch_00000{number}"] for number in (1, 2))
        assert isinstance(first["note"], h5py.Dataset) and isinstance(second["note"], h5py.Group)
        assert second["note/values"].attrs["encoding"] == b"UTF-8"
        replace(second, "note/values", np.zeros(3, np.uint8))
    [problem] = verify(path).problems
    assert "note/values: shape is (3,), expected (14,)" in problem


def test_describe_lists_what_is_in_structs_and_lists(file_of_all: Path) -> None:
    [stream] = describe(file_of_all).streams
    assert [(channel.name, channel.dtype) for channel in stream.channels] == [
        ("count", "int16"),
        ("names/values", "S1"),
        ("peaks/values", "float64"),
        ("raw/values", "uint8"),
        ("stage/ok", "uint8"),
        ("stage/x", "float64"),
        ("state", "S3"),
        ("timestamp", "int64"),
    ]


def test_describe_says_no_time_where_timestamps_are_none_of_ours(
    path: Path, make_ring: Callable[..., RingBuffer]
) -> None:
    """A batch written as it is may have anything under that name."""
    odd = {
        "text": pa.array(["noon"]),
        "struct": pa.array([{"s": 1}]),
        "pair": pa.array([[1, 2]], pa.list_(pa.int64(), 2)),
        "micro": pa.array([1], pa.timestamp("us")),
        "nano": pa.array([5], pa.timestamp("ns")),
    }
    rings = {name: make_ring(name) for name in odd}
    for name, ring in rings.items():
        ring.write_arrow_batch(pa.record_batch({"timestamp": odd[name], "x": [1.5]}))
    HDF5Writer(path, rings).stop()
    assert verify(path).problems == ()
    assert {stream.name: stream.first_ns for stream in describe(path).streams} == {
        "text": None, "struct": None, "pair": None, "micro": None, "nano": 5,
    }  # fmt: skip
    with h5py.File(path) as file:
        axes = {name: "axes" in file["measurements"][name]["batch_000001"].attrs for name in odd}
    assert axes == {"text": False, "struct": False, "pair": False, "micro": True, "nano": True}


def test_the_first_column_of_numbers_is_what_viewers_plot(file_of_all: Path, tmp_path: Path, make_ring: Any) -> None:
    with h5py.File(file_of_all) as file:
        attributes = dict(file["measurements/batch_000001"].attrs)
    assert (attributes["signal"], attributes["axes"], attributes["NX_class"]) == (b"count", b"timestamp", b"NXdata")
    cases = {
        "wave": ({"note": ["x"], "wave": pa.array([[1, 2]], pa.list_(pa.int8(), 2))}, b"wave", [b"timestamp", b"."]),
        "nothing": ({"note": ["x"], "peaks": [[1.5]], "id": pa.array([b"ab"], pa.binary(2))}, None, None),
    }
    for name, (columns, signal, axes) in cases.items():
        ring = make_ring(name)
        ring.write_arrow_batch(pa.record_batch({"timestamp": [0], **columns}))
        path = tmp_path / f"{name}.h5"
        HDF5Writer(path, ring).stop()
        with h5py.File(path) as file:
            attributes = dict(file["measurements/batch_000001"].attrs)
        assert attributes.get("signal") == signal
        found = attributes.get("axes")
        assert (None if found is None else found.tolist()) == axes
        assert ("NX_class" in attributes) is (signal is not None)


def test_the_example_reads_all_of_it(file_of_all: Path, tmp_path: Path, make_ring: Any) -> None:
    ring = make_ring("words")
    ring.write_arrow_batch(pa.record_batch({"word": ["höher"]}))
    words = tmp_path / "words.h5"
    HDF5Writer(words, ring).stop()
    for path in (file_of_all, words):
        done = subprocess.run([sys.executable, EXAMPLE, path], capture_output=True, text=True, check=True)
        lines = verify(path).lines
        assert done.stdout.splitlines()[: len(lines)] == list(lines)
    assert "    word: shape (1,), |S6, first values höher" in lines
    assert "# -> " not in done.stdout  # no numbers to join


H5DUMP_TYPES = {
    "f2": "16-bit little-endian floating-point", "f4": "H5T_IEEE_F32LE", "f8": "H5T_IEEE_F64LE",
    "i1": "H5T_STD_I8LE", "i2": "H5T_STD_I16LE", "i4": "H5T_STD_I32LE", "i8": "H5T_STD_I64LE",
    "u1": "H5T_STD_U8LE", "u2": "H5T_STD_U16LE", "u4": "H5T_STD_U32LE", "u8": "H5T_STD_U64LE",
}  # fmt: skip


def test_h5dump_reads_every_type(path: Path, tmp_path: Path, make_ring: Any) -> None:
    """Through ring and writer: an older library than ours sees integers, floats and fixed strings, nothing else."""
    h5dump = shutil.which("h5dump")
    if h5dump is None:
        pytest.skip("h5dump is not installed (Debian: hdf5-tools)")
    stored = [(case, type_) for case in CASES for type_ in case.types]
    rings = {}
    for number, (case, type_) in enumerate(stored):
        rings[f"s{number}"] = make_ring(f"s{number}", 1 << 16)
        rings[f"s{number}"].write_arrow_batch(pa.record_batch({"x": build(type_, case.values)}))
    HDF5Writer(path, rings).stop()
    assert verify(path).problems == ()
    described = dump(h5dump, "-H", "-g", "/measurements", path)
    for word in ("H5T_VLEN", "H5T_ENUM", "H5T_COMPOUND", "H5T_VARIABLE", "H5T_OPAQUE", "H5T_REFERENCE"):
        assert word not in described
    with h5py.File(path) as file:
        for dtype in sorted({file[name].dtype for name in _datasets(file["measurements"])}, key=str):
            assert H5DUMP_TYPES.get(dtype.str[1:], f"STRSIZE {dtype.itemsize};") in described
    assert "H5T_CSET_UTF8" in described and "STRPAD H5T_STR_NULLPAD" in described
    number = stored.index(next(pair for pair in stored if pair[1] == pa.large_string()))
    dumped = dump(h5dump, "-y", "-d", f"/measurements/s{number}/batch_000001/x", path)
    assert '"on\\000\\000\\000"' in dumped and '"\\37777777703\\37777777674ber"' in dumped, dumped


def dump(*command: Any) -> str:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout


def _datasets(group: Any) -> list[str]:
    names: list[str] = []
    group.visititems(lambda name, member: names.append(member.name) if isinstance(member, h5py.Dataset) else None)
    return names


def test_a_case_whose_types_differ_is_an_error() -> None:
    from .types_table import _lines

    with pytest.raises(ValueError, match="different ways"):
        _lines(Case([pa.int8(), pa.string()], []))
