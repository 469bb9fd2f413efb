"""The checks behind ``verify``: each problem is one line that names the place and the reason.

A damaged file can make h5py raise anything at all, so whatever it raises is a problem of the place being read.
"""

from __future__ import annotations

from typing import Any

from mulletdaq.hdf5.attributes import get_integer
from mulletdaq.hdf5.catalog import StreamBatches, holds_stamps, runs_of, streams_of
from mulletdaq.hdf5.column_checks import check_columns, check_messages
from mulletdaq.hdf5.grown_checks import check_grown
from mulletdaq.hdf5.run_checks import RunCheck
from mulletdaq.hdf5.storage import one_line
from mulletdaq.schema import TIMESTAMP

_LOSS_COLUMNS = ("run", "first_row", "rows", "first_sequence", "frames", "cause", "timestamp_ns")


def check_file(file: Any) -> tuple[list[str], list[str]]:
    """Problems and warnings of an open file of ours."""
    problems: list[str] = []
    warnings: list[str] = []
    losses = _read_losses(file, problems)
    try:
        checks = {number: RunCheck(run, losses.get(number, {})) for number, run in runs_of(file).items()}
    except Exception as error:
        return [*problems, f"runs: cannot be read: {one_line(error)}"], warnings
    for stream in streams_of(file):
        _check_stream(stream, checks, problems)
    check_grown(file, checks, problems)
    for check in checks.values():
        check.finish(problems, warnings)
    return problems, warnings


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


def _check_stream(stream: StreamBatches, checks: dict[int, RunCheck], problems: list[str]) -> None:
    for name in stream.batches:
        where = f"{stream.group.name}/{name}"
        try:
            batch = stream.group[name]
            check = checks.get(get_integer(batch, "run"))
            if check is None:
                problems.append(f"{where}: belongs to run {get_integer(batch, 'run')}, which is not in runs")
                continue
            rows = get_integer(batch, "rows", -1)
            if rows < 1:
                problems.append(f"{where}: attribute rows is {rows}; a batch has at least one")
            problems += (
                check_messages(batch, rows) if check.columns is None else check_columns(batch, rows, check.columns)
            )
            first_row, lost_rows = get_integer(batch, "first_row"), get_integer(batch, "lost_rows")
            check.follow(where, first_row, rows, lost_rows, problems)
            if holds_stamps(batch):
                check.follow_time(where, batch[TIMESTAMP][:])
        except Exception as error:
            problems.append(f"{where}: cannot be read: {one_line(error)}")


__all__ = ["check_file"]
