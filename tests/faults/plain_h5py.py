"""The same blows against a writer that is plain h5py with ``flush()`` after each batch: what the journal is worth.

The layout of the batches is the same; so are the reader and the judge. ``python -m tests.faults.kill_storm`` runs it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa

from mulletdaq.hdf5.columns import columns_of
from mulletdaq.hdf5.layouts import Batch, BatchLayout
from mulletdaq.hdf5.ledger import Place, Run, Runs, begin_run
from mulletdaq.hdf5.options import Filters
from mulletdaq.hdf5.storage import LIBVER, make_ordered_group
from tests.waiting import PATIENCE_S

from .judge import Look
from .lane import Lane
from .roles import eventually

_STREAM_ID = 1
_LARGEST_BATCH = 100
_REPOSITORY = Path(__file__).parents[2]
_SCHEMA = pa.schema(
    [pa.field(name, dtype, nullable=False) for name, dtype in
     (("timestamp", pa.int64()), ("row", pa.int64()), ("half", pa.float64()))]
)  # fmt: skip


# ---- what runs in a process of its own


def write(path: str, interval_s: float, *, fsync: bool) -> None:
    """One batch after the other, each flushed; print the row behind it when that is done."""
    chosen = np.random.default_rng()
    with h5py.File(path, "a", libver=LIBVER) as file:
        run = _run_of(file)
        layout = BatchLayout(file, "", columns_of(_SCHEMA), Filters(None))
        fd = os.open(path, os.O_RDONLY)
        while True:
            _append(run, layout, int(chosen.integers(1, _LARGEST_BATCH)))
            file.flush()
            if fsync:
                os.fsync(fd)
            print(json.dumps({"next_row": run.next_row}), flush=True)
            time.sleep(interval_s)


def _run_of(file: Any) -> Run:
    if "measurements" not in file:
        for name in ("measurements", "runs"):
            make_ordered_group(file, name)
        file.create_group("losses")
        return begin_run(file, "", _STREAM_ID, number=1, schema=_SCHEMA, start=Place(0, 0, 0), start_ns=0, metadata={})
    run = Runs(file).find(_STREAM_ID)
    assert run is not None
    return run


def _append(run: Run, layout: BatchLayout, rows: int) -> None:
    numbers = np.arange(run.next_row, run.next_row + rows)
    piece = pa.record_batch([numbers, numbers, numbers * 0.5], schema=_SCHEMA)
    layout.append(run, Batch(run.next_row, 0, rows, pieces=[piece]))
    run.next_row += rows
    run.rows += rows
    run.store_cursor()


# ---- the storm


class Plain(Lane):
    """A file is gone on with as long as it is good."""

    fsync = False
    interval_s = 0.0

    def begin(self) -> None:
        self.spoilt = False
        self.write()

    def write(self) -> None:
        words = (self.path, self.interval_s, "fsync" if self.fsync else "")
        self.writer = self.start(*words, module="plain_h5py")

    def strike(self) -> None:
        if self.spoilt:
            self.path.rename(self.path.with_name(f"spoilt-{self.tally.kills}.h5"))
            self.begin()
        before = self.writer.told.get("next_row", 0)
        eventually(lambda: self.writer.told.get("next_row", 0) > before, "rows are flushed")
        time.sleep(self.chosen.random() * 0.05)
        self.writer.kill()
        known = self.writer.told["next_row"]
        found = look_apart(self.path)
        run = found.run_of(_STREAM_ID)
        self.spoilt = found.state == "damaged" or run is None or run.next_row < known
        if found.state == "damaged":
            self.tally.looks["unopenable" if not found.opened else "wrong content"] += 1
        else:
            self.tally.looks["missing rows" if self.spoilt else "untouched"] += 1
        self.tally.acknowledged += known
        if self.spoilt:
            self.tally.reasons[re.sub(r"\d+", "N", found.why)] += 1
        else:
            self.write()

    def finish(self) -> None:
        """There is nothing to be expected of it."""

    def check(self, found: Look) -> None:
        """As :meth:`finish`."""

    def check_acknowledged(self, found: Look) -> None:
        """As :meth:`finish`."""


class PlainWithFsync(Plain):
    """With an fsync after each flush."""

    fsync = True


def look_apart(path: Path) -> Look:
    """What a stock h5py finds, in a process of its own: reading a damaged file may crash or never end."""
    code = f"import sys; sys.path.insert(0, {str(_REPOSITORY)!r})\nfrom tests.faults import judge; judge.main()"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, timeout=PATIENCE_S / 2, check=False
        )
    except subprocess.TimeoutExpired:
        return Look("damaged", "reading it does not end")
    if done.returncode:
        return Look("damaged", f"reading it crashes: exit code {done.returncode}")
    return Look.from_json(done.stdout)


def main(words: list[str]) -> None:
    """Be the writer, in a process of its own."""
    path, interval_s, fsync = words
    write(path, float(interval_s), fsync=fsync == "fsync")


__all__ = ["Plain", "PlainWithFsync"]
