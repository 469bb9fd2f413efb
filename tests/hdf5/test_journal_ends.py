"""Ends that nobody planned, and what must not happen while HDF5 calls into Python."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mulletdaq.hdf5.journal import JournaledFile, undisturbed
from mulletdaq.hdf5.journal.recovery import recover
from tests.waiting import PATIENCE_S

from .journaled import names, opened, read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.h5"


def test_forked_child_keeps_no_lock_and_exits_cleanly(path: Path) -> None:
    body = (
        "import os, sys, h5py\n"
        "from mulletdaq.hdf5.journal import JournaledFile\n"
        "journal = JournaledFile(sys.argv[1])\n"
        "file = h5py.File(journal, 'w')\n"
        "file['x'] = 1\n"
        "journal.commit()\n"
        "file['y'] = 2\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    file['theirs'] = 3\n"
        "    file.flush()\n"
        "    try:\n"
        "        journal.commit()\n"
        "    except OSError:\n"
        "        print('refused', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    sys.exit(7)\n"
        "journal.commit(); file.close(); journal.close()\n"
        "JournaledFile(sys.argv[1]).close()\n"
        "print('free', flush=True)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
    )
    done = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", body, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert done.stdout is not None and done.stdin is not None
    told = {done.stdout.readline().strip(), done.stdout.readline().strip()}
    done.communicate(b"\n", timeout=PATIENCE_S)
    assert told == {b"free", b"refused"} and done.returncode == 0
    assert read(path) == {"x": 1, "y": 2}


ENDS = {
    "nothing more": ("", 0),
    "an exception": ("raise RuntimeError", 1),
    "SystemExit": ("sys.exit(3)", 3),
    "a signal of Ctrl-C": ("os.kill(os.getpid(), 2); import time; time.sleep(60)", -2),
}


@pytest.mark.parametrize("end", ENDS)
def test_ends_that_nobody_closed_leave_the_last_commit(path: Path, end: str) -> None:
    statement, code = ENDS[end]
    body = (
        "import os, sys, h5py, mulletdaq\n"
        "from mulletdaq.hdf5.journal import JournaledFile\n"
        "journal = JournaledFile(sys.argv[1])\n"
        "file = h5py.File(journal, 'w')\n"
        "file['x'] = 1\n"
        "journal.commit()\n"
        "reader = h5py.File(sys.argv[1], 'r')\n"
        "file['y'] = 2\n"
        "journal.commit()\n"
        "newest = mulletdaq.open(sys.argv[1])\n"
        "assert set(newest) == {'x', 'y'}\n"
        "reader.close()\n"
        "file['z'] = 3\n"
        f"{statement}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", body, str(path)], check=False, timeout=PATIENCE_S, stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == code, done.stderr
    recover(path)
    assert read(path) == {"x": 1, "y": 2}
    assert names(path) == ["a.h5"]


@pytest.fixture
def eager_collection() -> Iterator[None]:
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    yield
    gc.set_threshold(*threshold)


@pytest.mark.usefixtures("eager_collection")
def test_garbage_with_hdf5_objects_is_not_collected_inside_hdf5(path: Path) -> None:
    with JournaledFile(path, fsync="never") as journal, opened(journal) as file:
        for number in range(60):
            group = file.create_group(f"g{number}")
            data = group.create_dataset("x", shape=(0,), maxshape=(None,), chunks=(64,), dtype="i8", compression="gzip")
            data.resize((1000,))
            data[:] = np.arange(1000)
            cycle: list[Any] = [group, data]
            cycle.append(cycle)
            del group, data, cycle
            if number % 10 == 9:
                journal.commit()
    with h5py.File(path) as done:
        assert len(done) == 60


def test_ctrl_c_within_a_commit_comes_after_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mulletdaq.hdf5.journal import disk

    write_at = disk.write_at

    def interrupted(fd: int, data: Any, offset: int) -> None:
        signal.raise_signal(signal.SIGINT)
        write_at(fd, data, offset)

    def commit() -> None:
        with undisturbed():
            file["x"] = 1
            journal.commit()

    with JournaledFile(path) as journal, opened(journal) as file:
        with monkeypatch.context() as patch:
            patch.setattr(disk, "write_at", interrupted)
            with pytest.raises(KeyboardInterrupt):
                commit()
        assert journal.last_commit == 1
    assert read(path) == {"x": 1}


@pytest.mark.parametrize("end", ["rollback", "close"])
def test_a_file_that_hdf5_fails_to_close_is_not_touched_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """HDF5 frees such a file, but keeps its id; a read error in the middle of a flush brings it about, now and then."""

    def fail(_: h5py.File) -> None:
        raise OSError("Problems closing file (slist already enabled?)")

    journal = JournaledFile(path)
    file = h5py.File(journal, "w")
    file["x"] = 1
    journal.commit()
    file["y"] = 2
    with monkeypatch.context() as patch:
        patch.setattr(h5py.File, "close", fail)
        journal.rollback() if end == "rollback" else journal.close(commit=False)
    if end == "rollback":
        again = h5py.File(journal, "r+")
        assert list(again) == ["x"]
        journal.close()
        assert not again
    assert read(path) == {"x": 1}
    assert file  # here HDF5 has it still: were it touched again, it would have been closed
    file.close()
