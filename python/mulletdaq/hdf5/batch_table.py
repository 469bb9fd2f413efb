"""The table of batches of the continuous layout: one dataset of int64 for all streams, a row for each batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from typing import Any

from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.appender import ChunkedAppender
from mulletdaq.hdf5.attributes import set_attributes
from mulletdaq.hdf5.filters import make_growing
from mulletdaq.hdf5.naming import BATCH_TABLE
from mulletdaq.hdf5.options import Filters

with needs_extra("hdf5"):
    import numpy as np

_CHUNK_ROWS = 128
_BLOCK_ROWS = 1 << 16


@dataclass(frozen=True)
class BatchRow:
    """One row of the table: rows that one commit brought and that follow one another without a gap.

    Attributes
    ----------
    run
        The run they belong to.
    first_row, rows
        Absolute index of the first of them in the run, and how many.
    lost_rows
        Rows lost just before.
    ring_tail
        Where in the ring the row after them starts.
    timestamp_ns, monotonic_ns
        When they were written.
    dataset_row
        Index of the first of them in the run's datasets.
    """

    run: int
    first_row: int
    rows: int
    lost_rows: int
    ring_tail: int
    timestamp_ns: int
    monotonic_ns: int
    dataset_row: int

    def numbers(self) -> tuple[int, ...]:
        """The row as it stands in the table."""
        return astuple(self)


BATCH_COLUMNS = tuple(field.name for field in fields(BatchRow))


def batch_rows(file: Any) -> Iterator[BatchRow]:
    """The rows of a file's table, in order; none where there is no table."""
    for block in _blocks(file):
        for numbers in block.tolist():
            yield BatchRow(*numbers)


def count_batches(file: Any, runs: set[int]) -> int:
    """How many batches of some runs there are."""
    wanted = np.array(sorted(runs), np.int64)
    return sum(int(np.isin(block[:, 0], wanted).sum()) for block in _blocks(file))


class BatchTable:
    """The table of an open file, made with its first row.

    Parameters
    ----------
    file
        The ``h5py.File``.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._appender: ChunkedAppender | None = None

    def append(self, row: BatchRow) -> None:
        """Enter a batch."""
        self.extend(np.array([row.numbers()], np.int64))

    def extend(self, numbers: Any) -> None:
        """Enter batches as the rows they become: int64, shape (batches, columns)."""
        if self._appender is None:
            self._appender = ChunkedAppender(self._file[BATCH_TABLE] if BATCH_TABLE in self._file else self._make())
        self._appender.append(numbers)

    def _make(self) -> Any:
        filters = Filters(None, _CHUNK_ROWS)
        table = make_growing(self._file, BATCH_TABLE, np.int64, (len(BATCH_COLUMNS),), filters)
        set_attributes(table, columns=list(BATCH_COLUMNS), description="batches of the datasets that grow")
        return table


def _blocks(file: Any) -> Iterator[Any]:
    table = file.get(BATCH_TABLE)
    for start in range(0, 0 if table is None else len(table), _BLOCK_ROWS):
        yield table[start : start + _BLOCK_ROWS]


__all__ = ["BATCH_COLUMNS", "BatchRow", "BatchTable", "batch_rows", "count_batches"]
