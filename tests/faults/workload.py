"""What is written, in both layouts: every value follows from its place, so that nothing can change unnoticed.

Commit number k writes the same whenever it is tried, so a file's content follows from the number of its commits.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mulletdaq.hdf5.appender import ChunkedAppender
from mulletdaq.hdf5.filters import make_growing
from mulletdaq.hdf5.options import Filters

ROWS = 50
LIBVER = ("earliest", "v108")
_CHUNK = 64  # not a divisor of ROWS: most commits rewrite a chunk that the one before began
_BALLAST_EVERY = 3
_BALLAST_WORDS = 3000  # more than the rest of a commit, so that its removal makes the file shorter
_LOSS_EVERY = 2
_LOSS = np.dtype([("first_row", "<i8"), ("rows", "<i8"), ("cause", "S8")])


class Damage(Exception):
    """A file that says something else than any number of commits would; the message names where."""


class Layout(enum.Enum):
    """How streams lie in a file."""

    BATCH = "a group of datasets for each commit"
    CONTINUOUS = "growing compressed datasets"
    BOTH = "two streams, one in each layout"


def write(file: Any, layout: Layout, index: int) -> None:
    """Write what commit number `index`, counted from 0, adds, changes and removes."""
    if index == 0:
        _make_skeleton(file, layout)
    if index % _BALLAST_EVERY == 2:
        del file["ballast"]  # first, while it is the last in the file
    if layout is not Layout.CONTINUOUS:
        _write_batch(file["measurements"], index)
    if layout is not Layout.BATCH:
        _write_rows(file["continuous"], index)
    if index % _LOSS_EVERY == 1:
        losses = file["losses"]
        losses.resize((len(losses) + 1,))
        losses[-1] = _losses(index + 1)[-1]
    if index % _BALLAST_EVERY == 1:
        file["ballast"] = _ballast(index)
    run = file["runs/000001"]
    run.attrs.modify("cursor", np.uint64(_cursor(index + 1)))
    run.attrs.modify("rows", np.int64((index + 1) * ROWS))


def state(file: Any, layout: Layout) -> int:
    """How many commits the file has.

    Raises
    ------
    Damage
        If anything is missing, changed, doubled, too much, or cannot be read.
    """
    try:
        return _state(file, layout)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, MemoryError) as error:
        raise Damage(f"unreadable: {' '.join(str(error).split())}") from error


def _make_skeleton(file: Any, layout: Layout) -> None:
    run = file.create_group("runs").create_group("000001")
    run.attrs["cursor"] = np.uint64(_cursor(0))
    run.attrs["rows"] = np.int64(0)
    file.create_dataset("losses", shape=(0,), maxshape=(None,), chunks=(4,), dtype=_LOSS)
    if layout is not Layout.CONTINUOUS:
        tracked = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
        tracked.set_link_creation_order(h5py.h5p.CRT_ORDER_TRACKED | h5py.h5p.CRT_ORDER_INDEXED)
        h5py.h5g.create(file.id, b"measurements", None, tracked)
    if layout is not Layout.BATCH:
        group = file.create_group("continuous")
        settings = {"shape": (0,), "maxshape": (None,), "chunks": (_CHUNK,)}
        group.create_dataset("timestamp", dtype="<i8", compression="gzip", shuffle=True, **settings)
        group.create_dataset("voltage", dtype="<f8", compression="gzip", **settings)
        group.create_dataset("plain", dtype="<i4", **settings)
        make_growing(group, "grown", np.dtype("<i8"), (), Filters("gzip", _CHUNK))
        group.create_dataset("batches", shape=(0, 2), maxshape=(None, 2), chunks=(8, 2), dtype="<i8")


def _write_batch(measurements: Any, index: int) -> None:
    group = measurements.create_group(_batch_name(index))
    for name, value in _batch_attributes(index).items():
        group.attrs[name] = value
    for name, values in _columns(index).items():
        dataset = group.create_dataset(name, data=values)
        dataset.attrs["units"] = f"unit of {name}"


def _write_rows(group: Any, index: int) -> None:
    for name, values in _columns(index).items():
        dataset = group[name]
        dataset.resize((index + 1) * ROWS, axis=0)
        dataset[index * ROWS :] = values
    # Chunks past HDF5's cache: the open one without filters, changed where it lies; one that is full packed elsewhere.
    ChunkedAppender(group["grown"], bare=True).append(_grown(index))
    group["plain"].resize((index + 1) * ROWS, axis=0)
    group["plain"][index * ROWS :] = _plain(index)
    group["batches"].resize(index + 1, axis=0)
    group["batches"][index] = (index * ROWS, ROWS)


def _state(file: Any, layout: Layout) -> int:
    names = set(file)
    if not names:
        return 0
    run = file["runs/000001"]
    count = _count_of(int(run.attrs["cursor"]))
    _require(int(run.attrs["rows"]) == count * ROWS, "rows of the run")
    _require(set(file["runs"]) == {"000001"}, "runs")
    _require(np.array_equal(file["losses"][:], _losses(count)), "losses")
    expected = {"runs", "losses"}
    if layout is not Layout.CONTINUOUS:
        expected.add("measurements")
        _check_batches(file["measurements"], count)
    if layout is not Layout.BATCH:
        expected.add("continuous")
        _check_rows(file["continuous"], count)
    if count and (count - 1) % _BALLAST_EVERY == 1:
        expected.add("ballast")
        _require(np.array_equal(file["ballast"][:], _ballast(count - 1)), "ballast")
    _require(names == expected, f"objects in the file: {sorted(names)}")
    return count


def _check_batches(measurements: Any, count: int) -> None:
    _require(list(measurements) == [_batch_name(index) for index in range(count)], "names of the batches")
    for index in range(count):
        group = measurements[_batch_name(index)]
        attributes = {name: int(value) for name, value in group.attrs.items()}
        _require(attributes == _batch_attributes(index), f"attributes of batch {index}")
        columns = _columns(index)
        _require(set(group) == set(columns), f"datasets of batch {index}")
        for name, values in columns.items():
            dataset = group[name]
            _require(_same(dataset, values), f"{name} of batch {index}")
            _require(dataset.attrs["units"] == f"unit of {name}", f"units of {name} of batch {index}")


def _check_rows(group: Any, count: int) -> None:
    _require(set(group) == {"timestamp", "voltage", "plain", "grown", "batches"}, "datasets of the continuous stream")
    for name in ("timestamp", "voltage"):
        _require(_same(group[name], _joined(lambda index, name=name: _columns(index)[name], count)), name)
    _require(_same(group["plain"], _joined(_plain, count)), "plain")
    _require(_same(group["grown"], _joined(_grown, count)), "grown")
    _require([tuple(row) for row in group["batches"][:]] == [(index * ROWS, ROWS) for index in range(count)], "batches")


def _joined(values: Callable[[int], NDArray[Any]], count: int) -> NDArray[Any]:
    return np.concatenate([values(index) for index in range(count)])


def _same(dataset: Any, values: NDArray[Any]) -> bool:
    return bool(dataset.dtype == values.dtype and np.array_equal(dataset[:], values))


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise Damage(f"wrong: {what}")


def _columns(index: int) -> dict[str, NDArray[Any]]:
    rows = np.arange(index * ROWS, (index + 1) * ROWS)
    return {"timestamp": (rows * 1_000_003).astype("<i8"), "voltage": (rows * 0.5 - index).astype("<f8")}


def _plain(index: int) -> NDArray[Any]:
    return (np.arange(index * ROWS, (index + 1) * ROWS) * 7 + 1).astype("<i4")


def _grown(index: int) -> NDArray[Any]:
    return (np.arange(index * ROWS, (index + 1) * ROWS) * 3 - 5).astype("<i8")


def _batch_name(index: int) -> str:
    return f"batch_{index + 1:06d}"


def _batch_attributes(index: int) -> dict[str, int]:
    return {"ring_tail": (index + 1) * ROWS * 16, "first_row": index * ROWS, "rows": ROWS, "lost_rows": index % 5}


def _losses(count: int) -> NDArray[Any]:
    """The whole table after `count` commits."""
    indexes = range(1, count, _LOSS_EVERY)
    return np.array([(index * ROWS, index, b"lapped") for index in indexes], dtype=_LOSS)


def _ballast(index: int) -> NDArray[Any]:
    return np.arange(_BALLAST_WORDS, dtype="<i8") * (index + 3)


def _cursor(count: int) -> int:
    return count * 64 * 1009 + 7


def _count_of(cursor: int) -> int:
    count, rest = divmod(cursor - 7, 64 * 1009)
    _require(rest == 0 and 0 <= count < 1 << 20, f"cursor {cursor}")
    return count
