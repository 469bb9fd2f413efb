"""What a stock h5py finds in a recording as it lies, and whether that can have been a commit.

python -m tests.faults.judge FILE

Nothing of mulletdaq's takes part: a file must be right for those who never heard of it. The rows of every batch tell
their own number, in the columns ``timestamp`` and ``row``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

SIGNATURE = b"\x89HDF\r\n\x1a\n"
CAUSES = {b"overwritten", b"corrupt"}

State = Literal["untouched", "sealed", "locked", "absent", "damaged"]


class WrongContentError(Exception):
    """A file shows what no commit ever held."""


@dataclass
class RunFound:
    """One run: its pieces, one behind the other, from its first row to the one before ``next_row``.

    Attributes
    ----------
    pieces
        ``(first row, rows, whether they are stored)``; those that are not are in ``losses``.
    session
        What the column ``session`` holds, if there is one.
    """

    stream_id: int
    first_row: int
    next_row: int
    rows: int
    lost_rows: int
    pieces: list[tuple[int, int, bool]] = field(default_factory=list)
    session: int | None = None

    def stored_below(self, row: int) -> int:
        """How many rows below one are stored."""
        return sum(min(rows, max(0, row - first)) for first, rows, stored in self.pieces if stored)


@dataclass
class Look:
    """A file as a stock h5py finds it.

    Attributes
    ----------
    state
        ``"untouched"``: it opens, and holds whole commits. ``"sealed"``: "not HDF5", as while commits are applied.
        ``"locked"``: a writer is changing it. ``"absent"``: nothing is there. ``"damaged"``: anything else.
    why
        What is damaged.
    opened
        Whether h5py opened it at all.
    batches
        How many it has.
    runs
        By number.
    """

    state: State
    why: str = ""
    opened: bool = False
    batches: int = 0
    runs: dict[int, RunFound] = field(default_factory=dict)

    def run_of(self, stream_id: int) -> RunFound | None:
        """The run of a ring."""
        return next((run for run in self.runs.values() if run.stream_id == stream_id), None)

    @classmethod
    def from_json(cls, text: str | bytes) -> Look:
        """The look that :func:`main` printed."""
        told = json.loads(text)
        return cls(**{**told, "runs": {int(number): RunFound(**run) for number, run in told["runs"].items()}})


def look(path: str | Path) -> Look:
    """Open a file as it lies, read all of it, close it."""
    if not Path(path).exists():
        return Look("absent")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        return _refused(path, error)
    return judge(file)


def judge(file: Any) -> Look:
    """Read all of an open file, and close it."""
    found = Look("untouched", opened=True)
    with file:
        try:
            read(file, found)
        except WrongContentError as error:
            found.state, found.why = "damaged", str(error)
        except Exception as error:  # h5py raises anything at all about a damaged file
            found.state, found.why = "damaged", f"cannot be read: {type(error).__name__}: {error}"
    return found


def _refused(path: str | Path, error: OSError) -> Look:
    if isinstance(error, BlockingIOError) or "unable to lock file" in str(error):
        return Look("locked")
    with open(path, "rb") as file:
        start = file.read(64)
    if not any(start[: len(SIGNATURE)]) and any(start[len(SIGNATURE) :]):
        return Look("sealed")
    return Look("damaged", f"cannot be opened: {error}")


def read(file: Any, found: Look) -> None:
    """Read every batch, run and loss of an open file into ``found``.

    Raises
    ------
    WrongContentError
        If a batch is incomplete or holds a wrong value, or the rows of a run do not follow one another.
    """
    for name, group in file["runs"].items():
        found.runs[int(name.rpartition("_")[2])] = _run(group)
    losses = _losses(file["losses"])
    names = sorted(file["measurements"])
    if names != [f"batch_{number:06d}" for number in range(1, len(names) + 1)]:
        raise WrongContentError(f"batches are not numbered from 1 on: {names[:3]} … {names[-3:]}")
    found.batches = len(names)
    for name in names:
        _take_batch(file["measurements"][name], found.runs, losses)
    for number, run in found.runs.items():
        _skip_losses(run, losses.get(number, {}))
        _check_run(number, run)
    if any(losses.values()):
        raise WrongContentError(f"losses: of rows that no run has: {losses}")


def _run(group: Any) -> RunFound:
    names = ("stream_id", "first_row", "next_row", "rows", "lost_rows")
    return RunFound(*(int(group.attrs[name]) for name in names))


def _losses(group: Any) -> dict[int, dict[int, int]]:
    """For each run the lost rows by first row."""
    if not len(group):
        return {}
    columns = [group[name][:].tolist() for name in ("run", "first_row", "rows", "cause")]
    if len({len(column) for column in columns}) > 1:
        raise WrongContentError("losses: columns of different lengths")
    losses: dict[int, dict[int, int]] = {}
    for run, first_row, rows, cause in zip(*columns, strict=True):
        if rows < 1 or cause not in CAUSES or first_row in losses.get(run, {}):
            raise WrongContentError(f"losses: {rows} rows from {first_row} on, cause {cause!r}")
        losses.setdefault(run, {})[first_row] = rows
    return losses


def _take_batch(group: Any, runs: dict[int, RunFound], losses: dict[int, dict[int, int]]) -> None:
    number, first_row, rows = (int(group.attrs[name]) for name in ("run", "first_row", "rows"))
    run = runs.get(number)
    if run is None:
        raise WrongContentError(f"{group.name}: run {number} is not there")
    _skip_losses(run, losses.get(number, {}))
    if first_row != _next_row(run):
        raise WrongContentError(f"{group.name}: begins with row {first_row}, expected {_next_row(run)}")
    expected = np.arange(first_row, first_row + rows)
    for column in ("timestamp", "row"):
        if not np.array_equal(group[column][:], expected):
            raise WrongContentError(f"{group.name}/{column}: not the rows {first_row} to {first_row + rows - 1}")
    if "session" in group:
        _take_session(group, run, rows)
    run.pieces.append((first_row, rows, True))


def _take_session(group: Any, run: RunFound, rows: int) -> None:
    sessions = group["session"][:]
    if len(sessions) != rows or len(set(sessions.tolist())) != 1 or run.session not in (None, int(sessions[0])):
        raise WrongContentError(f"{group.name}: rows of several sessions in one run")
    run.session = int(sessions[0])


def _next_row(run: RunFound) -> int:
    return run.first_row if not run.pieces else run.pieces[-1][0] + run.pieces[-1][1]


def _skip_losses(run: RunFound, losses: dict[int, int]) -> None:
    while rows := losses.pop(_next_row(run), 0):
        run.pieces.append((_next_row(run), rows, False))
    if losses and min(losses) < _next_row(run):
        raise WrongContentError(f"losses: row {min(losses)} is lost, and stored")


def _check_run(number: int, run: RunFound) -> None:
    stored = sum(rows for _, rows, is_stored in run.pieces if is_stored)
    lost = sum(rows for _, rows, is_stored in run.pieces if not is_stored)
    if (run.next_row, run.rows, run.lost_rows) != (_next_row(run), stored, lost):
        raise WrongContentError(
            f"run {number}: says next row {run.next_row}, {run.rows} rows, {run.lost_rows} lost; "
            f"found {_next_row(run)}, {stored}, {lost}"
        )


def main() -> None:
    """Print a look as JSON."""
    print(json.dumps(asdict(look(sys.argv[1]))))


if __name__ == "__main__":
    main()
