"""Samples into a file, one by one: a row append alone, and the whole way until a fresh reader has them.

Who writes files in this process flushes each second, as our writer commits; with ``fsync`` it also calls fsync then.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import mulletdaq as mullet
from rivals.link import Push

FLUSH_NS = 1_000_000_000
SAMPLE = np.dtype([("timestamp", "i8"), ("value", "f8")])
NO_COMMIT = "a kill loses up to 1 s, and a flush cut short may leave the file unreadable; readers wait for the close"
NO_SYNC = f"no fsync: a power cut may take the file; {NO_COMMIT}"


@dataclass(frozen=True)
class Way:
    """From samples to a file: ``write`` gets a folder and a count, and returns when it began and the reader."""

    name: str
    keeps: str
    write: Callable[[Path, int], tuple[float, Callable[[], int]]]


@contextmanager
def pytables_row(folder: Path) -> Iterator[Push]:
    """PyTables row append into a table; nobody else sees it before a flush."""
    with pytables_table(folder, 0) as (_, table):
        row, time_ns = table.row, time.time_ns

        def push(value: float) -> None:
            row["timestamp"] = time_ns()
            row["value"] = value
            row.append()

        yield push


@contextmanager
def h5py_row(folder: Path) -> Iterator[Push]:
    """h5py resize and assign, a sample at a time; nobody else sees it before a flush."""
    time_ns = time.time_ns
    with h5py_dataset(folder, None) as (_, samples):
        count = 0

        def push(value: float) -> None:
            nonlocal count
            samples.resize((count + 1,))
            samples[count] = (time_ns(), value)
            count += 1

        yield push


@contextmanager
def pytables_table(folder: Path, level: int = 4) -> Iterator[tuple[Any, Any]]:
    import tables

    with tables.open_file(folder / "tables.h5", "w") as file:
        filters = tables.Filters(complevel=level, complib="zlib", shuffle=True)
        yield file, file.create_table("/", "samples", np.zeros(0, SAMPLE), filters=filters)


@contextmanager
def h5py_dataset(folder: Path, compression: str | None = "gzip") -> Iterator[tuple[Any, Any]]:
    with h5py.File(folder / "h5py.h5", "w") as file:
        yield file, file.create_dataset("samples", (0,), SAMPLE, maxshape=(None,), chunks=(4096,),
                                        compression=compression, shuffle=compression is not None)  # fmt: skip


def ours(fsync: str) -> Way:
    """record() with what it does by default."""

    def write(folder: Path, count: int) -> tuple[float, Callable[[], int]]:
        path = folder / "ours.h5"
        with mullet.record(path, {"value": "V"}, fsync=fsync) as recording:
            push = recording.write_measurement
            began = time.perf_counter()
            for _ in range(count):
                push(1.5)
        return began, lambda: rows_of_ours(path)

    power = "a power cut up to 1 s" if fsync == "commit" else "a power cut what the system had not written"
    return Way("ours", f"a kill loses nothing, {power}; readable while it grows", write)


def rows_of_ours(path: Path) -> int:
    with h5py.File(path) as file:
        return sum(int(np.count_nonzero(batch["value"][:] == 1.5)) for batch in file["measurements"].values())


def rows_of(path: Path, name: str, field: str | None = None) -> int:
    """Rows that a fresh reader finds, all of them read."""
    with h5py.File(path) as file:
        values = file[name][:] if field is None else file[name][:][field]
        return int(np.count_nonzero(values == 1.5))


def pytables_rows(fsync: bool) -> Way:
    """A row at a time, flushed each second."""
    import tables  # noqa: F401

    def write(folder: Path, count: int) -> tuple[float, Callable[[], int]]:
        with pytables_table(folder) as (file, table):
            row, time_ns = table.row, time.time_ns
            began, due = time.perf_counter(), time_ns() + FLUSH_NS
            for _ in range(count):
                row["timestamp"] = now = time_ns()
                row["value"] = 1.5
                row.append()
                if now > due:
                    due += FLUSH_NS
                    table.flush()
                    if fsync:
                        os.fsync(file.fileno())
            table.flush()
            if fsync:
                os.fsync(file.fileno())
        return began, lambda: rows_of(folder / "tables.h5", "samples", "value")

    return Way("PyTables row append", NO_COMMIT if fsync else NO_SYNC, write)


def h5py_rows(fsync: bool) -> Way:
    """Resize and assign for each sample, flushed each second."""

    def write(folder: Path, count: int) -> tuple[float, Callable[[], int]]:
        time_ns = time.time_ns
        with h5py_dataset(folder) as (file, samples):
            began, due = time.perf_counter(), time_ns() + FLUSH_NS
            for number in range(count):
                now = time_ns()
                samples.resize((number + 1,))
                samples[number] = (now, 1.5)
                if now > due:
                    due += FLUSH_NS
                    flush(file, fsync)
            flush(file, fsync)
        return began, lambda: rows_of(folder / "h5py.h5", "samples", "value")

    return Way("h5py append", NO_COMMIT if fsync else NO_SYNC, write)


def h5py_buffered(fsync: bool) -> Way:
    """What one writes when that is too slow: a list, appended as one array each second."""

    def write(folder: Path, count: int) -> tuple[float, Callable[[], int]]:
        time_ns = time.time_ns
        waiting: list[tuple[int, float]] = []
        with h5py_dataset(folder) as (file, samples):

            def append() -> None:
                before = len(samples)
                samples.resize((before + len(waiting),))
                samples[before:] = np.array(waiting, SAMPLE)
                waiting.clear()
                flush(file, fsync)

            began, due, keep = time.perf_counter(), time_ns() + FLUSH_NS, waiting.append
            for _ in range(count):
                now = time_ns()
                keep((now, 1.5))
                if now > due:
                    due += FLUSH_NS
                    append()
            append()
        return began, lambda: rows_of(folder / "h5py.h5", "samples", "value")

    note = "the loop stands while it appends"
    return Way("h5py, a list appended each second", f"{note}; {NO_COMMIT if fsync else NO_SYNC}", write)


def flush(file: h5py.File, fsync: bool) -> None:
    file.flush()
    if fsync:
        os.fsync(file.id.get_vfd_handle())


def qcodes_dataset() -> Way:
    """Its DataSaver: rows into SQLite, committed each second; then its export to netCDF, which is HDF5."""
    with contextlib.redirect_stdout(io.StringIO()):
        from qcodes.dataset import Measurement, initialise_or_create_database_at, load_or_create_experiment

    def write(folder: Path, count: int) -> tuple[float, Callable[[], int]]:
        with contextlib.redirect_stdout(io.StringIO()):
            initialise_or_create_database_at(folder / "qcodes.db")
            measurement = Measurement(load_or_create_experiment("rival", "none"))
            measurement.register_custom_parameter("timestamp", unit="ns")
            measurement.register_custom_parameter("value", unit="V", setpoints=("timestamp",))
            measurement.write_period = FLUSH_NS / 1e9
            time_ns = time.time_ns
            with measurement.run() as saver:
                add = saver.add_result
                began = time.perf_counter()
                for _ in range(count):
                    add(("timestamp", time_ns()), ("value", 1.5))
            dataset = saver.dataset
            dataset.export("netcdf", path=str(folder))
            dataset.conn.close()
        (path,) = folder.glob("*.nc")
        return began, lambda: rows_of(path, "value")

    keeps = "SQLite, a commit with fsync each second: a kill or a power cut loses up to 1 s; HDF5 only by its export"
    return Way("QCoDeS dataset, exported to netCDF", keeps, write)
