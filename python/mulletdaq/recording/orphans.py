"""Rings that an earlier recording of the same output left behind, because it was killed."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mulletdaq.errors import RecordingError, RingError, RingNotFoundError
from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.recording.output import Mode
from mulletdaq.ring import RingBuffer, ring_path

_DRAIN_WAIT_S = 30.0
_POLL_S = 0.02


def clear_orphans(path: str, names: Mapping[str, str], mode: Mode, writer_options: Mapping[str, Any]) -> None:
    """Make way for new rings, without losing a row of the old ones.

    Parameters
    ----------
    path
        The output file.
    names
        Ring name by stream (``""`` for the only stream).
    mode
        ``"a"``: rows that are not yet in the file are written under their old run. ``"x"``: a ring
        with such rows is renamed, with a warning.

    Raises
    ------
    RecordingError
        If another process is recording to the same file.
    """
    orphans = {stream: ring for stream, name in names.items() if (ring := _open_orphan(path, name)) is not None}
    try:
        left = {stream: ring for stream, ring in orphans.items() if _has_uncommitted(ring)}
        if left and mode == "a":
            _write_out(path, left, writer_options)
        elif left:
            for ring in left.values():
                _rename(Path(ring.path), "holds rows that were not written to a file")
        for stream, ring in orphans.items():
            if mode == "a" or stream not in left:
                ring.unlink()
    finally:
        for ring in orphans.values():
            ring.close()


def _open_orphan(path: str, name: str) -> RingBuffer | None:
    try:
        ring = RingBuffer.open(ring_path(name))
    except RingNotFoundError:
        return None
    except RingError as error:
        _rename(ring_path(name), f"cannot be read ({error})")
        return None
    pid = ring.statistics().producer_pid
    if pid is not None:
        ring.close()
        raise RecordingError(f"process {pid} is recording to {path} already; stop it first, or choose another file")
    _await_sink(path, ring)
    return ring


def _await_sink(path: str, ring: RingBuffer) -> None:
    """The killed recording's writer may still be writing out what the ring holds: that is its job."""
    deadline = time.monotonic() + _DRAIN_WAIT_S
    while (pid := ring.statistics().sink_pid) is not None:
        if time.monotonic() > deadline:
            ring.close()
            raise RecordingError(f"the writer of an earlier recording (pid {pid}) still holds {path}; wait for it")
        time.sleep(_POLL_S)


def _has_uncommitted(ring: RingBuffer) -> bool:
    if ring.content == "none":
        return False
    with ring.cursor(max(ring.read_tail, ring.oldest)) as cursor:
        return cursor.read(1) is not None


def _write_out(path: str, rings: Mapping[str, RingBuffer], writer_options: Mapping[str, Any]) -> None:
    only = rings.get("")
    writer = HDF5Writer(path, rings if only is None else only, run_in="thread", **writer_options)
    before = sum(ring.newest_row for ring in rings.values())
    writer.stop()
    warnings.warn(f"{path}: wrote out what a killed recording had left in memory ({before} rows in all)", stacklevel=4)


def _rename(path: Path, reason: str) -> None:
    aside = path.with_name(f"{path.name.removesuffix('.ring')}.orphan-{time.time_ns()}.ring")
    os.rename(path, aside)
    warnings.warn(
        f"a ring of an earlier recording {reason}; it is kept as {aside}, where mullet info shows it", stacklevel=5
    )
