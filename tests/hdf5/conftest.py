"""Rings, batches, and readers that know nothing but h5py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pyarrow as pa
import pytest

from mulletdaq.ring import RingBuffer
from tests import waiting

eventually = partial(waiting.eventually, poll_s=0.01)

COMPRESSIONS = ("gzip", "lzf", "zstd", None)

SCHEMA = pa.schema(
    [
        pa.field("timestamp", pa.int64(), nullable=False, metadata={"unit": "ns"}),
        pa.field("voltage", pa.float64(), nullable=False, metadata={"unit": "V"}),
    ]
)


def compression_of(dataset: Any) -> str | None:
    """The filter behind shuffle; h5py itself has no name for Zstandard's."""
    plist = dataset.id.get_create_plist()
    zstd = [plist.get_filter(index)[0] for index in range(plist.get_nfilters())] == [2, hdf5plugin.Zstd.filter_id]
    return "zstd" if zstd else dataset.compression


def rows(first: int, count: int) -> Any:
    """A batch whose values tell their row."""
    numbers = np.arange(first, first + count)
    return pa.record_batch([pa.array(numbers), pa.array(numbers * 0.5)], schema=SCHEMA)


def batches_of(path: Path, stream: str = "") -> list[dict[str, Any]]:
    """Every batch of a stream in order: datasets and attributes by name, whatever the layout."""
    with h5py.File(path, "r") as file:
        if "batches" in file:
            return list(_grown_batches(file, stream))
        group = file["measurements"][stream] if stream else file["measurements"]
        names = sorted(name for name in group if name.startswith("batch_"))
        assert names == [f"batch_{number:06d}" for number in range(1, len(names) + 1)]
        return [{name: data[:] for name, data in group[one].items()} | dict(group[one].attrs) for one in names]


def _grown_batches(file: Any, stream: str) -> Iterator[dict[str, Any]]:
    names = [name.decode() for name in file["batches"].attrs["columns"]]
    for numbers in file["batches"][:]:
        row = dict(zip(names, numbers.tolist(), strict=True))
        run = file[f"runs/run_{row['run']:06d}"]
        if run.attrs["stream"].decode() == stream:
            group, start = file[run.attrs["data"]], row.pop("dataset_row")
            columns = {name: data for name, data in group.items() if isinstance(data, h5py.Dataset)}
            yield {name: data[start : start + row["rows"]] for name, data in columns.items()} | dict(group.attrs) | row


def stored_rows(path: Path, stream: str = "") -> list[int]:
    """The row numbers in a file made of :func:`rows`, in the file's order."""
    batches = batches_of(path, stream)
    for batch in batches:
        assert np.array_equal(batch["voltage"], batch["timestamp"] * 0.5)
        assert len(batch["timestamp"]) == batch["rows"]
    return [int(row) for batch in batches for row in batch["timestamp"]]


@pytest.fixture
def make_ring(tmp_path: Path) -> Iterator[Callable[..., RingBuffer]]:
    """Make rings that are closed after the test."""
    rings: list[RingBuffer] = []

    def make(name: str = "a", capacity_bytes: int = 1 << 20, **options: Any) -> RingBuffer:
        rings.append(RingBuffer.create(str(tmp_path / f"{name}.ring"), capacity_bytes=capacity_bytes, **options))
        return rings[-1]

    yield make
    for ring in rings:
        ring.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the output goes."""
    return tmp_path / "out.h5"
