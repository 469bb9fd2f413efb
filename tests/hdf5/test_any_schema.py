"""Whatever can be stored reads back as it was, however its rows were cut into arrays, batches and flushes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.hdf5.columns import columns_of
from mulletdaq.hdf5.describe import describe
from mulletdaq.hdf5.verify import verify
from mulletdaq.ring import RingBuffer
from tests.examples import examples

from .arrays import as_read, build, field_names, ring_types, types, values_of
from .reading import read_column, same


@st.composite
def columns(draw: st.DrawFn) -> tuple[Any, list[Any], list[Any]]:
    """A type, rows of it, and arrays that hold them: slices of longer ones."""
    type_ = draw(types)
    rows = draw(st.lists(values_of(type_), max_size=12))
    cuts = sorted(draw(st.lists(st.integers(0, len(rows)), max_size=3)))
    pieces = []
    for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        around = rows[-2:]
        piece = build(type_, [*around, *rows[start:end], *around])
        pieces.append(piece.slice(len(around), end - start))
    return type_, rows, pieces


def stored_classes(file: Any) -> set[int]:
    """HDF5's type classes of all datasets in a file."""
    classes: set[int] = set()

    def look(name: str, member: Any) -> None:
        if isinstance(member, h5py.Dataset):
            type_ = member.id.get_type()
            classes.add(type_.get_class())
            assert not isinstance(type_, h5py.h5t.TypeStringID) or not type_.is_variable_str()

    file.visititems(look)
    return classes


@settings(max_examples=examples(250), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(columns())
def test_any_column_reads_back(drawn: tuple[Any, list[Any], list[Any]]) -> None:
    type_, rows, pieces = drawn
    event(str(type_).partition("<")[0].partition("[")[0])
    [column] = columns_of(pa.schema([("a", type_)]))
    with h5py.File("memory.h5", "w", driver="core", backing_store=False, libver=("earliest", "v108")) as file:
        column.write(file, pieces, "gzip")
        found = read_column(file, "a", type_, len(rows))
        assert same(found, [as_read(type_, row) for row in rows]), (found, rows)
        assert stored_classes(file) <= {h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING}


class GrowingFile:
    """Datasets that every batch is appended to, by what ``Part`` says and no more."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._entries = {"": 0}
        self._masks: dict[str, str] = {}

    def append(self, parts: list[Any], rows: int) -> None:
        """Append what a batch's rows became."""
        added = {"": rows} | {part.path: int(part.values[-1]) for part in parts if part.kind == "offsets"}
        for part in parts:
            target = self._file.require_group(part.path) if part.kind == "group" else self._append(part)
            for name, text in part.attributes.items():
                target.attrs[name] = np.bytes_(text.encode())
        present = {part.path for part in parts}
        for path in self._masks.keys() - present:
            within = self._masks[path]
            self._file[path].resize(self._entries[within] + added[within], axis=0)
        for path, count in added.items():
            self._entries[path] = self._entries.get(path, 0) + count

    def _append(self, part: Any) -> Any:
        values, shape = part.values, part.values.shape[1:]
        if part.path in self._file:
            dataset = self._file[part.path]
            assert (dataset.dtype, dataset.shape[1:]) == (values.dtype, shape)
            if part.kind == "offsets":
                values = values[1:] + dataset[-1]
        else:
            before = self._entries.get(part.within, 0) if part.kind == "mask" else 0
            dataset = self._file.create_dataset(
                part.path, (before, *shape), values.dtype, maxshape=(None, *shape), fillvalue=1
            )
        if part.kind == "mask":
            self._masks[part.path] = part.within
        count = len(dataset)
        dataset.resize(count + len(values), axis=0)
        dataset[count:] = values
        return dataset


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(columns())
def test_any_column_can_grow(drawn: tuple[Any, list[Any], list[Any]]) -> None:
    type_, rows, pieces = drawn
    [column] = columns_of(pa.schema([("a", type_)]), growing=True)
    with h5py.File("memory.h5", "w", driver="core", backing_store=False, libver=("earliest", "v108")) as file:
        growing = GrowingFile(file)
        for piece in pieces:
            growing.append(list(column.parts([piece])), len(piece))
        found = read_column(file, "a", type_, len(rows))
        assert same(found, [as_read(type_, row) for row in rows]), (found, rows)
        assert stored_classes(file) <= {h5py.h5t.INTEGER, h5py.h5t.FLOAT}


@st.composite
def recordings(draw: st.DrawFn) -> tuple[Any, list[list[dict[str, Any]]]]:
    """A schema, and rows of it in batches."""
    names = draw(field_names)
    chosen = {name: draw(ring_types) for name in names}
    row = st.fixed_dictionaries({name: values_of(type_) for name, type_ in chosen.items()})
    batches = draw(st.lists(st.lists(row, min_size=1, max_size=8), min_size=1, max_size=5))
    return chosen, batches


def stored_column(file: Any, name: str, type_: Any) -> list[Any]:
    """All rows of a column of a file with one run, in either layout."""
    run = file["runs/run_000001"].attrs
    if "data" in run:
        return read_column(file[run["data"]], name, type_, run["rows"])
    batches = file["measurements"].values()
    return [value for batch in batches for value in read_column(batch, name, type_, batch.attrs["rows"])]


@pytest.mark.parametrize("layout", ["batches", "continuous"])
@settings(
    max_examples=examples(20),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(recordings(), st.sampled_from(["gzip", "lzf", None]), st.sampled_from([None, 1, 3]), st.data())
def test_any_schema_through_ring_and_writer(
    layout: str,
    drawn: tuple[Any, list[list[dict[str, Any]]]],
    compression: str | None,
    chunk_rows: int | None,
    data: st.DataObject,
) -> None:
    chosen, batches = drawn
    schema = pa.schema([("timestamp", pa.int64()), *chosen.items()])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.h5"
        with RingBuffer.create(f"{folder}/a.ring", capacity_bytes=1 << 18) as ring:
            writer = HDF5Writer(
                path,
                ring,
                layout=layout,
                compression=compression,
                chunk_rows=chunk_rows,
                fsync="never",
                run_in="thread",
            )
            for rows in batches:
                arrays = [build(type_, [row[name] for row in rows]) for name, type_ in chosen.items()]
                ring.write_arrow_batch(pa.record_batch([pa.array(range(len(rows))), *arrays], schema=schema))
                if data.draw(st.booleans(), label="flush"):
                    writer.flush()
            writer.stop()
        report = verify(path)
        assert report.ok, report.problems
        listed = {channel.name.partition("/")[0] for channel in describe(path).streams[0].channels}
        assert listed == {"timestamp", *chosen}
        with h5py.File(path) as file:
            for name, type_ in chosen.items():
                found = stored_column(file, name, type_)
                expected = [as_read(type_, row[name]) for rows in batches for row in rows]
                assert same(found, expected), (name, type_, found, expected)
