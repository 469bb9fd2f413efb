"""The layout in which datasets grow: one for each channel, over all batches, and a table of the batches beside them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.attributes import get_integer, set_attributes
from mulletdaq.hdf5.batch_table import BatchRow, BatchTable, count_batches
from mulletdaq.hdf5.chunk_sizes import ChunkSizes
from mulletdaq.hdf5.columns import Column
from mulletdaq.hdf5.growing import GrowingColumns
from mulletdaq.hdf5.layouts import Batch, Layout, plot_of, stream_group
from mulletdaq.hdf5.ledger import DATA, Run, schema_of
from mulletdaq.hdf5.naming import RAW_DATA, RAW_LENGTHS, is_batch_name, is_run_name, run_name
from mulletdaq.hdf5.nexus import plot_by_default
from mulletdaq.hdf5.options import Filters
from mulletdaq.hdf5.storage import make_ordered_group

with needs_extra("hdf5"):
    import numpy as np

CHUNK_ROWS = "chunk_rows"
"""Attribute of a run: after how many rows all its datasets begin a chunk."""


class ContinuousLayout(Layout):
    """One stream's growing datasets: ``measurements/voltage``, or ``measurements/<stream>/voltage``.

    Parameters
    ----------
    file
        The open ``h5py.File``.
    run
        The run to write; its attributes say where, as :func:`begin_data` left them.
    columns
        Of the stream, made for growing datasets; None for opaque bytes.
    filters
        How datasets that are not there yet are to be stored.
    table
        The file's table of batches.
    runs
        All runs of the file.
    backlog_rows
        How many rows of the first batch do not tell the rate: they were in the ring when the writer came.
    """

    def __init__(
        self,
        file: Any,
        run: Run,
        columns: list[Column] | None,
        filters: Filters,
        table: BatchTable,
        runs: Iterable[Run],
        backlog_rows: int = 0,
    ) -> None:
        self._file, self._columns, self._filters, self._table = file, columns, filters, table
        self._backlog_rows = backlog_rows
        self._run = run
        self._group = file[run.data]
        runs = list(runs)
        self._rows = sum(one.rows for one in runs if one.data == run.data)
        self._batches = count_batches(file, {one.number for one in runs if one.stream == run.stream})
        self._grown: GrowingColumns | None = None
        self._step = get_integer(run.group, CHUNK_ROWS)

    @property
    def batches(self) -> int:
        """See :class:`~mulletdaq.hdf5.layouts.Layout`."""
        return self._batches

    def rows_now(self, available: int) -> int:
        """As far as chunks end, if one ends; an open one is filled by a commit of its own.

        Otherwise a commit that fills the chunks of 16 channels and begins others changes up to 74 pages, instead of 48.
        What is held back comes with the next commit; only where the rate falls, part of it with the one after that.
        """
        if not self._step:
            return available
        if filled := self._rows % self._step:
            return min(available, self._step - filled)
        return available // self._step * self._step or available

    def append(self, run: Run, batch: Batch) -> None:
        """See :class:`~mulletdaq.hdf5.layouts.Layout`."""
        parts = batch.parts(self._columns)
        if self._grown is None:
            self._grown = self._open(parts, batch.rows)
        self._grown.append(parts, batch.rows)
        timestamp_ns, monotonic_ns = batch.times()
        self._table.append(
            BatchRow(
                run=run.number,
                first_row=batch.first_row,
                rows=batch.rows,
                lost_rows=batch.lost_rows,
                ring_tail=batch.ring_position,
                timestamp_ns=timestamp_ns,
                monotonic_ns=monotonic_ns,
                dataset_row=self._rows,
            )
        )
        self._rows += batch.rows
        self._batches += 1

    def _open(self, parts: list[Any], rows: int) -> GrowingColumns:
        per_commit = rows - self._backlog_rows if rows > self._backlog_rows else rows
        sizes = ChunkSizes.chosen(parts, per_commit, self._filters.chunk_rows)
        if self._step:
            sizes = sizes.with_step(self._step)
        else:
            self._step = sizes.step
            set_attributes(self._run.group, **{CHUNK_ROWS: np.int64(self._step)})
        nodes = [column.node for column in self._columns or ()]
        entries = {RAW_LENGTHS: len(self._group[RAW_DATA])} if self._columns is None and RAW_DATA in self._group else {}
        grown = GrowingColumns(self._group, self._rows, nodes, sizes, self._filters, entries)
        if not self._rows:
            grown.make(parts)
            plot_by_default(self._file, self._run.stream, self._group, plot_of(self._columns))
        return grown


def begin_data(
    file: Any, stream: str, number: int, schema: Any, columns: list[Column] | None, runs: Iterable[Run]
) -> dict[str, Any]:
    """Find a new run's datasets, or the place for them; the attributes to give it.

    Runs of one stream with the same schema share their datasets, one after the other. The first lie in the stream's own
    group, those of another schema in a group of the run within.

    Raises
    ------
    SchemaError
        If a column of an unnamed stream has the place of this one's group.
    """
    runs = list(runs)
    for run in reversed(runs):
        if run.stream == stream and run.data and _same_schema(run, schema):
            step = get_integer(run.group, CHUNK_ROWS)
            return {DATA: run.data} | ({CHUNK_ROWS: np.int64(step)} if step else {})
    group = stream_group(file, stream)
    names = [RAW_DATA] if columns is None else [column.name for column in columns]
    taken = len(group) or group.name in (run.data for run in runs)
    if taken or any(is_batch_name(name) or is_run_name(name) for name in names):
        group = make_ordered_group(group, run_name(number))
    return {DATA: group.name}


def _same_schema(run: Run, schema: Any) -> bool:
    stored = schema_of(run)
    return stored is schema if schema is None or stored is None else bool(stored.equals(schema, check_metadata=True))


__all__ = ["CHUNK_ROWS", "ContinuousLayout", "begin_data"]
