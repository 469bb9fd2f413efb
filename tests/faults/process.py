"""A process that has a journaled file on a simulated disk: its system calls, its clock, the names of its fsyncs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any

import mulletdaq.hdf5.journal
from mulletdaq.hdf5.journal import disk as system_calls
from tests.faults.simulated_disk import SimulatedDisk
from tests.faults.system import SimulatedFcntl, SimulatedOs

FILE = "/data/recording.h5"
_PACKAGE = mulletdaq.hdf5.journal.__name__


class Clock:
    """A clock on which waiting takes no time."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def monotonic(self) -> float:
        """Seconds since the process began, all of them slept."""
        return self._seconds

    def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self._seconds += seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


class Process:
    """One of those that use a disk; what it opened is its own, the locks on it are everybody's."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self.system = SimulatedOs(disk)
        self._locks = SimulatedFcntl(self.system)
        self._stands_in = {"os": self.system, "fcntl": self._locks}
        self._clock = Clock()

    def lock_shared(self, descriptor: int) -> None:
        """What a stock reader does on opening."""
        self._locks.flock(descriptor, self._locks.LOCK_SH | self._locks.LOCK_NB)

    @contextmanager
    def running(self) -> Iterator[SimulatedOs]:
        """Have the journal's modules work for this process; another may run in between."""
        waiting = [
            module for name, module in sys.modules.items() if name.startswith(_PACKAGE) and "time" in vars(module)
        ]
        before = [(system_calls, name, getattr(system_calls, name)) for name in self._stands_in]
        before += [(module, "time", vars(module)["time"]) for module in waiting]
        try:
            for name, stand_in in self._stands_in.items():
                setattr(system_calls, name, stand_in)
            for module in waiting:
                vars(module)["time"] = self._clock
            yield self.system
        finally:
            for module, name, value in before:
                setattr(module, name, value)


def process(disk: SimulatedDisk) -> AbstractContextManager[SimulatedOs]:
    """A new process, running; its descriptions tell what it left open."""
    return Process(disk).running()


def new_disk() -> SimulatedDisk:
    """An empty disk that names the journal's fsyncs by function and by what is synced."""
    return SimulatedDisk(site_of=_site)


def _site(frame: FrameType, target: str) -> str:
    caller: FrameType | None = frame
    while caller is not None:
        name = caller.f_globals["__name__"]
        if name.startswith(_PACKAGE) and name != system_calls.__name__ and "sync" not in caller.f_code.co_name:
            return f"{caller.f_code.co_name}: {_kind(target)}"
        caller = caller.f_back
    return f"elsewhere: {target}"


def _kind(target: str) -> str:
    name = FILE.rpartition("/")[2]
    if target in (name, f"{name}-journal-first"):
        return "file"
    return {f"{name}-journal": "journal", f"{name}-journal-new": "new journal"}.get(target, "folder")
