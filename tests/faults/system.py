"""One process's ``os`` and ``fcntl`` over a simulated disk: descriptors, locks, and the kernel's errors."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from tests.faults.simulated_disk import Description, Fault, SimulatedDisk, failure

DIRECTORY_INODE = 0
DEVICE = 64769
_FIRST_DESCRIPTOR = 1000  # beyond those of this process: a mix-up fails at once
_ACCESS = os.O_RDONLY | os.O_WRONLY | os.O_RDWR
_PURE = (
    "getpid",
    "getppid",
    "fspath",
    "fsencode",
    "fsdecode",
    "strerror",
    "sep",
    "error",
    "getuid",
    "geteuid",
)
_PURE_PATH = ("dirname", "basename", "join", "abspath", "normpath", "split", "splitext", "isabs", "commonpath")


@dataclass(frozen=True, slots=True)
class Status:
    """What ``stat`` tells."""

    st_mode: int
    st_ino: int
    st_size: int
    st_nlink: int
    st_mtime_ns: int
    st_dev: int = DEVICE
    st_uid: int = os.getuid()
    st_gid: int = os.getgid()

    @property
    def st_mtime(self) -> float:
        """The time of modification in seconds."""
        return self.st_mtime_ns / 1e9

    @property
    def st_ctime_ns(self) -> int:
        """The time of change, which is the same here."""
        return self.st_mtime_ns


class SimulatedOs:
    """What a module finds under the name ``os``; calls that it lacks are not simulated and raise AttributeError."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self.disk = disk
        self.descriptions: dict[int, Description] = {}
        self._next_descriptor = _FIRST_DESCRIPTOR
        self.urandom = disk.random_bytes
        for name in _PURE:
            setattr(self, name, getattr(os, name))
        self.path = SimpleNamespace(
            **{name: getattr(os.path, name) for name in _PURE_PATH},
            realpath=lambda name, strict=False: os.path.abspath(name),
            exists=lambda name: self._is_there(name),
            lexists=lambda name: self._is_there(name),
            isdir=lambda name: self._name(name) == disk.directory,
            isfile=lambda name: self._name(name) in disk.now.names,
            islink=lambda name: False,
            getsize=lambda name: self.stat(name).st_size,
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("O_", "SEEK_")):
            return getattr(os, name)
        raise AttributeError(f"os.{name} is not simulated")

    # Descriptors

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        name = self._name(path)
        self._require_folder(name)
        is_new = name not in self.disk.now.names and name != self.disk.directory and bool(flags & os.O_CREAT)
        self.disk.enter("creat" if is_new else "open")
        if name == self.disk.directory:
            if flags & _ACCESS != os.O_RDONLY:
                raise failure(errno.EISDIR, name)
            return self._describe(DIRECTORY_INODE, flags)
        if is_new:
            return self._describe(self.disk.create(name), flags)
        if flags & os.O_DIRECTORY:
            raise failure(errno.ENOENT if name not in self.disk.now.names else errno.ENOTDIR, name)
        if flags & os.O_CREAT and flags & os.O_EXCL:
            raise failure(errno.EEXIST, name)
        inode = self._inode(name)
        if flags & os.O_TRUNC:
            self.disk.resize(inode, 0)
        return self._describe(inode, flags)

    def close(self, descriptor: int) -> None:
        self.disk.enter("close")
        description = self._description(descriptor)
        if description.lock != fcntl.LOCK_UN:
            self.disk.note_lock(description.inode, exclusive=False)
        self.disk.descriptions.remove(description)
        del self.descriptions[descriptor]

    # Content

    def pread(self, descriptor: int, count: int, offset: int) -> bytes:
        fault = self.disk.enter("pread")
        return self._read(descriptor, count, offset, fault)

    def preadv(self, descriptor: int, buffers: Sequence[Any], offset: int, flags: int = 0) -> int:
        views = [memoryview(buffer).cast("B") for buffer in buffers]
        fault = self.disk.enter("preadv")
        data = self._read(descriptor, sum(map(len, views)), offset, fault)
        done = 0
        for view in views:
            part = data[done : done + len(view)]
            view[: len(part)] = part
            done += len(part)
        return done

    def pwrite(self, descriptor: int, data: Any, offset: int) -> int:
        fault = self.disk.enter("pwrite")
        return self._write(descriptor, bytes(memoryview(data).cast("B")), offset, fault)

    def pwritev(self, descriptor: int, buffers: Sequence[Any], offset: int, flags: int = 0) -> int:
        fault = self.disk.enter("pwritev")
        data = b"".join(memoryview(buffer).cast("B") for buffer in buffers)
        return self._write(descriptor, data, offset, fault)

    def ftruncate(self, descriptor: int, length: int) -> None:
        self.disk.enter("ftruncate")
        self.disk.resize(self._writable(descriptor, otherwise=errno.EINVAL), length)

    def posix_fallocate(self, descriptor: int, offset: int, length: int) -> None:
        self.disk.enter("posix_fallocate")
        inode = self._writable(descriptor)
        if offset < 0 or length <= 0:
            raise failure(errno.EINVAL)
        if offset + length > len(self.disk.node(inode).content):
            self.disk.resize(inode, offset + length)

    def fsync(self, descriptor: int) -> None:
        self._sync("fsync", descriptor)

    def fdatasync(self, descriptor: int) -> None:
        self._sync("fdatasync", descriptor)

    # Names

    def fstat(self, descriptor: int) -> Status:
        self.disk.enter("fstat")
        return self._status(self._description(descriptor).inode)

    def stat(self, path: str | int, *, follow_symlinks: bool = True) -> Status:
        self.disk.enter("stat")
        if isinstance(path, int):
            return self._status(self._description(path).inode)
        name = self._name(path)
        return self._status(DIRECTORY_INODE if name == self.disk.directory else self._inode(name))

    def lstat(self, path: str) -> Status:
        return self.stat(path)

    def listdir(self, path: str) -> list[str]:
        self.disk.enter("listdir")
        if self._name(path) != self.disk.directory:
            raise failure(errno.ENOENT, path)
        return [os.path.basename(name) for name in self.disk.now.names]

    def link(self, source: str, target: str, *, follow_symlinks: bool = True) -> None:
        self.disk.enter("link")
        old, new = self._name(source), self._name(target)
        self._inode(old)
        if new in self.disk.now.names:
            raise failure(errno.EEXIST, new)
        self.disk.link(old, new)

    def unlink(self, path: str) -> None:
        self.disk.enter("unlink")
        name = self._name(path)
        self._inode(name)
        self.disk.unlink(name)

    def rename(self, source: str, target: str) -> None:
        self.disk.enter("rename")
        old, new = self._name(source), self._name(target)
        if self._inode(old) != self.disk.now.names.get(new):  # two names of one file: POSIX does nothing
            self.disk.rename(old, new)

    def replace(self, source: str, target: str) -> None:
        self.rename(source, target)

    # What the calls share

    def description(self, descriptor: int) -> Description:
        """For locks."""
        return self._description(descriptor)

    def _describe(self, inode: int, flags: int) -> int:
        self._next_descriptor += 1
        self.descriptions[self._next_descriptor] = description = Description(inode, flags)
        self.disk.descriptions.add(description)
        return self._next_descriptor

    def _description(self, descriptor: int) -> Description:
        if descriptor not in self.descriptions:
            raise failure(errno.EBADF)
        return self.descriptions[descriptor]

    def _writable(self, descriptor: int, otherwise: int = errno.EBADF) -> int:
        description = self._description(descriptor)
        if description.inode == DIRECTORY_INODE or description.flags & _ACCESS == os.O_RDONLY:
            raise failure(otherwise)
        return description.inode

    def _read(self, descriptor: int, count: int, offset: int, fault: Fault | None) -> bytes:
        description = self._description(descriptor)
        if description.flags & _ACCESS == os.O_WRONLY:
            raise failure(errno.EBADF)
        if description.inode == DIRECTORY_INODE:
            raise failure(errno.EISDIR)
        if count < 0 or offset < 0:
            raise failure(errno.EINVAL)
        data = bytes(memoryview(self.disk.node(description.inode).content)[offset : offset + count])
        return data[: max(1, len(data) // 2)] if fault is Fault.SHORT_READ else data

    def _write(self, descriptor: int, data: bytes, offset: int, fault: Fault | None) -> int:
        inode = self._writable(descriptor)
        if offset < 0:
            raise failure(errno.EINVAL)
        if fault is Fault.SHORT_WRITE:
            data = data[: max(1, len(data) // 2)]
        self.disk.write(inode, offset, data)
        return len(data)

    def _sync(self, call: str, descriptor: int) -> None:
        fault = self.disk.enter(call)
        inode = self._description(descriptor).inode
        if inode == DIRECTORY_INODE:
            self.disk.sync_directory(fault)
        else:
            self.disk.sync(inode, fault)

    def _status(self, inode: int) -> Status:
        if inode == DIRECTORY_INODE:
            return Status(stat.S_IFDIR | 0o755, 2, 4096, 2, 0)
        node = self.disk.node(inode)
        names = sum(other == inode for other in self.disk.now.names.values())
        return Status(stat.S_IFREG | 0o644, node.number, len(node.content), names, node.modified * 1_000_000)

    def _name(self, path: str) -> str:
        return os.path.abspath(os.fspath(path))

    def _require_folder(self, name: str) -> None:
        if name != self.disk.directory and os.path.dirname(name) != self.disk.directory:
            raise failure(errno.ENOENT, name)

    def _is_there(self, path: str) -> bool:
        name = self._name(path)
        return name in self.disk.now.names or name == self.disk.directory

    def _inode(self, name: str) -> int:
        if name not in self.disk.now.names:
            raise failure(errno.ENOENT, name)
        return self.disk.now.names[name]


class SimulatedFcntl:
    """What a module finds under the name ``fcntl``: flock, per open file description."""

    LOCK_SH, LOCK_EX, LOCK_NB, LOCK_UN = fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_NB, fcntl.LOCK_UN

    def __init__(self, system: SimulatedOs) -> None:
        self._system = system

    def flock(self, descriptor: int, operation: int) -> None:
        """Take, change or drop a lock. A change that is refused has dropped what was held, as on Linux."""
        disk = self._system.disk
        disk.enter("flock")
        description = self._system.description(descriptor)
        mode = operation & ~fcntl.LOCK_NB
        if mode not in (fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN):
            raise failure(errno.EINVAL)
        if description.lock == mode:
            return
        refused = mode != fcntl.LOCK_UN and self._is_refused(description, mode)
        description.lock = fcntl.LOCK_UN if refused else mode
        disk.note_lock(description.inode, exclusive=description.lock == fcntl.LOCK_EX)
        if refused:
            if not operation & fcntl.LOCK_NB:
                raise AssertionError(f"flock({disk.name_of(description.inode)}) would wait for ever")
            raise failure(errno.EWOULDBLOCK)

    def _is_refused(self, description: Description, mode: int) -> bool:
        rivals = [
            other.lock
            for other in self._system.disk.descriptions
            if other.inode == description.inode and other is not description and other.lock != fcntl.LOCK_UN
        ]
        if mode == fcntl.LOCK_SH:
            return fcntl.LOCK_EX in rivals
        return bool(rivals) or self._system.disk.read_by_others(self._system.disk.name_of(description.inode))
