"""Rings that an earlier recording of the same output left behind, because it was killed."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mulletdaq.errors import FileError, FrameCorruptError, RecordingError, RingError, RingNotFoundError
from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.hdf5.reading import open_for_reading
from mulletdaq.hdf5.templates import escaped
from mulletdaq.recording.output import Mode
from mulletdaq.ring import RingBuffer, output_rings, ring_path

_DRAIN_WAIT_S = 30.0
_POLL_S = 0.02


def clear_orphans(path: str, mode: Mode, writer_options: Mapping[str, Any]) -> None:
    """Make way for new rings, without losing a row of the old ones, whatever streams they were of.

    Parameters
    ----------
    path
        The output file.
    mode
        ``"a"``: rows that are not yet in the file are written under their old run. ``"x"``: a ring
        with such rows is renamed, with a warning.

    Raises
    ------
    RecordingError
        If another process is recording to the same file.
    """
    found = {stream: _open_orphan(path, name) for stream, name in output_rings(path).items()}
    orphans = {stream: ring for stream, ring in found.items() if ring is not None}
    try:
        rows = {stream: _rows_or_aside(ring) for stream, ring in orphans.items()}
        left = {stream: ring for stream, ring in orphans.items() if rows[stream]}
        if left and mode == "a":
            _write_out(path, left, writer_options)
        elif left:
            for ring in left.values():
                _rename(Path(ring.path), "holds rows that were not written to a file")
        for stream, ring in orphans.items():
            if rows[stream] == 0 or (mode == "a" and stream in left):
                ring.unlink()
    finally:
        for ring in orphans.values():
            ring.close()


def wait_until_saved(ring: RingBuffer) -> bool:
    """Whether everything in a ring without a producer is in the file, once its writer has ended."""
    _wait_for_sink(ring)
    return ring.content == "none" or ring.read_tail >= ring.write_head


def _wait_for_sink(ring: RingBuffer) -> int | None:
    """Give a ring's writer time to end by itself; its pid if it has not."""
    deadline = time.monotonic() + _DRAIN_WAIT_S
    while (pid := ring.sink_pid) is not None and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return pid


def remove_unused_rings(names: Iterable[str]) -> None:
    """Remove rings of a recording that never began: those that nobody holds or has ever written to."""
    for name in names:
        with suppress(RingError), RingBuffer.open(ring_path(name)) as ring:
            if not ring.producer_alive and not ring.newest_row:
                ring.unlink()


def remove_if_empty(path: str) -> None:
    """Remove the file of a recording that never began; one that holds any run stays."""
    with suppress(FileError, OSError), open_for_reading(path) as file:
        if not len(file["runs"]):
            os.unlink(path)


def _open_orphan(path: str, name: str) -> RingBuffer | None:
    try:
        ring = RingBuffer.open(ring_path(name))
    except RingNotFoundError:
        return None
    except RingError as error:
        _rename(ring_path(name), f"cannot be read ({error})")
        return None
    pid = ring.producer_pid
    if pid is not None:
        ring.close()
        raise RecordingError(f"process {pid} is recording to {path} already; stop it first, or choose another file")
    _await_sink(path, ring)
    return ring


def _await_sink(path: str, ring: RingBuffer) -> None:
    """The killed recording's writer may still be writing out what the ring holds: that is its job."""
    pid = _wait_for_sink(ring)
    if pid is not None:
        ring.close()
        raise RecordingError(f"the writer of an earlier recording (pid {pid}) still holds {path}; wait for it")


def _rows_or_aside(ring: RingBuffer) -> int | None:
    """Its uncommitted rows; None for a ring that does not tell, which is set aside."""
    try:
        return uncommitted_rows(ring)
    except RingError as error:
        _rename(Path(ring.path), f"cannot be read ({error})")
        return None


def uncommitted_rows(ring: RingBuffer) -> int:
    """How many rows of a ring are not yet in the file.

    Of a frame that was open, those that are count, too; so do damaged ones, which the file will have as lost.

    Raises
    ------
    RingError
        If that cannot be told.
    """
    if ring.content == "none":
        return 0
    with ring.cursor(max(ring.read_tail, ring.oldest)) as cursor:
        while True:
            position = cursor.position
            try:
                first = cursor.read(1)
            except FrameCorruptError:
                if cursor.position == position:
                    raise
                continue
            return cursor.lost_rows + (0 if first is None else cursor.lag_rows + 1)


def _write_out(path: str, rings: Mapping[str, RingBuffer], writer_options: Mapping[str, Any]) -> None:
    named = {stream: ring for stream, ring in rings.items() if stream}
    saved = 0
    for group in ([rings[""]] if "" in rings else []) + ([named] if named else []):
        writer = HDF5Writer(**{"path": escaped(path), **writer_options}, ring=group, first_path=path, run_in="thread")
        writer.start()
        before = writer.statistics().rows_persisted
        saved += writer.stop().rows_persisted - before
    if saved:  # of a frame that was still open, all rows may have been in the file already
        warnings.warn(f"{path}: saved {saved} rows that an earlier recording had left in memory", stacklevel=5)


def _rename(path: Path, reason: str) -> None:
    aside = path.with_name(f"{path.name.removesuffix('.ring')}.orphan-{time.time_ns()}.ring")
    os.rename(path, aside)
    warnings.warn(
        f"a ring of an earlier recording {reason}; it is kept as {aside}, where mullet info shows it", stacklevel=6
    )
