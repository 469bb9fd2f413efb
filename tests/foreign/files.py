"""A file of each layout with all kinds of columns, and what is in it, as it went into the ring."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.ring import RingBuffer

LAYOUTS = ("batches", "continuous")
ROWS, FIRST = 3000, 1800
"""Rows in all, and in the first of two batches; enough for datasets in chunks with gzip."""

START_NS = 1_700_000_000_123_456_789
STATES = ["locked", "drifting", "off"]
"""ASCII: Octave loads nothing of a file in which a dataset is marked as UTF-8."""
METADATA = {
    "operator": "Zoë",
    "gain": 2.5,
    "shots": 7,
    "cooled": True,
    "remarks": None,
    "tags": ["a", "µ"],
    "laser": {"power": 3.5},
    "dark": np.arange(20_000.0),
    "protocol": "higher\n" * 20_000,
}
NUMBERS = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)] + ["float32", "float64"]


@dataclass(frozen=True)
class Recorded:
    """A file, and its datasets by path below ``measurements``: numbers or texts as they were written."""

    path: Path
    layout: str
    datasets: dict[str, Any]


def values() -> dict[str, Any]:
    """What goes in, by column."""
    row = np.arange(ROWS)
    columns: dict[str, Any] = {"timestamp": START_NS + row * 1_000_003}
    for name in NUMBERS:
        dtype = np.dtype(name)
        if dtype.kind == "f":
            columns[name] = (np.sin(row) * 1e3).astype(dtype)
        else:
            info = np.iinfo(dtype)
            columns[name] = np.resize(np.array([info.min, 0, 1, info.max], dtype), ROWS)
    columns["on"] = row % 3 == 0
    columns["image"] = np.arange(ROWS * 6, dtype=np.int16).reshape(ROWS, 2, 3)
    columns["state"] = [STATES[number % 3] for number in row]
    columns["gap"] = [None if number % 5 == 0 else int(number) for number in row]
    columns["peaks"] = [[float(number)] * (number % 3) for number in row]
    columns["stage"] = [{"x": float(number), "n": int(number)} for number in row]
    return columns


def record(folder: Path, layout: str) -> Recorded:
    """Write the file, in two commits."""
    path = folder / f"{layout}.h5"
    columns = values()
    with RingBuffer.create(str(folder / f"{layout}.ring"), capacity_bytes=1 << 22) as ring:
        writer = HDF5Writer(path, ring, layout=layout, run_in="thread", metadata=METADATA, fsync="never")
        writer.start()
        writer.annotate("shutter opened", START_NS, {"": 0})
        for span in (slice(0, FIRST), slice(FIRST, ROWS)):
            ring.write_arrow_batch(pa.record_batch({name: _arrow(column[span]) for name, column in columns.items()}))
            writer.flush()
        writer.stop()
        ring.unlink()
    return Recorded(path, layout, dict(_expected(columns, layout)))


def _arrow(values: Any) -> Any:
    if isinstance(values, np.ndarray) and values.ndim > 1:
        return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(values))
    return pa.array(values)


def _expected(columns: dict[str, Any], layout: str) -> Any:
    """The reference's words on types, put into NumPy."""
    if layout == "continuous":
        yield from _datasets(columns, slice(0, ROWS), grown=True)
        return
    for number, span in enumerate((slice(0, FIRST), slice(FIRST, ROWS)), 1):
        for path, found in _datasets(columns, span, grown=False):
            yield f"batch_{number:06d}/{path}", found


def _datasets(columns: dict[str, Any], span: slice, *, grown: bool) -> Any:
    for name in ("timestamp", *NUMBERS, "on", "image"):
        found = np.asarray(columns[name][span])
        yield name, found.astype(np.uint8) if found.dtype == np.bool_ else found
    texts = columns["state"][span]
    if grown:
        encoded = [text.encode() for text in texts]
        yield "state/values", np.frombuffer(b"".join(encoded), np.uint8)
        yield "state/offsets", np.cumsum([0, *map(len, encoded)])
    else:
        yield "state", texts
    gap = columns["gap"][span]
    yield "gap", np.array([value or 0 for value in gap])
    yield "gap_valid", np.array([value is not None for value in gap], np.uint8)
    peaks = columns["peaks"][span]
    yield "peaks/values", np.concatenate(peaks)
    yield "peaks/offsets", np.cumsum([0, *map(len, peaks)])
    yield "stage/x", np.array([value["x"] for value in columns["stage"][span]])
    yield "stage/n", np.array([value["n"] for value in columns["stage"][span]])
