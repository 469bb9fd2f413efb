"""What of a disk's operations is on the platter for sure, and what may be."""

from __future__ import annotations

from collections.abc import Iterable

from tests.faults.operations import (
    Change,
    Create,
    Entry,
    Forget,
    Image,
    Inode,
    Link,
    Operation,
    Rename,
    Resize,
    Revert,
    Sync,
    SyncDirectory,
    Unlink,
    Write,
)


class Platter:
    """The durable part of a disk's operations, and what awaits an fsync.

    Parameters
    ----------
    origin
        What was durable before the first operation.
    ordered
        Whether syncing a file makes all earlier operations on names durable as well, as file systems with an ordered
        journal do. By POSIX only the directory's own fsync does.

    Attributes
    ----------
    durable
        What no power cut takes away.
    waiting
        Changes of content since each file's last sync, in their order.
    entries
        Operations on names since the last sync that settled them, in their order.
    """

    def __init__(self, origin: Image, *, ordered: bool = False) -> None:
        self.durable = origin.copy()
        self.waiting: dict[int, list[Change]] = {}
        self.entries: list[Entry] = []
        self._ordered = ordered

    @classmethod
    def after(cls, origin: Image, operations: Iterable[Operation], *, ordered: bool) -> Platter:
        """The platter once all the operations were done."""
        platter = cls(origin, ordered=ordered)
        for operation in operations:
            platter.apply(operation)
        return platter

    def apply(self, operation: Operation) -> None:
        """Take an operation in."""
        match operation:
            case Create(inode, _, number):
                self.durable.inodes[inode] = Inode(number)
                self.entries.append(operation)
            case Link() | Unlink() | Rename():
                self.entries.append(operation)
            case Write(inode) | Resize(inode):
                self.waiting.setdefault(inode, []).append(operation)
            case Sync(inode):
                self._settle(inode)
            case SyncDirectory():
                self._settle_entries()
            case Revert(inode) | Forget(inode):
                self._lose(inode)

    def size_of(self, inode: int) -> int:
        """The file's size as a program sees it."""
        size = len(self.durable.inodes[inode].content)
        for change in self.waiting.get(inode, []):
            size = size_after(size, change)
        return size

    def _settle(self, inode: int) -> None:
        for change in self.waiting.pop(inode, []):
            self.durable.inodes[inode].apply(change)
        if self._ordered:
            self._settle_entries()

    def _settle_entries(self) -> None:
        for entry in self.entries:
            self.durable.apply_entry(entry)
        self.entries.clear()

    def _lose(self, inode: int) -> None:
        """Pages that a failed fsync dropped or marked clean will not be written; the size may be."""
        size = self.size_of(inode)
        self.waiting[inode] = [Resize(inode, size, self.durable.inodes[inode].modified)]


def size_after(size: int, change: Change) -> int:
    """A file's size once the change is done."""
    match change:
        case Write(_, offset, data):
            return max(size, offset + len(data))
        case Resize(_, new_size):
            return new_size
