"""Those who read a file while it is recorded: each opens it, checks what it sees, closes it, and does so again."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import mulletdaq
from tests.waiting import PATIENCE_S

from .judge import WrongContentError
from .roles import Asked, say

_LOOKED_AT = 2
"""Of a thousand batches each view reads the newest, and as many others."""
_NEXT_ROW = re.compile(rb"\(0\): (\d+)")


@dataclass
class Seen:
    """What one reader saw.

    Attributes
    ----------
    views
        How often it had the file open and read it.
    locked
        How often it was told that another holds the file.
    newest
        The row behind the last that it saw.
    advances
        How often it saw more than before.
    wrong
        The first views that were no whole commit, or older than one before.
    """

    views: int = 0
    locked: int = 0
    newest: int = -1
    advances: int = 0
    wrong: tuple[str, ...] = ()

    def take(self, look: Callable[[], int | None]) -> None:
        """Look once; None says that the file was locked."""
        try:
            next_row = look()
        except Exception as error:  # of a torn view h5py raises anything at all
            self.wrong = (*self.wrong, f"{type(error).__name__}: {error}")[:5]
            return
        if next_row is None:
            self.locked += 1
            return
        self.views += 1
        if next_row < self.newest:
            self.wrong = (*self.wrong, f"saw {next_row} rows after {self.newest}")[:5]
        self.advances += next_row > self.newest
        self.newest = next_row


def with_h5py(path: str, hold_s: float) -> int | None:
    """The row behind the last one, of a stock view that is whole; None if the file is locked."""
    try:
        file = h5py.File(path)
    except OSError as error:
        if isinstance(error, BlockingIOError) or "unable to lock file" in str(error):
            return None
        raise
    return check(file, hold_s)


def with_mullet(path: str, hold_s: float) -> int | None:
    """The same of the newest commit."""
    return check(mulletdaq.open(path), hold_s)


def with_h5dump(path: str, _: float) -> int | None:
    """The same as h5dump prints it, which does not say why it cannot open a file."""
    words = ["h5dump", "-a", "/runs/run_000001/next_row", "-d", "/measurements/batch_000001/row"]
    done = subprocess.run([*words, path], capture_output=True, check=False, timeout=PATIENCE_S)
    if done.stderr.startswith(b"h5dump error: unable to open file"):
        return None
    found = _NEXT_ROW.search(done.stdout)
    if done.returncode or found is None:
        raise WrongContentError((done.stdout + done.stderr).decode())
    return int(found[1])


def check(context: AbstractContextManager[Any], hold_s: float) -> int:
    """See that an open file is at the end of a commit; the row behind its last."""
    with context as file:
        run = file["runs/run_000001"].attrs
        next_row, group = int(run["next_row"]), file["measurements"]
        count = len(group)
        if (int(run["first_row"]), int(run["rows"]), int(run["lost_rows"])) != (0, next_row, 0):
            raise WrongContentError(f"the run says {dict(run)}")
        if bool(count) != bool(next_row):
            raise WrongContentError(f"{count} batches hold {next_row} rows")
        others = np.random.default_rng().integers(1, count + 1, _LOOKED_AT) if count else []
        for number in {*range(max(1, count + 1 - _LOOKED_AT), count + 1), *(int(one) for one in others)}:
            end = _check_batch(group[f"batch_{number:06d}"])
            if number == count and end != next_row:
                raise WrongContentError(f"the last batch ends at {end}, the run at {next_row}")
        time.sleep(hold_s)
        return next_row


def _check_batch(batch: Any) -> int:
    first_row, end = int(batch.attrs["first_row"]), int(batch.attrs["first_row"] + batch.attrs["rows"])
    for column in ("timestamp", "row"):
        if not np.array_equal(batch[column][:], np.arange(first_row, end)):
            raise WrongContentError(f"{batch.name}/{column} is not the rows {first_row} to {end - 1}")
    return end


def main(words: list[str]) -> None:
    """Read again and again until asked to end; say what was seen."""
    how, path, hold_s, gap_s = words
    look = {"h5py": with_h5py, "mullet": with_mullet, "h5dump": with_h5dump}[how]
    asked, seen = Asked(), Seen()
    while not asked:
        seen.take(lambda: look(path, float(hold_s)))
        say(**asdict(seen))
        time.sleep(float(gap_s))
    say(**asdict(seen), ended=True)


def applied_generations(path: Path) -> int:
    """How often the writer has applied its journal since it opened the file."""
    from mulletdaq.hdf5.journal.frames import SUFFIX, read_header

    fd = os.open(f"{path}{SUFFIX}", os.O_RDONLY)
    try:
        header = read_header(fd)
    finally:
        os.close(fd)
    return 0 if header is None else header.generation


__all__ = ["Seen", "applied_generations"]
