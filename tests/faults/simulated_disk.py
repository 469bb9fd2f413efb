"""A disk in memory that remembers every operation, so that it can be crashed at any of them, and fail at any call."""

from __future__ import annotations

import enum
import errno
import fcntl
import os
import sys
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from types import FrameType

from tests.faults.operations import (
    Create,
    Forget,
    Image,
    Inode,
    Link,
    Lock,
    Operation,
    Rename,
    Resize,
    Revert,
    Sync,
    SyncDirectory,
    Unlink,
    Write,
)
from tests.faults.platter import Platter

FIRST_INODE_NUMBER = 11


class Fault(enum.Enum):
    """What can go wrong in a system call."""

    SHORT_READ = "half a read"
    SHORT_WRITE = "half a write"
    INTERRUPTED = "EINTR"
    IO_ERROR = "EIO"
    NO_SPACE = "ENOSPC"
    SYNC_REVERTS = "an fsync that fails and drops the unsynced pages"
    SYNC_FORGETS = "an fsync that fails and marks the unsynced pages clean"

    def meets(self, call: str) -> bool:
        """Whether this can happen in a system call of that name."""
        return call in _CALLS[self]


_READS = {"pread", "preadv"}
_WRITES = {"pwrite", "pwritev"}
_SYNCS = {"fsync", "fdatasync"}
_GROWING = _WRITES | {"posix_fallocate", "ftruncate", "link", "rename", "creat"}
_CALLS = {
    Fault.SHORT_READ: _READS,
    Fault.SHORT_WRITE: _WRITES,
    Fault.INTERRUPTED: _READS | _WRITES | _SYNCS | {"posix_fallocate", "ftruncate", "open", "creat", "flock"},
    Fault.IO_ERROR: _READS | _GROWING | _SYNCS | {"open", "unlink", "stat", "fstat", "listdir"},
    Fault.NO_SPACE: _GROWING | _SYNCS,
    Fault.SYNC_REVERTS: _SYNCS,
    Fault.SYNC_FORGETS: _SYNCS,
}
_ERRNOS = {Fault.INTERRUPTED: errno.EINTR, Fault.IO_ERROR: errno.EIO, Fault.NO_SPACE: errno.ENOSPC}


def failure(number: int, name: str | None = None) -> OSError:
    """The error that the kernel's number becomes in Python, of the right subclass."""
    return OSError(number, os.strerror(number), name) if name else OSError(number, os.strerror(number))


@dataclass(frozen=True, slots=True)
class Promise:
    """What holds after a crash.

    Attributes
    ----------
    least, most
        How many commits must be in the file, and how many there may be.
    exact
        Digest of the whole disk, if nothing may have changed any more.
    """

    least: int
    most: int
    exact: bytes | None = None


@dataclass(eq=False, slots=True)
class Description:
    """An open file description: what a lock belongs to."""

    inode: int
    flags: int
    lock: int = fcntl.LOCK_UN


@dataclass(frozen=True, slots=True)
class _Planned:
    fault: Fault
    call: int
    lasting: bool


