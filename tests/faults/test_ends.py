"""Ends of a process that closed nothing: no signal, whole files, no journal, nothing held by its children."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import pytest

import mulletdaq
from mulletdaq.hdf5.journal.recovery import recover
from mulletdaq.hdf5.verify import verify
from tests.waiting import PATIENCE_S

from .judge import look
from .roles import eventually, gone

PACKAGE_FOLDER = str(Path(mulletdaq.__path__[0]).parent)

EVERYTHING_OPEN = f"""
import multiprocessing, os, signal, sys, time
sys.path.insert(0, {PACKAGE_FOLDER!r})
import h5py, numpy as np, pyarrow as pa
import mulletdaq as mullet
from mulletdaq.hdf5.journal import JournaledFile, undisturbed

journal = JournaledFile("journaled.h5")
file = h5py.File(journal, "w")
file["x"] = 1
journal.commit()
file["y"] = 2

held = JournaledFile("held.h5")
held_file = h5py.File(held, "w")
held_file["x"] = 1
held.commit()
with h5py.File("held.h5"):
    held_file["y"] = 2
    held.commit()
    overlaid = mullet.open("held.h5")
assert overlaid["y"][()] == 2 and held.pending

ring = mullet.RingBuffer.create("a.ring", capacity_bytes=1 << 20)
writer = mullet.HDF5Writer("threaded.h5", ring, run_in="thread", flush_interval_s=0.001, poll_interval_s=0.001)
writer.start()
row = 0

def write(count):
    global row
    rows = np.arange(row, row + count)
    ring.write_arrow_batch(pa.record_batch([rows, rows], names=["timestamp", "row"]))
    row += count

write(100)
print("ready", flush=True)
"""

ENDS = {
    "the last line": ("", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "an exception": ("1 / 0", 1),
    "Ctrl-C": ("time.sleep(600)", -signal.SIGINT),
    "fork": (
        "child = os.fork()\nif child: sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\nsys.exit(7)",
        7,
    ),
    "multiprocessing": (
        "process = multiprocessing.get_context('fork').Process(target=len, args=([],))\n"
        "process.start(); process.join(); sys.exit(process.exitcode)",
        0,
    ),
}
BUSY = """
while True:
    write(7)
    with undisturbed():
        file.require_dataset("z", (10,), "i8")[:] = row
    journal.commit()
    with mullet.open("held.h5") as other:
        assert other["x"][()] == 1
"""


class Script:
    """A script that leaves everything open."""

    def __init__(self, folder: Path, end: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-W", "ignore", "-c", EVERYTHING_OPEN + textwrap.dedent(end)],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def read_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def interrupt_after(self, delay_s: float) -> None:
        """Press Ctrl-C, if it is not too late."""
        time.sleep(delay_s)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def ends_within(self, time_s: float) -> bool:
        """Whether it has ended."""
        try:
            self.process.wait(time_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self) -> tuple[int, str]:
        """Its exit code, and what it complained of."""
        _, errors = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, errors


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[str], Script]]:
    scripts: list[Script] = []

    def start(end: str) -> Script:
        scripts.append(Script(tmp_path, end))
        assert scripts[-1].read_line() == "ready"
        return scripts[-1]

    yield start
    for script in scripts:
        if script.process.poll() is None:
            os.killpg(script.process.pid, signal.SIGKILL)
        script.process.communicate()


def check(folder: Path) -> None:
    """Every file is whole and alone; what was committed is there, what was not is not."""
    assert not list(folder.glob("*-journal*"))
    with h5py.File(folder / "journaled.h5") as file:
        assert "x" in file and "y" not in file
    with h5py.File(folder / "held.h5") as file:
        assert set(file) == {"x", "y"}
    found = look(folder / "threaded.h5")
    assert found.state == "untouched", found.why
    with mulletdaq.RingBuffer.open(folder / "a.ring") as ring:
        assert found.runs[1].next_row == ring.newest_row >= 100
    assert verify(folder / "threaded.h5").ok


@pytest.mark.parametrize("end", ENDS)
def test_an_end_that_closed_nothing(tmp_path: Path, run: Callable[[str], Script], end: str) -> None:
    body, code = ENDS[end]
    script = run(body)
    if end == "Ctrl-C":
        script.process.send_signal(signal.SIGINT)
    assert script.end()[0] == code
    check(tmp_path)


@pytest.mark.parametrize("seed", range(3))
def test_ctrl_c_in_the_middle_of_everything(tmp_path: Path, run: Callable[[str], Script], seed: int) -> None:
    script = run(BUSY)
    script.interrupt_after(random.Random(seed).random() * 0.3)
    while not script.ends_within(10):  # Python drops the exception of a Ctrl-C within a callback of its own
        script.interrupt_after(0)
    code, errors = script.end()
    assert code == -signal.SIGINT, errors
    assert "Fatal" not in errors
    forget_what_was_busy(tmp_path)
    check(tmp_path)


def test_ctrl_c_pressed_again_while_it_ends(tmp_path: Path, run: Callable[[str], Script]) -> None:
    """Impatience may keep it from putting things away, not from leaving them whole."""
    script = run(BUSY)
    chosen = random.Random(1)
    while not script.ends_within(0):
        script.interrupt_after(chosen.random() * 0.05)
    code, errors = script.end()
    assert code == -signal.SIGINT, errors
    assert "Fatal" not in errors
    heal(tmp_path)
    forget_what_was_busy(tmp_path)
    check(tmp_path)


def forget_what_was_busy(folder: Path) -> None:
    with h5py.File(folder / "journaled.h5", "r+") as file:
        if "z" in file:  # then y was committed with it
            del file["y"]


def heal(folder: Path) -> None:
    for name in ("journaled.h5", "held.h5", "threaded.h5"):
        recover(folder / name)
    with mulletdaq.RingBuffer.open(folder / "a.ring") as ring:
        mulletdaq.HDF5Writer(folder / "threaded.h5", ring).stop()


def test_a_child_of_a_killed_process_holds_nothing(tmp_path: Path, run: Callable[[str], Script]) -> None:
    script = run("overlaid.close()\nchild = os.fork()\nif child: print(child, flush=True)\nsys.stdin.readline()")
    child = int(script.read_line())
    os.kill(script.process.pid, signal.SIGKILL)
    script.process.wait()
    heal(tmp_path)
    check(tmp_path)
    assert not gone(child)
    script.process.communicate("\n")
    eventually(lambda: gone(child), "the child ends too")
    check(tmp_path)
