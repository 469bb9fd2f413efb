"""No file has anything that HDF5 1.8 does not know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest

from mulletdaq.hdf5 import HDF5Writer

from .arrays import build
from .old_features import messages, newer_features, objects
from .types_table import CASES

LAYOUTS = ("batches", "continuous")
METADATA = {
    "none": None,
    "text": "µ",
    "log": "x" * 70_000,
    "table": np.arange(20_000.0),
    "deep": {"er": {"tags": ["a"]}},
}


def everything() -> Any:
    """A batch with a column of each type that can be stored."""
    values = {f"{index} {type_}": (type_, case.values) for index, case in enumerate(CASES) for type_ in case.types}
    arrays = {name.replace("/", "|"): build(type_, (given * 100)[:100]) for name, (type_, given) in values.items()}
    return pa.record_batch({"timestamp": pa.array(range(100)), **arrays})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_recording_of_all_types(path: Path, make_ring: Callable[..., Any], layout: str) -> None:
    for name in ("a", "b"):  # a second ring is a second run in the same file
        ring = make_ring(name, capacity_bytes=1 << 26)
        writer = HDF5Writer(path, ring, layout=layout, metadata=METADATA, run_in="thread", fsync="never")
        for count, note in ((20, "a note of µ"), (5, "one that is longer than the others " * 10)):
            for _ in range(count):
                ring.write_arrow_batch(everything())
            writer.annotate(note, 1, {"": 5})
            writer.flush()
        writer.stop()
    assert newer_features(path) == []
    with h5py.File(path) as file:
        assert len(list(objects(path))) > len(file["measurements"]) + 10


@pytest.mark.parametrize("layout", LAYOUTS)
def test_streams_bytes_losses_and_many_batches(path: Path, make_ring: Callable[..., Any], layout: str) -> None:
    small, raw = make_ring("small", capacity_bytes=1 << 16), make_ring("raw")
    writer = HDF5Writer(path, {"small": small, "raw": raw}, layout=layout, run_in="thread", fsync="never")
    for number in range(60):
        small.write_arrow_batch(pa.record_batch({"timestamp": range(3000), "v": [number * 0.5] * 3000}))
        small.write_arrow_batch(pa.record_batch({"timestamp": range(3000), "v": [number * 0.5] * 3000}))
        raw.write(b"bytes" * number)
        writer.flush()
    writer.stop()
    assert newer_features(path) == []
    with h5py.File(path) as file:
        assert len(file["losses/rows"]) > 0


@pytest.mark.parametrize(("compression", "number"), [("lzf", 32000), ("zstd", 32015)])
def test_filters_that_not_everyone_has_are_seen(
    path: Path, make_ring: Callable[..., Any], compression: str, number: int
) -> None:
    ring = make_ring()
    ring.write_arrow_batch(pa.record_batch({"timestamp": range(5000), "v": [0.5] * 5000}))
    HDF5Writer(path, ring, compression=compression).stop()
    assert {line.rpartition(": ")[2] for line in newer_features(path)} == {f"filter {number}"}
    assert newer_features(path, {1, 2, number}) == []


def test_what_is_newer_is_seen(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "latest.h5", "w", libver="latest") as file:
        file.create_dataset("grown", shape=(10,), maxshape=(None,), chunks=(5,), dtype="f8")
        file.create_group("group").attrs["complex"] = 1 + 2j
        for number in range(20):
            file["group"].attrs[f"attribute {number}"] = number
    found = newer_features(tmp_path / "latest.h5")
    assert "superblock 3" in found
    assert "/grown: message 0x8 of version 4" in found


def test_a_virtual_dataset_is_seen(tmp_path: Path) -> None:
    layout = h5py.VirtualLayout((10,), "f8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (10,))
    with h5py.File(tmp_path / "virtual.h5", "w", libver=("earliest", "v110")) as file:
        file.create_virtual_dataset("all", layout)
    assert "/all: message 0x8 of version 4" in newer_features(tmp_path / "virtual.h5")


def test_what_1_8_has_is_not_called_new(tmp_path: Path) -> None:
    """Headers of version 2, dense links and attributes, tracked order: all of 1.8, all read here."""
    with h5py.File(tmp_path / "v108.h5", "w", libver=("v108", "v108"), track_order=True) as file:
        group = file.create_group("group", track_order=True)
        for number in range(50):
            group.attrs[f"attribute {number}"] = "text"
            group.create_dataset(f"data {number}", data=np.arange(5000), compression="gzip", shuffle=True)
    assert newer_features(tmp_path / "v108.h5") == []
    content = (tmp_path / "v108.h5").read_bytes()
    kinds = {message for _, address in objects(tmp_path / "v108.h5") for message, *_ in messages(content, address)}
    assert {-1, 1, 2, 3, 5, 8, 0x0B, 0x15} <= kinds
