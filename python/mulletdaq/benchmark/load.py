"""A recording at a steady rate: a ring, its producer here, the HDF5 writer in its own process, a file that vanishes."""

from __future__ import annotations

import math
import shutil
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mulletdaq.benchmark.course import Course
from mulletdaq.benchmark.leftovers import ring_name
from mulletdaq.errors import FileWriteError, MulletError, WriterError
from mulletdaq.extras import needs_extra
from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.ring import create_ring
from mulletdaq.schema import Channel

with needs_extra("hdf5"):
    import numpy as np

if TYPE_CHECKING:
    from typing import Self

ROW_ROOM = 1.3
"""Bytes a file and its journal may need for each byte of rows, to be on the safe side."""

_BLOCK_S = 0.005
_SIGNAL_ROWS = 1 << 18
_LONGEST_BLOCK = 1 << 16
_PATIENCE_S = 0.15
_LOOK_S = 0.01
_TELLING_S = 0.25
_PUNCTUAL = 0.95


@dataclass(frozen=True)
class Hold:
    """How a rate was held for a while.

    Attributes
    ----------
    rate_hz
        The rate, in samples/s of all channels.
    kept_hz
        Samples in the file by the time from the first to the moment at which all were there: never too high.
    lost
        Samples that were overwritten before the writer had them.
    late
        Whether the producer itself could not keep the rate.
    behind_s
        Time from the last sample to the moment at which all were in the file; infinite if that was given up.
    peak_fill
        Share of the ring that waited at most.
    held
        Whether nothing was lost, the producer was in time, and the writer did not fall behind.
    """

    rate_hz: float
    kept_hz: float
    lost: int
    late: bool
    behind_s: float
    peak_fill: float

    @property
    def held(self) -> bool:
        return not self.lost and not self.late and math.isfinite(self.behind_s)


def signal() -> Any:
    """What is recorded: a sine with noise as a 16-bit converter sees it, in volts; float64, 1 MB and more long."""
    number = np.arange(_SIGNAL_ROWS + _LONGEST_BLOCK)
    noise = np.random.default_rng(1).normal(size=number.size)
    return np.round(29_000 * np.sin(2 * np.pi * 50 * number / 44_100) + noise) * (10 / 32_768)


