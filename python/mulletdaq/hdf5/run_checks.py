"""Whether the rows of a run follow one another, or are accounted for: what verify checks in every layout."""

from __future__ import annotations

from typing import Any

from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.columns import columns_of
from mulletdaq.hdf5.ledger import Run, is_opaque, schema_of

with needs_extra("hdf5"):
    import numpy as np


class RunCheck:
    """Follows the rows of one run through its batches.

    Parameters
    ----------
    run
        The run.
    losses
        For the first of each stretch of lost rows, how many they are.

    Attributes
    ----------
    columns
        What its batches are stored as; None for opaque bytes.
    """

    def __init__(self, run: Run, losses: dict[int, int]) -> None:
        self._run = run
        self._losses = losses
        self._expected_row = run.first_row
        self._rows = 0
        self._lost_rows = 0
        self._last_stamp: int | None = None
        self._steps_back = 0
        self._first_step_back = ""
        self.columns = None if is_opaque(run) else columns_of(schema_of(run), growing=bool(run.data))

    def follow(self, where: str, first_row: int, rows: int, lost_rows: int, problems: list[str]) -> None:
        """Check that a batch's rows follow the ones before it."""
        before = self._expected_row
        complete = self._skip_gap(where, first_row, problems)
        if first_row < self._expected_row:
            problems.append(
                f"{where}: starts at row {first_row} of run {self._run.number}, expected {self._expected_row}"
            )
        elif complete and lost_rows != first_row - before:
            problems.append(f"{where}: attribute lost_rows is {lost_rows}, but {first_row - before} are")
        self._expected_row = first_row + rows
        self._rows += rows

    def follow_time(self, where: str, stamps: Any) -> None:
        """Count timestamps that are earlier than the one before."""
        if not len(stamps):
            return
        if self._last_stamp is not None:
            stamps = np.concatenate([[self._last_stamp], stamps])
        steps_back = int(np.count_nonzero(stamps[1:] < stamps[:-1]))
        if steps_back and not self._steps_back:
            self._first_step_back = where
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


__all__ = ["RunCheck"]
