"""What people and programs do to a file under its writer: an error that names it, the ring untouched, no crash."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from mulletdaq.errors import FileLockedError, FileWriteError, JournalMismatchError, WriterError
from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.hdf5.journal.recovery import inspect_journal, recover
from mulletdaq.hdf5.verify import verify
from mulletdaq.ring import RingBuffer

from .judge import look
from .recorded import Recorded
from .roles import eventually, gone

Record = Callable[..., Recorded]


def aside(path: Path) -> Path:
    return path.with_name("aside.h5")


def delete_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def rename_it(path: Path) -> None:
    path.rename(aside(path))


def replace_it(path: Path) -> None:
    path.rename(aside(path))
    with h5py.File(path, "w") as file:
        file["measurements"] = "of somebody else"


def cut_it(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def make_it_anew(path: Path) -> None:
    """h5py says that it is locked, but HDF5 has cut it to nothing before it asks."""
    with pytest.raises(BlockingIOError):
        h5py.File(path, "w")


def write_to_it_without_locks(path: Path) -> None:
    with h5py.File(path, "r+", locking=False) as file:
        file["mine"] = np.arange(100_000)


def put_back(path: Path) -> None:
    aside(path).replace(path)


@pytest.mark.parametrize(
    ("harm", "words", "undo"),
    [
        (delete_folder, "removed or renamed", None),
        (rename_it, "removed or renamed", put_back),
        (replace_it, "replaced", put_back),
        (cut_it, "cut short", None),
        (make_it_anew, "cut short", None),
        (write_to_it_without_locks, "changed by another program", None),
    ],
)
def test_harm_to_the_file_is_named_and_the_ring_keeps_the_rows(
    record: Record,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    harm: Callable[[Path], None],
    words: str,
    undo: Callable[[Path], None] | None,
) -> None:
    recorded = record(flush_interval_s=3600)
    tail = recorded.ring.read_tail
    harm(recorded.path)
    for _ in range(2):
        recorded.write(10)
        with pytest.raises(FileWriteError, match=f"{recorded.path}.*{words}.*the ring keeps"):
            recorded.writer.flush()
    assert recorded.ring.read_tail == tail
    if undo is not None:
        undo(recorded.path)
        recorded.write(10)
        recorded.writer.flush()
        assert recorded.check_end().rows == recorded.row == 40
    else:
        with pytest.raises(FileWriteError, match=words):
            recorded.writer.stop()
        other = tmp_path / "other.h5"
        HDF5Writer(other, recorded.ring).stop()
        run = look(other).runs[1]
        assert run.next_row == recorded.row == 30
        assert verify(other).ok
    told = capfd.readouterr().err
    assert "killed" not in told and "exit code" not in told


@pytest.mark.parametrize("noticed", [True, False], ids=["noticed while it records", "perhaps only at its end"])
def test_a_file_that_is_cut_while_a_reader_keeps_commits_from_it_stays_as_it_is(
    record: Record, capfd: pytest.CaptureFixture[str], noticed: bool
) -> None:
    recorded = record(flush_interval_s=3600)
    with h5py.File(recorded.path):
        recorded.write(10)
        recorded.writer.flush()
        cut_it(recorded.path)
        left = recorded.path.read_bytes()
    if noticed:
        eventually(lambda: "cut short" in recorded.writer.statistics().apply_error, "it is noticed")
    with pytest.raises(FileWriteError, match="cut short"):
        recorded.writer.stop()
    assert recorded.path.read_bytes() == left, "the journal was not laid over it"
    assert "another program reads" not in capfd.readouterr().err
    report = inspect_journal(recorded.path)
    assert (report.state, report.pending_commits) == ("left", 1)
    with pytest.raises(JournalMismatchError, match="shorter than its writer left it"):
        recover(recorded.path)


def test_stock_writers_are_refused_while_it_records(record: Record) -> None:
    recorded = record(flush_interval_s=3600)
    for mode in ("r+", "a"):
        with pytest.raises(BlockingIOError, match="unable to lock"):
            h5py.File(recorded.path, mode)
    if shutil.which("h5clear"):
        done = subprocess.run(["h5clear", "-s", str(recorded.path)], capture_output=True, check=False)
        assert done.returncode != 0
    recorded.write(10)
    recorded.writer.flush()
    assert recorded.check_end().lost_rows == 0


def test_a_second_writer_is_refused_with_the_pid_of_the_first(record: Record, tmp_path: Path) -> None:
    recorded = record()
    words = f"{recorded.path} is being written by process {recorded.writer_pid};"
    with (
        RingBuffer.create(tmp_path / "second.ring", capacity_bytes=1 << 20) as ring,
        pytest.raises(FileLockedError, match=words),
    ):
        HDF5Writer(recorded.path, ring, run_in="thread").start()
    recorded.until(lambda: recorded.writer.statistics().commits > 5, "the first goes on")
    assert recorded.check_end().lost_rows == 0


def test_a_terminated_writer_drains(record: Record) -> None:
    recorded = record(flush_interval_s=3600)
    recorded.write(1000)
    recorded.signal(signal.SIGTERM)
    eventually(lambda: not recorded.writer.alive, "it ends")
    assert recorded.check_end().rows == recorded.row


@pytest.mark.parametrize("asked", [True, False], ids=["asked to flush meanwhile", "left alone"])
def test_a_stopped_writer_tells_of_the_full_ring_when_it_goes_on(
    record: Record, capfd: pytest.CaptureFixture[str], asked: bool
) -> None:
    recorded = record(capacity_bytes=1 << 20, on_full="overwrite", flush_interval_s=0.02, drain_timeout_s=0.2)
    recorded.signal(signal.SIGSTOP)
    try:
        recorded.until(lambda: recorded.ring.statistics().fill > 0.8, "the ring fills", rows=1000)
        if asked:
            with pytest.raises(WriterError, match=r"within 0\.2 s"):
                recorded.writer.flush()
    finally:
        recorded.signal(signal.SIGCONT)
    told = ""

    def hear() -> str:
        nonlocal told
        told += capfd.readouterr().err
        return told

    eventually(lambda: "full again" in hear(), "it tells that the ring was filling")
    assert told.count("full of rows that are not in the file") == 1
    assert recorded.check_end().rows == recorded.row


def test_stop_of_a_stopped_writer_says_that_it_could_not(record: Record) -> None:
    recorded = record(flush_interval_s=3600, drain_timeout_s=0.2)
    pid = recorded.writer_pid
    recorded.signal(signal.SIGSTOP)
    try:
        recorded.write(10)
        with pytest.raises(WriterError, match=r"within 0\.2 s; it goes on by itself, and the ring holds the rows"):
            recorded.writer.stop()
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: gone(pid), "it goes on, and ends")
    assert recorded.check_end().rows == recorded.row == 20