class Load:
    """A recording of float64 channels into a folder, from the ``with`` block's start to its end.

    Parameters
    ----------
    folder
        Where its files are made.
    channels
        How many.
    compression
        As :class:`~mulletdaq.HDF5Writer`'s.
    interval_s
        Between commits.
    ring_mb
        The ring's capacity.
    reserve_mb
        Room on the disk that is left to others.
    course
        Is told how far it is.

    Raises
    ------
    RingError, FileError
        What keeps it from starting; nothing is left behind.

    Notes
    -----
    For one thread. Leaving the block brings nothing more into the file.
    """

    def __init__(
        self,
        folder: Path,
        channels: int,
        compression: str | None,
        *,
        interval_s: float,
        ring_mb: float,
        reserve_mb: float,
        course: Course,
    ) -> None:
        self._folder = folder
        self._interval_s = interval_s
        self._reserve_bytes = reserve_mb * (1 << 20)
        self._course = course
        self._signal = signal()
        self._starts = [7_919 * channel % _SIGNAL_ROWS for channel in range(channels)]
        self._row = 0
        self._exit = ExitStack()
        self.row_bytes = 8 * (channels + 1)
        """Bytes a sample takes in the ring: its values and its time stamp."""
        with ExitStack() as undo:
            self.ring = undo.enter_context(create_ring(ring_name(compression or "none"), ring_mb))
            undo.callback(self.ring.unlink)
            self.producer = self.ring.producer([Channel(f"channel_{number}", "V") for number in range(channels)])
            undo.callback(self.producer.close)
            self._writer = HDF5Writer(
                folder / f"{compression or 'none'}_{{index:04d}}.h5",
                self.ring,
                flush_interval_s=interval_s,
                compression=compression,
                reserve_mb=reserve_mb,
                report=lambda line: None,
            )
            undo.callback(self._end_writer)
            self._writer.start()
            self._exit = undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    @property
    def path(self) -> str:
        """The file that is being written."""
        return self._writer.statistics().path

    def flush(self) -> None:
        """Bring all rows into the file.

        Raises
        ------
        FileError
            If the file cannot be written.
        """
        self._course.look()
        self._writer.flush()

    def most_hz(self, seconds: float) -> float:
        """The rate at which so many seconds fill the room that may be used."""
        room = max(0.0, shutil.disk_usage(self._folder).free - self._reserve_bytes)
        return room / (seconds * self.row_bytes * ROW_ROOM)

    def first_guess_hz(self) -> float:
        """Half the rate of a commit of some size: where a search may begin, even on a slow disk."""
        rows = max(1, (1 << 20) // self.row_bytes)
        largest = self.ring.capacity_bytes // 4 // self.row_bytes
        while True:
            self._course.look()
            began = time.monotonic()
            self._write(rows, 1e9)
            self.flush()
            took = time.monotonic() - began
            if took > _TELLING_S or rows * 4 > largest:
                return rows / took / 2
            rows *= 4

    def hold(self, rate_hz: float, seconds: float) -> Hold:
        """Write at a rate for a while, and wait until all is in the file, or clearly will not soon be.

        Raises
        ------
        KeyboardInterrupt
            If it is to stop.
        """
        self._begin_afresh()
        lost, first = self._writer.statistics().rows_lost, self.ring.newest_row
        began = time.monotonic()
        peak = self._produce(rate_hz, seconds, began)
        ended = time.monotonic()
        self._wait_for_rows(ended + 2 * self._interval_s + _PATIENCE_S)  # one commit may run, and one is to come
        done = time.monotonic()
        rows = self.ring.newest_row - first
        lost = self._writer.statistics().rows_lost - lost
        finished = self._is_saved()
        return Hold(
            rate_hz=rate_hz,
            kept_hz=(rows - lost) / (done - began) if finished else 0.0,
            lost=lost,
            late=seconds < _PUNCTUAL * (ended - began),
            behind_s=done - ended if finished else math.inf,
            peak_fill=peak,
        )

    def _begin_afresh(self) -> None:
        """A file of its own for each rate, so that the disk has room for the next."""
        self._wait_for_rows(math.inf)
        current = Path(self._writer.rotate())
        for path in self._folder.iterdir():
            if not path.name.startswith(current.name):
                path.unlink()

    def _produce(self, rate_hz: float, seconds: float, began: float) -> float:
        """Write blocks as they become due; the fullest that the ring was."""
        total = max(1, round(rate_hz * seconds))
        written, peak = 0, 0.0
        while written < total:
            due = min(total, int((time.monotonic() - began) * rate_hz) + 1)
            if due > written:
                rows = min(due - written, _LONGEST_BLOCK)
                self._write(rows, rate_hz)
                written += rows
            peak = max(peak, self._fill())
            self._course.look()
            if due <= written:
                time.sleep(max(0.0, min(_BLOCK_S, began + written / rate_hz - time.monotonic())))
        left = began + seconds - time.monotonic()
        if left > 0:
            self._course.wait(left)
        return peak

    def _write(self, rows: int, rate_hz: float) -> None:
        """So many rows, in blocks."""
        while rows:
            block = min(rows, _LONGEST_BLOCK)
            starts = [(start + self._row) % _SIGNAL_ROWS for start in self._starts]
            self.producer.append_block(*(self._signal[at : at + block] for at in starts), rate_hz=rate_hz)
            self._row += block
            rows -= block

    def _wait_for_rows(self, until: float) -> None:
        while not self._is_saved() and time.monotonic() < until:
            self._course.look()
            self._check_writer()
            time.sleep(_LOOK_S)

    def _check_writer(self) -> None:
        trouble = self._writer.statistics().trouble
        if trouble:
            raise FileWriteError(f"the benchmark cannot go on: {trouble}")
        if not self._writer.alive and not self._writer.restarting:
            raise WriterError("the benchmark cannot go on: its HDF5 writer has ended; try again")

    def _is_saved(self) -> bool:
        streams = self._writer.statistics().streams
        return not self.ring.newest_row or ("" in streams and streams[""].next_row >= self.ring.newest_row)

    def _fill(self) -> float:
        return min(1.0, (self.ring.write_head - self.ring.read_tail) / self.ring.capacity_bytes)

    def _end_writer(self) -> None:
        with suppress(MulletError):
            if self._writer.alive:
                self._writer.stop({"": 0})  # what is still in the ring is of no use to anybody


__all__ = ["ROW_ROOM", "Hold", "Load", "signal"]
