"""A ring whose rows tell their number, and a writer of its own process that brings them into a file."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mulletdaq.errors import MulletError
from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.hdf5.verify import verify
from mulletdaq.ring import RingBuffer

from .judge import RunFound, look
from .roles import eventually, gone

SCHEMA = pa.schema([pa.field(name, pa.int64(), nullable=False) for name in ("timestamp", "row")])


class Recorded:
    """A recording under way; its ring lies elsewhere than its file.

    Parameters
    ----------
    path
        The file.
    ring_path, capacity_bytes
        The ring. By default so large that a row which had to be overwritten is an error.
    """

    def __init__(
        self, path: Path, ring_path: Path, *, capacity_bytes: int = 32 << 20, on_full: Any = "error", **options: Any
    ) -> None:
        self.path = path
        self.ring = RingBuffer.create(ring_path, capacity_bytes=capacity_bytes, on_full=on_full)
        self.row = 0
        self.write(10)
        options = {"flush_interval_s": 0.002, "poll_interval_s": 0.001, **options}
        self.writer = HDF5Writer(self.path, self.ring, **options)
        self.writer.start()
        self.writer.flush()

    @property
    def writer_pid(self) -> int:
        pid = self.writer.pid
        assert pid is not None
        return pid

    def write(self, count: int) -> None:
        """Write the next rows."""
        rows = np.arange(self.row, self.row + count)
        self.ring.write_arrow_batch(pa.record_batch([rows, rows], schema=SCHEMA))
        self.row += count

    def until(self, condition: Callable[[], Any], what: str, *, rows: int = 5) -> Any:
        """Go on recording until something holds."""

        def step() -> Any:
            self.write(rows)
            return condition()

        return eventually(step, what)

    def signal(self, number: signal.Signals) -> None:
        """Send the writer's process a signal."""
        os.kill(self.writer_pid, number)

    def abandon(self) -> None:
        """End what a test left, whatever it did to it."""
        pid = self.writer.pid
        with suppress(MulletError):
            self.writer.stop()
        if pid is not None:
            eventually(lambda: gone(pid), "the writer ends")
        self.ring.close()

    def check_end(self) -> RunFound:
        """Stop; every row is stored or in the ledger, and verify has nothing to say."""
        self.writer.stop()
        found = look(self.path)
        assert found.state == "untouched", found.why
        (run,) = found.runs.values()
        assert (run.first_row, run.next_row) == (0, self.row)
        report = verify(self.path)
        assert report.ok and not report.warnings, report
        assert not list(self.path.parent.glob("*-journal*"))
        return run


__all__ = ["Recorded"]
