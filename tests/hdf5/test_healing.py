"""A writer process that dies is replaced by its owner, and nothing is lost or doubled by it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from mulletdaq import errors
from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.hdf5.verify import verify
from mulletdaq.ring import RingBuffer

from .conftest import eventually, rows, stored_rows

MakeRing = Callable[..., RingBuffer]


def kill(writer: HDF5Writer) -> int:
    """Kill the writer's process; wait until another one has its place."""
    pid = writer.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: writer.pid != pid, "there is a new writer")
    return pid


def test_killed_writer_is_replaced_and_every_row_is_there_once(
    path: Path, make_ring: MakeRing, capfd: pytest.CaptureFixture[str]
) -> None:
    ring = make_ring()
    writer = HDF5Writer(path, ring, flush_interval_s=3600)
    writer.start()
    killed = []
    for number in range(3):
        ring.write_arrow_batch(rows(number * 20, 10))
        writer.flush()
        ring.write_arrow_batch(rows(number * 20 + 10, 10))
        killed.append(kill(writer))
        assert writer.alive
    statistics = writer.stop()
    assert statistics.streams[""].run == 1 and statistics.rows_persisted == 60
    assert stored_rows(path) == list(range(60))
    assert verify(path).ok, verify(path).problems
    told = capfd.readouterr().err.splitlines()
    assert [f"(process {pid}) was killed by SIGKILL" in line for pid, line in zip(killed, told, strict=True)] == [
        True
    ] * 3


def test_requests_that_a_dead_writer_had_not_answered_are_answered_by_the_next(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    writer = HDF5Writer(path, ring, flush_interval_s=3600)
    writer.start()
    assert writer.pid is not None
    ring.write_arrow_batch(rows(0, 10))
    os.kill(writer.pid, signal.SIGSTOP)  # it will never read what comes now
    writer.annotate("first", 1, {"": 10})
    writer.annotate("second", 2, {"": 10})
    pid = writer.pid
    os.kill(pid, signal.SIGKILL)
    writer.flush()
    assert stored_rows(path) == list(range(10))
    writer.stop()
    with h5py.File(path) as file:
        assert file["annotations/text"][:].tolist() == [b"first", b"second"]


def test_notes_that_the_dead_writer_had_stored_are_not_doubled(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    writer = HDF5Writer(path, ring, flush_interval_s=3600)
    writer.start()
    writer.annotate("stored", 1, {"": 0})
    ring.write_arrow_batch(rows(0, 10))
    writer.flush()
    # As if the answer that it is stored had been lost with the writer: the owner sends it again.
    service = writer._service
    assert service is not None
    service._unsaved_notes = [service._unsaved_notes[0]] if service._unsaved_notes else [_note()]  # type: ignore[attr-defined]
    kill(writer)
    writer.annotate("stored", 1, {"": 0})  # by the user, twice on purpose
    writer.stop()
    with h5py.File(path) as file:
        assert file["annotations/text"][:].tolist() == [b"stored", b"stored"]


def _note() -> object:
    from mulletdaq.hdf5.messages import Note

    return Note("stored", 1, {"": 0}, number=1)


def test_journal_of_the_dead_is_finished_at_once(path: Path, make_ring: MakeRing) -> None:
    """A reader keeps the writer from applying; the writer dies, the reader goes, a stock tool sees the commit."""
    ring = make_ring()
    writer = HDF5Writer(path, ring, flush_interval_s=3600)
    writer.start()
    with h5py.File(path) as reader:
        ring.write_arrow_batch(rows(0, 10))
        writer.flush()
        assert not len(reader["measurements"])
    eventually(lambda: stored_rows(path) == list(range(10)), "applied once nobody reads")
    with h5py.File(path):
        ring.write_arrow_batch(rows(10, 10))
        writer.flush()
        kill(writer)
    eventually(lambda: stored_rows(path) == list(range(20)), "applied by whoever came after")
    writer.stop()


def test_writer_that_cannot_be_replaced_says_why_and_fails_who_waits(
    path: Path, make_ring: MakeRing, capfd: pytest.CaptureFixture[str]
) -> None:
    ring = make_ring()
    writer = HDF5Writer(path, ring, flush_interval_s=3600)
    writer.start()
    ring.write_arrow_batch(rows(0, 10))
    assert writer.pid is not None
    path.rename(path.with_name("elsewhere.h5"))
    path.write_bytes(b"not HDF5" * 100)
    os.kill(writer.pid, signal.SIGKILL)
    with pytest.raises(errors.FileFormatError, match="not an HDF5 file"):
        writer.stop()
    assert "could not be started again" in capfd.readouterr().err
    assert ring.read_tail == 0, "the ring keeps everything"
    assert path.read_bytes() == b"not HDF5" * 100