class SimulatedDisk:
    """One directory of files, as the page cache has it.

    Parameters
    ----------
    origin
        What is on the platter before the first operation.
    directory
        The only directory there is.
    site_of
        Names the place in the program that asks for an fsync, from the caller's stack and what is synced.

    Attributes
    ----------
    now
        What every program sees.
    log
        All that was done so far. What a crash leaves of it is worked out by :mod:`tests.faults.crashes`.
    calls
        Name of each system call so far, failed ones included.
    sites
        Places that asked for an fsync.
    ignored_site
        The place whose fsyncs do nothing.
    read_by_others
        Whether stock readers hold the file of that name at this attempt to lock it.
    opened_at
        How many operations there were when the last writer had opened the file.
    descriptions
        What all processes have open; their locks.
    """

    def __init__(
        self,
        origin: Image | None = None,
        *,
        directory: str = "/data",
        site_of: Callable[[FrameType, str], str] | None = None,
    ) -> None:
        self.directory = directory
        self.origin = Image() if origin is None else origin
        self.now = self.origin.copy()
        self.log: list[Operation] = []
        self.calls: list[str] = []
        self.sites: set[str] = set()
        self.ignored_site: str | None = None
        self.read_by_others: Callable[[str], bool] = lambda name: False
        self.opened_at = 0
        self.descriptions: set[Description] = set()
        self._site_of = site_of or _innermost
        self._platter = Platter(self.origin)
        self._next_inode = max(self.now.inodes, default=0) + 1
        self._time = max((node.modified for node in self.now.inodes.values()), default=0)
        self._drawn = 0
        self._promises = [(0, Promise(0, 0))]
        self._planned: _Planned | None = None
        self._meanwhile: tuple[int, Callable[[], None]] | None = None
        self._exclusive: set[int] = set()

    # What is promised

    def promise(self, least: int, most: int, *, exactly_this: bool = False) -> None:
        """From here on at least and at most so many commits must be found after a crash, or exactly what there is."""
        self._promises.append((len(self.log), Promise(least, most, self.now.digest() if exactly_this else None)))

    def promised(self, point: int) -> Promise:
        """What holds after a crash once `point` operations were done."""
        return self._promises[bisect_right(self._promises, point, key=lambda entry: entry[0]) - 1][1]

    # What goes wrong

    def fail(self, fault: Fault, call: int, *, lasting: bool = False) -> None:
        """Have a system call, counted from now, meet a fault; if lasting, all later ones that can."""
        self._planned = _Planned(fault, len(self.calls) + call, lasting)

    def work_again(self) -> None:
        """No faults from here on."""
        self._planned = None

    def meanwhile(self, call: int, action: Callable[[], None]) -> None:
        """Before a system call, counted from now, have another process do something; the last one told holds."""
        self._meanwhile = len(self.calls) + call, action

    def enter(self, call: str) -> Fault | None:
        """Count a system call; the fault that it meets on its way, if any.

        Raises
        ------
        OSError
            If it fails before anything is done.
        """
        if self._meanwhile is not None and len(self.calls) == self._meanwhile[0]:
            _, action = self._meanwhile
            self._meanwhile = None
            action()
        number = len(self.calls)
        self.calls.append(call)
        planned = self._planned
        if planned is None or number < planned.call or not planned.fault.meets(call):
            return None
        if number > planned.call and not planned.lasting:
            return None
        if planned.fault in _ERRNOS:
            raise failure(_ERRNOS[planned.fault])
        return planned.fault

    # What is done

    def create(self, name: str) -> int:
        """Make an empty file; its inode."""
        inode = self._next_inode
        self._next_inode += 1
        self._do(Create(inode, name, self._free_number()))
        return inode

    def write(self, inode: int, offset: int, data: bytes) -> None:
        """Put bytes into the page cache."""
        if data:
            self._do(Write(inode, offset, data, self._tick()))

    def resize(self, inode: int, size: int) -> None:
        """Cut or lengthen."""
        self._do(Resize(inode, size, self._tick()))

    def sync(self, inode: int, fault: Fault | None) -> None:
        """Bring a file's content to the platter, unless a fault keeps it from there."""
        if self._is_ignored(self.name_of(inode)):
            return
        match fault:
            case Fault.SYNC_REVERTS:
                left = bytes(self._platter.durable.inodes[inode].content)
                size = self._platter.size_of(inode)
                self._do(Revert(inode, left[:size].ljust(size, b"\0")))
            case Fault.SYNC_FORGETS:
                self._do(Forget(inode))
            case _:
                self._do(Sync(inode))
                return
        raise failure(errno.EIO)

    def sync_directory(self, fault: Fault | None) -> None:
        """Bring the names to the platter, unless a fault keeps them from there."""
        if self._is_ignored(self.directory):
            return
        if fault is not None:
            raise failure(errno.EIO)
        self._do(SyncDirectory())

    def link(self, old: str, new: str) -> None:
        """Give a file another name."""
        self._do(Link(self.now.names[old], new))

    def unlink(self, name: str) -> None:
        """Take a name away."""
        self._do(Unlink(self.now.names[name], name))

    def rename(self, old: str, new: str) -> None:
        """Replace a name by another."""
        self._do(Rename(self.now.names[old], old, new))

    def note_lock(self, inode: int, exclusive: bool) -> None:
        """Remember who could look at the file from here on."""
        self._do(Lock(inode, exclusive))

    # What there is

    def node(self, inode: int) -> Inode:
        """A file's content, number and time of modification."""
        return self.now.inodes[inode]

    def is_exclusive(self, name: str) -> bool:
        """Whether a process holds the file so that no other may look at it."""
        return self.now.names.get(name) in self._exclusive

    def name_of(self, inode: int) -> str:
        """A name of the file, the shortest of several; empty when it has none."""
        return min((name for name, other in self.now.names.items() if other == inode), key=len, default="")

    def content(self, name: str) -> bytes | None:
        """What another program reads from the file of that name, if there is one."""
        inode = self.now.names.get(name)
        return None if inode is None else bytes(self.now.inodes[inode].content)

    def points(self, begin: int = 0) -> list[int]:
        """Numbers of operations between which a power cut makes a difference: locks leave nothing."""
        end = len(self.log)
        return [point for point in range(begin, end) if not point or not isinstance(self.log[point - 1], Lock)] + [end]

    def random_bytes(self, count: int) -> bytes:
        """Bytes that never come again on this disk and those after it, and are the same in every run."""
        self._drawn += 1
        return Random(self._drawn).randbytes(count)

    # After a crash

    def killed(self, point: int, part: int | None = None) -> SimulatedDisk:
        """The disk after a kill that left `point` operations done, and `part` bytes of the next, a write.

        The page cache outlives the process: what was not synced is still there, and still not on the platter.
        """
        disk = self._restarted(self.origin)
        disk._next_inode = self._next_inode
        disk.opened_at = self.opened_at
        disk._promises = [entry for entry in self._promises if entry[0] <= point]
        for operation in self.log[:point]:
            disk._do(operation)
        if part is not None:
            write = self.log[point]
            assert isinstance(write, Write)
            disk._do(Write(write.inode, write.offset, write.data[:part], write.time))
        return disk

    def rebooted(self, image: Image, point: int) -> SimulatedDisk:
        """The disk after a power cut that left `image` of the first `point` operations."""
        disk = self._restarted(image)
        disk._promises = [(0, self.promised(point))]
        return disk

    def _restarted(self, origin: Image) -> SimulatedDisk:
        disk = SimulatedDisk(origin, directory=self.directory, site_of=self._site_of)
        disk.ignored_site = self.ignored_site
        disk._time = self._time
        disk._drawn = self._drawn
        return disk

    def _do(self, operation: Operation) -> None:
        self.log.append(operation)
        self.now.apply(operation)
        self._platter.apply(operation)
        if isinstance(operation, Lock):
            (self._exclusive.add if operation.exclusive else self._exclusive.discard)(operation.inode)

    def _tick(self) -> int:
        self._time += 1
        return self._time

    def _free_number(self) -> int:
        """The lowest that no file has, named or open: file systems give numbers again at once."""
        living = set(self.now.names.values()) | {description.inode for description in self.descriptions}
        taken = {node.number for inode, node in self.now.inodes.items() if inode in living}
        return next(number for number in range(FIRST_INODE_NUMBER, sys.maxsize) if number not in taken)

    def _is_ignored(self, target: str) -> bool:
        site = self._site_of(sys._getframe(1), os.path.basename(target))
        self.sites.add(site)
        return site == self.ignored_site


def _innermost(frame: FrameType, target: str) -> str:
    """The function outside this package's own disk that asked, and for what."""
    caller: FrameType | None = frame
    while caller is not None and caller.f_globals["__name__"] in ("tests.faults.simulated_disk", "tests.faults.system"):
        caller = caller.f_back
    return f"{caller.f_code.co_name if caller else ''} {target}"
