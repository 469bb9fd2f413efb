"""The processes of a storm: who produces, who writes, who does both; all say how far they are, line by line."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

import mulletdaq
from mulletdaq.errors import FileMissingError
from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.recording import recover_recording
from mulletdaq.ring import RingBuffer
from mulletdaq.schema import Channel
from tests import waiting

from .nursery import Nursery

CHANNELS = [Channel("row", dtype="int64"), Channel("half", "V")]
SESSION_CHANNELS = [Channel("row", dtype="int64"), Channel("session", dtype="int32")]
eventually = partial(waiting.eventually, poll_s=0.002)

_LARGEST_BLOCK = 100
_LONGEST_PAUSE_S = 0.004
_TELL_S = 0.002

RunIn = Literal["process", "thread"]


# ---- what runs in a process of its own


class Asked:
    """Whether it is time to end: asked by SIGTERM, or the storm is gone."""

    def __init__(self) -> None:
        self.to_end = False
        self._parent = os.getppid()
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_: object) -> None:
        self.to_end = True

    def __bool__(self) -> bool:
        return self.to_end or os.getppid() != self._parent


def say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def produce(ring_path: str) -> None:
    """Rows that tell their number, one by one and in blocks, until the end."""
    asked = Asked()
    chosen = np.random.default_rng()
    with RingBuffer.open(ring_path) as ring, ring.producer(CHANNELS) as producer:
        say(ready=True)
        while not asked:
            write_some(producer.row, int(chosen.integers(1, _LARGEST_BLOCK)), producer.append, producer.append_block)
            time.sleep(chosen.random() * _LONGEST_PAUSE_S)


def write_some(row: int, count: int, append: Callable[..., None], append_block: Callable[..., None]) -> None:
    """Write the rows from ``row`` on."""
    if count < _LARGEST_BLOCK // 3:
        for one in range(row, row + count):
            append(one, one * 0.5, timestamp_ns=one)
    else:
        rows = np.arange(row, row + count)
        append_block(rows, rows * 0.5, timestamps_ns=rows)


def own(path: str, ring_path: str, options: str) -> None:
    """Own a writer in its own process, and tell of it."""
    asked = Asked()
    with RingBuffer.open(ring_path) as ring:
        writer = HDF5Writer(path, ring, **json.loads(options))
        writer.start()
        while not asked:
            _tell(writer)
            time.sleep(_TELL_S)
        writer.stop()
        _tell(writer)


def do_both(path: str, ring_path: str, options: str) -> None:
    """Produce, and own the writer."""
    asked = Asked()
    chosen = np.random.default_rng()
    with RingBuffer.open(ring_path) as ring, ring.producer(CHANNELS) as producer:
        writer = HDF5Writer(path, ring, **json.loads(options))
        writer.start()
        while not asked:
            _tell(writer)
            write_some(producer.row, int(chosen.integers(1, _LARGEST_BLOCK)), producer.append, producer.append_block)
            time.sleep(chosen.random() * _LONGEST_PAUSE_S)
        writer.stop()
        _tell(writer)


def _tell(writer: HDF5Writer) -> None:
    counts = writer.statistics()
    stream = counts.streams.get("")
    if stream is not None:
        say(pid=writer.pid, next_row=stream.next_row, rows=stream.rows_persisted, commits=counts.commits)


def record(path: str, session: str, options: str) -> None:
    """One session of a recording that goes on in the same file; it ends as asked."""
    asked = Asked()
    chosen = np.random.default_rng()
    number, row = int(session), 0
    with mulletdaq.record(path, SESSION_CHANNELS, mode="a", **json.loads(options)) as recording:
        while not asked:
            say(rows=recording.statistics().rows_persisted, written=row)
            for one in range(row, row + int(chosen.integers(1, _LARGEST_BLOCK))):
                recording.write_measurement(one, number, timestamp_ns=one)
                row = one + 1
            time.sleep(chosen.random() * _LONGEST_PAUSE_S)


def recover(path: str) -> None:
    """Recover a recording, and see that once is enough; say whether there was any."""
    with suppress(FileMissingError):
        recover_recording(path)
        again = recover_recording(path, dry_run=True)
        assert again.healthy, again.lines()


# ---- how the storm sees it


class Role:
    """A process of a storm, leader of a process group of its own.

    Attributes
    ----------
    told
        The newest line that it printed.
    """

    def __init__(self, nursery: Nursery, errors: Path, *words: object, module: str = "roles") -> None:
        self.words = [str(word) for word in words]
        self.told: dict[str, Any] = {}
        readable, writable = os.pipe()
        with errors.open("ab") as stderr:
            self.pid = nursery.bear(module, self.words, writable, stderr.fileno())
        os.close(writable)
        self._reader = threading.Thread(target=self._read, args=(readable,), daemon=True)
        self._reader.start()

    def _read(self, readable: int) -> None:
        with open(readable, "rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):  # the last one may be cut short
                    self.told = json.loads(line)

    def freeze(self) -> None:
        """Stop it until :meth:`thaw`."""
        os.kill(self.pid, signal.SIGSTOP)
        eventually(lambda: state_of(self.pid) in "TZ", f"{self.words} is stopped")

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill this process alone; returns when it is gone."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._wait()

    def kill_group(self) -> None:
        """Kill it and all that it started; returns when they are gone."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        eventually(lambda: not group_alive(self.pid), f"the group of {self.words} is gone")
        self._wait()

    def end(self) -> None:
        """Ask it to end in good order."""
        os.kill(self.pid, signal.SIGTERM)
        self.await_end()

    def await_end(self) -> None:
        """Wait until it has ended in good order by itself."""
        self._wait()
        assert self.told.get("ended"), f"{self.words[0]} ended badly, see its errors"

    def _wait(self) -> None:
        eventually(lambda: gone(self.pid), f"{self.words} is gone")
        self._reader.join()


@contextmanager
def all_gone(roles: list[Role]) -> Iterator[None]:
    """End what is left of every process, however this ends."""
    try:
        yield
    finally:
        for role in roles:
            role.kill_group()


def state_of(pid: int) -> str:
    """The state letter of a process; Z when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def gone(pid: int) -> bool:
    """Whether a process has ended, with all its threads: the last of them lets go of files and locks."""
    try:
        return state_of(pid) in "ZX" and len(os.listdir(f"/proc/{pid}/task")) <= 1
    except FileNotFoundError:
        return True


def group_alive(pgid: int) -> bool:
    """Whether anything of a process group still runs."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                group = int((entry / "stat").read_text().rpartition(") ")[2].split()[2])
                if group == pgid and not gone(int(entry.name)):
                    return True
    return False


def main(words: list[str]) -> None:
    """Play a role to its end, in a process of its own."""
    roles: dict[str, Callable[..., None]]
    roles = {"produce": produce, "own": own, "both": do_both, "record": record, "recover": recover}
    roles[words[0]](*words[1:])
    say(ended=True)
