"""Whether datasets that grow are what their table of batches says: each problem is one line with place and reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.batch_table import BATCH_COLUMNS, BatchRow, batch_rows
from mulletdaq.hdf5.catalog import GrownData, grown_of, holds_stamps, runs_of
from mulletdaq.hdf5.column_checks import check_columns, check_messages
from mulletdaq.hdf5.naming import BATCH_TABLE, is_batch_name, is_run_name
from mulletdaq.hdf5.run_checks import RunCheck
from mulletdaq.hdf5.storage import one_line
from mulletdaq.schema import TIMESTAMP

with needs_extra("hdf5"):
    import h5py
    import numpy as np

_BLOCK_ROWS = 1 << 20


def check_grown(file: Any, checks: Mapping[int, RunCheck], problems: list[str]) -> None:
    """Check the table of batches, and the datasets that it is about."""
    grown = {data.path: _GrownCheck(data) for data in grown_of(file)}
    by_run = {run.number: check for check in grown.values() for run in check.data.runs}
    try:
        if grown or BATCH_TABLE in file:
            _check_table(file, checks, by_run, problems)
    except Exception as error:
        problems.append(f"{BATCH_TABLE}: cannot be read: {one_line(error)}")
    streams = {run.stream for run in runs_of(file).values()}
    for check in grown.values():
        try:
            check.finish(checks, streams, problems)
        except Exception as error:
            problems.append(f"{check.data.path}: cannot be read: {one_line(error)}")


class _GrownCheck:
    """Follows the table through the datasets of one group."""

    def __init__(self, data: GrownData) -> None:
        self.data = data
        self._rows = 0
        self._spans: list[tuple[int, int, int]] = []  # of which run, from which row, to which

    def follow(self, where: str, row: BatchRow, problems: list[str]) -> None:
        """The batch must begin where the one before in these datasets ends."""
        if row.dataset_row != self._rows:
            problems.append(f"{where}: begins at row {row.dataset_row} of {self.data.path}, expected {self._rows}")
        end = row.dataset_row + row.rows
        if self._spans and self._spans[-1][0] == row.run and self._spans[-1][2] == row.dataset_row:
            self._spans[-1] = (row.run, self._spans[-1][1], end)
        else:
            self._spans.append((row.run, row.dataset_row, end))
        self._rows = end

    def finish(self, checks: Mapping[int, RunCheck], streams: set[str], problems: list[str]) -> None:
        """The datasets must have all those rows, and no more; time is followed through each run."""
        group, path = self.data.group, self.data.path
        if group is None:
            problems.append(f"{path}: is no group, but run {self.data.runs[0].number} says that its datasets are there")
            return
        columns = self.data.columns
        if self._rows or any(name in group for name in self.data.names):
            others = {name for name in group if is_batch_name(name) or is_run_name(name)}
            others |= streams if path == "/measurements" else set()
            others -= set(self.data.names)
            problems += (
                check_messages(group, self._rows, others)
                if columns is None
                else check_columns(group, self._rows, columns, others)
            )
        if holds_stamps(group):
            for run, first, end in self._spans:
                for start in range(first, end, _BLOCK_ROWS):
                    stamps = group[TIMESTAMP][start : min(end, start + _BLOCK_ROWS)]
                    checks[run].follow_time(f"{path}/{TIMESTAMP}", stamps)


def _check_table(
    file: Any, checks: Mapping[int, RunCheck], grown: Mapping[int, _GrownCheck], problems: list[str]
) -> None:
    if BATCH_TABLE not in file:
        if any(run.rows for check in grown.values() for run in check.data.runs):
            problems.append(f"{BATCH_TABLE}: is missing, but there are runs whose datasets grow")
        return
    table = file[BATCH_TABLE]
    if not isinstance(table, h5py.Dataset) or table.dtype != np.int64 or table.shape[1:] != (len(BATCH_COLUMNS),):
        problems.append(f"{BATCH_TABLE}: is no table of {len(BATCH_COLUMNS)} columns of int64")
        return
    for index, row in enumerate(batch_rows(file)):
        where = f"{BATCH_TABLE}[{index}]"
        if row.run not in grown:
            problems.append(f"{where}: belongs to run {row.run}, which is not in runs, or has no datasets that grow")
            continue
        if row.rows < 1:
            problems.append(f"{where}: rows is {row.rows}; a batch has at least one")
        checks[row.run].follow(where, row.first_row, row.rows, row.lost_rows, problems)
        grown[row.run].follow(where, row, problems)


__all__ = ["check_grown"]
