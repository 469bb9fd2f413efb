"""The batches of a file as they were committed, to be stored again in any layout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mulletdaq.hdf5.attributes import get_integer
from mulletdaq.hdf5.batch_table import BATCH_COLUMNS, BatchRow, batch_rows
from mulletdaq.hdf5.catalog import is_opaque, runs_of, schema_of, streams_of
from mulletdaq.hdf5.columns import Column, columns_of
from mulletdaq.hdf5.layouts import Batch
from mulletdaq.hdf5.ledger import Run
from mulletdaq.hdf5.naming import RAW_DATA
from mulletdaq.hdf5.parts import Entries, Part
from mulletdaq.hdf5.row_reading import ColumnReader, MessageReader
from mulletdaq.hdf5.stored import read_entries
from mulletdaq.schema import TIMESTAMP

_MOST_BYTES = 32 << 20
"""A larger batch comes in several, so that memory stays bounded."""


@dataclass
class StoredBatch(Batch):
    """A batch of which the columns were read from a file."""

    entries: tuple[Entries, ...] = ()

    def parts(self, columns: list[Column] | None) -> list[Part]:
        """See :class:`~mulletdaq.hdf5.layouts.Batch`."""
        if columns is None:
            return super().parts(None)
        return [part for column, own in zip(columns, self.entries, strict=True) for part in column.node.parts_of(own)]


def stored_batches(file: Any) -> Iterator[tuple[int, StoredBatch]]:
    """All batches of a file with the numbers of their runs: of each stream in order, a large one in pieces.

    To be used while the file is open, each step inside ``undisturbed()``.
    """
    readers = {number: _Reader(run) for number, run in runs_of(file).items()}
    for place, group in _places(file):
        reader = readers[place.run]
        row, end = place.dataset_row, place.dataset_row + place.rows
        while row < end:
            until = reader.stop(group, row, end)
            batch = reader.read(group, row, until)
            batch.first_row = place.first_row + row - place.dataset_row
            batch.lost_rows = place.lost_rows if row == place.dataset_row else 0
            batch.ring_position, batch.written_ns = place.ring_tail, (place.timestamp_ns, place.monotonic_ns)
            yield place.run, batch
            row = until


def _places(file: Any) -> Iterator[tuple[BatchRow, Any]]:
    """What is noted of each batch, and the group of its columns."""
    for stream in streams_of(file):
        for batch in stream:
            noted = {name: get_integer(batch, name) for name in BATCH_COLUMNS}
            yield BatchRow(**noted), batch  # it begins with dataset_row 0, which is what a missing attribute reads as
    paths = {number: run.data for number, run in runs_of(file).items()}
    groups = {path: file[path] for path in paths.values() if path}
    for row in batch_rows(file):
        yield row, groups[paths[row.run]]


class _Reader:
    """Reads the batches of one run."""

    def __init__(self, run: Run) -> None:
        self._messages = MessageReader() if is_opaque(run) else None
        self._columns = [] if self._messages else columns_of(schema_of(run))
        self._sizes = ColumnReader(self._columns)

    def stop(self, group: Any, start: int, end: int) -> int:
        """Where to stop so that a bounded number of bytes is read."""
        reader, row, room = self._messages or self._sizes, start, _MOST_BYTES
        while row < end and room > 0:
            row, size = reader.stop_within(group, row, end, room)
            room -= max(1, size)
        return row

    def read(self, group: Any, start: int, stop: int) -> StoredBatch:
        """Rows ``start`` to ``stop`` of the group's datasets."""
        batch = StoredBatch(0, 0, rows=stop - start)
        if self._messages is None:
            batch.entries = tuple(read_entries(group, column.node, start, stop) for column in self._columns)
        else:
            values, _ = self._messages.read(group, start, stop)
            batch.pieces = list(zip(values[TIMESTAMP].tolist(), values[RAW_DATA].tolist(), strict=True))
        return batch


__all__ = ["StoredBatch", "stored_batches"]
