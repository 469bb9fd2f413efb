"""The demonstration: a simulated voltage and opaque bytes, through rings and writers into two plain HDF5 files."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mulletdaq.acquisition import AcquisitionSummary, Progress, acquire, opened
from mulletdaq.errors import FileLockedError, RecordingError
from mulletdaq.extras import needs_extra
from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.pacing import StopFlag
from mulletdaq.recording import record
from mulletdaq.ring import RingBuffer
from mulletdaq.sources.simulated import SimulatedVoltage

with needs_extra("hdf5"):
    import h5py

OUTPUT_NAME = "mullet_demo_output.h5"
RAW_NAME = "mullet_demo_raw.h5"
CREATOR = "mulletdaq demo"

_RING_MB = 8
_RAW_BATCHES = 3
_RAW_MESSAGES_PER_BATCH = 100
_RAW_MESSAGE_BYTES = 64


@dataclass(frozen=True)
class DemoSummary:
    """What a demonstration made.

    Parameters
    ----------
    output, raw
        The two files.
    acquisition
        The paced loop: samples, missed ticks, write latencies.
    batches, lost
        Batches in `output`, and samples that were overwritten before they reached it.
    raw_messages, raw_batches, raw_lost
        The same of the opaque messages in `raw`.
    """

    output: Path
    raw: Path
    acquisition: AcquisitionSummary
    batches: int
    lost: int
    raw_messages: int
    raw_batches: int
    raw_lost: int


def run_demo(
    directory: str | os.PathLike[str] = ".",
    *,
    duration_s: float = 5.0,
    rate_hz: float = 100.0,
    on_progress: Callable[[Progress], None] | None = None,
    stop: StopFlag | None = None,
) -> DemoSummary:
    """Record a simulated voltage into ``mullet_demo_output.h5``, and opaque bytes into ``mullet_demo_raw.h5``.

    Parameters
    ----------
    directory
        Where the two files go. Those of an earlier demonstration are replaced, no others.
    duration_s, rate_hz
        Of the voltage.
    on_progress, stop
        As in `mulletdaq.acquisition.acquire`.

    Raises
    ------
    RecordingError
        If a file of that name is there that no demonstration made. Nothing was changed.
    FileLockedError
        If another process is using such a file. Nothing was changed.
    """
    check_outputs(directory)
    output, raw = Path(directory) / OUTPUT_NAME, Path(directory) / RAW_NAME
    for path in (output, raw):
        path.unlink(missing_ok=True)
    with (
        opened(SimulatedVoltage()) as source,
        record(output, source.channels, ring_capacity_mb=_RING_MB, creator=CREATOR) as recording,
    ):
        acquisition = acquire(
            source,
            recording,
            rate_hz=rate_hz,
            duration_s=duration_s,
            when_late="catch_up",
            on_progress=on_progress,
            stop=stop,
        )
    statistics = recording.statistics()
    raw_messages, raw_batches, raw_lost = _write_raw(raw)
    return DemoSummary(
        output=output,
        raw=raw,
        acquisition=acquisition,
        batches=statistics.batches,
        lost=statistics.rows_lost,
        raw_messages=raw_messages,
        raw_batches=raw_batches,
        raw_lost=raw_lost,
    )


def check_outputs(directory: str | os.PathLike[str]) -> None:
    """Check that the demonstration may write its two files here.

    Raises
    ------
    RecordingError, FileLockedError
        As `run_demo`.
    """
    for name in (OUTPUT_NAME, RAW_NAME):
        _check_replaceable(Path(directory) / name)


def _write_raw(path: Path) -> tuple[int, int, int]:
    """Opaque messages through a ring of their own, the writer working in this thread, flush by flush."""
    with (
        tempfile.TemporaryDirectory(prefix="mullet-demo-") as folder,
        RingBuffer.create(Path(folder) / "raw.ring", capacity_mb=1) as ring,
    ):
        writer = HDF5Writer(path, ring, creator=CREATOR)
        for _ in range(_RAW_BATCHES):
            for _ in range(_RAW_MESSAGES_PER_BATCH):
                ring.write(os.urandom(_RAW_MESSAGE_BYTES))
            writer.flush()
        statistics = writer.stop()
        ring.unlink()
    return statistics.rows_persisted, statistics.batches, statistics.rows_lost


def _check_replaceable(path: Path) -> None:
    if not os.path.lexists(path):
        return
    if not path.is_file() or not _creator(path).startswith(CREATOR):
        raise RecordingError(f"{path} is not a file of an earlier demo, so it stays; move it away or use another --dir")
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileLockedError(
                f"{path} is being used by another process; wait for it or use another --dir"
            ) from None


def _creator(path: Path) -> str:
    try:
        with h5py.File(path, "r") as file:
            creator = file.attrs.get("creator", "")
    except OSError:
        return ""
    return creator.decode("utf-8", "replace") if isinstance(creator, bytes) else str(creator)


__all__ = ["CREATOR", "OUTPUT_NAME", "RAW_NAME", "DemoSummary", "check_outputs", "run_demo"]
