"""The checks behind ``verify``: each problem is one line that names the place and the reason.

A damaged file can make h5py raise anything at all, so whatever it raises is a problem of the place being read.
"""

from __future__ import annotations

from typing import Any

from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.attributes import get_integer, get_text
from mulletdaq.hdf5.catalog import StreamBatches, is_opaque, runs_of, schema_of, streams_of
from mulletdaq.hdf5.columns import columns_of
from mulletdaq.hdf5.ledger import Run
from mulletdaq.hdf5.naming import RAW_DATA, RAW_LENGTHS
from mulletdaq.hdf5.storage import one_line
from mulletdaq.schema import TIMESTAMP

with needs_extra("hdf5"):
    import numpy as np

_LOSS_COLUMNS = ("run", "first_row", "rows", "first_sequence", "frames", "cause", "timestamp_ns")
_OPAQUE_DTYPES = {RAW_DATA: "uint8", RAW_LENGTHS: "uint64", TIMESTAMP: "int64"}


def check_file(file: Any) -> tuple[list[str], list[str]]:
    """Problems and warnings of an open file of ours."""
    problems: list[str] = []
    warnings: list[str] = []
    losses = _read_losses(file, problems)
    try:
        checks = {number: _RunCheck(run, losses.get(number, {})) for number, run in runs_of(file).items()}
    except Exception as error:
        return [*problems, f"runs: cannot be read: {one_line(error)}"], warnings
    for stream in streams_of(file):
        _check_stream(stream, checks, problems)
    for check in checks.values():
        check.finish(problems, warnings)
    return problems, warnings


class _RunCheck:
    """Follows the rows of one run through its batches."""

    def __init__(self, run: Run, losses: dict[int, int]) -> None:
        self._run = run
        self._losses = losses
        self._expected_row = run.first_row
        self._rows = 0
        self._lost_rows = 0
        self._last_stamp: int | None = None
        self._steps_back = 0
        self._first_step_back = ""
        schema = schema_of(run)
        self.dtypes = dict(_OPAQUE_DTYPES)
        self.shapes: dict[str, tuple[int, ...]] = {}
        if not is_opaque(run):
            columns = columns_of(schema)
            self.dtypes = {column.name: column.dtype.name for column in columns}
            self.shapes = {column.name: column.shape for column in columns}

    def follow(self, batch: Any, rows: int, problems: list[str]) -> None:
        """Check that a batch's rows follow the ones before it."""
        first_row = get_integer(batch, "first_row")
        before = self._expected_row
        complete = self._skip_gap(batch.name, first_row, problems)
        if first_row < self._expected_row:
            problems.append(
                f"{batch.name}: starts at row {first_row} of run {self._run.number}, expected {self._expected_row}"
            )
        elif complete and get_integer(batch, "lost_rows") != first_row - before:
            problems.append(
                f"{batch.name}: attribute lost_rows is {get_integer(batch, 'lost_rows')}, but {first_row - before} are"
            )
        self._expected_row = first_row + rows
        self._rows += rows

    def follow_time(self, batch: Any) -> None:
        """Count timestamps that are earlier than the one before."""
        stamps = batch[TIMESTAMP][:]
        if not len(stamps):
            return
        if self._last_stamp is not None:
            stamps = np.concatenate([[self._last_stamp], stamps])
        steps_back = int(np.count_nonzero(stamps[1:] < stamps[:-1]))
        if steps_back and not self._steps_back:
            self._first_step_back = batch.name
        self._steps_back += steps_back
        self._last_stamp = int(stamps[-1])

    def finish(self, problems: list[str], warnings: list[str]) -> None:
        """Compare with the counts kept with the run."""
        self._skip_losses()
        run, where = self._run, f"runs/run_{self._run.number:06d}"
        for name, kept, found in (
            ("next_row", run.next_row, self._expected_row),
            ("rows", run.rows, self._rows),
            ("lost_rows", run.lost_rows, self._lost_rows),
        ):
            if kept != found:
                problems.append(f"{where}: attribute {name} is {kept}, but batches and losses give {found}")
        if self._steps_back:
            warnings.append(f"{where}: time goes back {self._steps_back} times, first in {self._first_step_back}")

    def _skip_gap(self, where: str, first_row: int, problems: list[str]) -> bool:
        """Go on to ``first_row`` over losses; False if they do not account for all of it."""
        complete = True
        self._skip_losses()
        while self._expected_row < first_row:
            complete = False
            end = min([first_row, *(row for row in self._losses if row > self._expected_row)])
            problems.append(
                f"{where}: rows {self._expected_row} to {end - 1} of run {self._run.number} are missing, "
                "and losses does not account for them"
            )
            self._expected_row = end
            self._skip_losses()
        return complete

    def _skip_losses(self) -> None:
        while rows := self._losses.get(self._expected_row, 0):
            self._expected_row += rows
            self._lost_rows += rows


def _read_losses(file: Any, problems: list[str]) -> dict[int, dict[int, int]]:
    """For each run the lost rows by first row."""
    losses: dict[int, dict[int, int]] = {}
    if not len(file["losses"]):
        return losses
    try:
        columns = [file["losses"][name][:] for name in _LOSS_COLUMNS]
    except Exception as error:
        problems.append(f"losses: cannot be read: {one_line(error)}")
        return losses
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        problems.append(f"losses: columns are of different lengths: {sorted(lengths)}")
    for run, first_row, rows in zip(*columns[:3], strict=False):
        if rows > 0:
            losses.setdefault(int(run), {})[int(first_row)] = int(rows)
        else:
            problems.append(f"losses: run {run} has {rows} rows lost at row {first_row}; it must be at least one")
    return losses


def _check_stream(stream: StreamBatches, checks: dict[int, _RunCheck], problems: list[str]) -> None:
    for name in stream.batches:
        where = f"{stream.group.name}/{name}"
        try:
            batch = stream.group[name]
            check = checks.get(get_integer(batch, "run"))
            if check is None:
                problems.append(f"{where}: belongs to run {get_integer(batch, 'run')}, which is not in runs")
                continue
            rows = get_integer(batch, "rows", -1)
            _check_datasets(batch, rows, check, problems)
            check.follow(batch, rows, problems)
            if TIMESTAMP in batch and batch[TIMESTAMP].dtype == np.int64 and batch[TIMESTAMP].ndim == 1:
                check.follow_time(batch)
        except Exception as error:
            problems.append(f"{where}: cannot be read: {one_line(error)}")


def _check_datasets(batch: Any, rows: int, check: _RunCheck, problems: list[str]) -> None:
    if rows < 1:
        problems.append(f"{batch.name}: attribute rows is {rows}; a batch has at least one")
    for name in check.dtypes.keys() - set(batch):
        problems.append(f"{batch.name}: column {name} is missing")
    masks = {get_text(dataset, "valid"): name for name, dataset in batch.items() if "valid" in dataset.attrs}
    for name, dataset in batch.items():
        source = masks.get(name, name)
        if source not in check.dtypes:
            problems.append(f"{dataset.name}: the run's schema has no such column")
            continue
        dtype = "uint8" if name in masks else check.dtypes[name]
        if dataset.dtype.name != dtype:
            problems.append(f"{dataset.name}: type is {dataset.dtype}, the run's schema says {dtype}")
        shape = (rows, *check.shapes.get(source, ()))
        if name == RAW_DATA and name not in check.shapes:
            shape = (int(batch[RAW_LENGTHS][:].sum()),)
        if dataset.shape != shape:
            problems.append(f"{dataset.name}: shape is {dataset.shape}, expected {shape}")


__all__ = ["check_file"]
