"""What can be done to a disk, and a disk's content as the sum of what was done to it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Create:
    """A new, empty file; `number` is what ``st_ino`` shows, and is given again once it is free."""

    inode: int
    name: str
    number: int


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes at an offset; `time` becomes the file's time of modification."""

    inode: int
    offset: int
    data: bytes
    time: int


@dataclass(frozen=True, slots=True)
class Resize:
    """A file cut, or made longer with zeros."""

    inode: int
    size: int
    time: int


@dataclass(frozen=True, slots=True)
class Revert:
    """A failed fsync took the unsynced pages with it: this is what memory and the platter show now."""

    inode: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Forget:
    """A failed fsync marked the unsynced pages clean: memory shows them still, no later fsync writes them."""

    inode: int


@dataclass(frozen=True, slots=True)
class Sync:
    """A file's fsync or fdatasync."""

    inode: int


@dataclass(frozen=True, slots=True)
class SyncDirectory:
    """The directory's fsync."""


@dataclass(frozen=True, slots=True)
class Link:
    """Another name for a file."""

    inode: int
    name: str


@dataclass(frozen=True, slots=True)
class Unlink:
    """A name gone."""

    inode: int
    name: str


@dataclass(frozen=True, slots=True)
class Rename:
    """A name replaced by another, which may have been another file's."""

    inode: int
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock taken or let go: nothing that a crash would leave, but it tells who could look meanwhile."""

    inode: int
    exclusive: bool


Entry = Create | Link | Unlink | Rename
"""Operations on names; lost unless the directory is synced."""

Change = Write | Resize
"""Operations on content; lost unless the file is synced."""

Operation = Entry | Change | Revert | Forget | Sync | SyncDirectory | Lock


@dataclass(slots=True)
class Inode:
    """A file's content, whatever its names."""

    number: int
    content: bytearray = field(default_factory=bytearray)
    modified: int = 0

    def apply(self, change: Change | Revert) -> None:
        """Do to the content what was done."""
        match change:
            case Write(_, offset, data, time):
                if len(self.content) < offset:
                    self.content.extend(bytes(offset - len(self.content)))
                self.content[offset : offset + len(data)] = data
                self.modified = time
            case Resize(_, size, time):
                del self.content[size:]
                self.content.extend(bytes(size - len(self.content)))
                self.modified = time
            case Revert(_, content):
                self.content[:] = content

    def copy(self) -> Inode:
        """One that can be changed without changing this one."""
        return Inode(self.number, bytearray(self.content), self.modified)


@dataclass(slots=True)
class Image:
    """Names and contents of a disk."""

    inodes: dict[int, Inode] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)

    def apply(self, operation: Operation) -> None:
        """Do what was done."""
        match operation:
            case Write() | Resize() | Revert():
                self.inodes[operation.inode].apply(operation)
            case Create(inode, _, number):
                self.inodes[inode] = Inode(number)
                self.apply_entry(operation)
            case Link() | Unlink() | Rename():
                self.apply_entry(operation)

    def apply_entry(self, entry: Entry) -> None:
        """Change the names alone; an entry whose predecessors were lost does what it can."""
        match entry:
            case Create(inode, name) | Link(inode, name):
                self.names[name] = inode
            case Unlink(_, name):
                self.names.pop(name, None)
            case Rename(inode, old, new):
                self.names.pop(old, None)
                self.names[new] = inode

    def copy(self) -> Image:
        """What a restart finds: nothing is left of files without a name."""
        kept = {inode: self.inodes[inode].copy() for inode in set(self.names.values())}
        return Image(kept, dict(self.names))

    def copy_of_names(self, entries: Iterable[Entry]) -> Image:
        """A copy in which the operations on names were done; all contents are as they are here."""
        names = Image(self.inodes, dict(self.names))
        for entry in entries:
            names.apply_entry(entry)
        return names.copy()

    def keep_name(self, name: str, inode: int, contents: Image) -> None:
        """Have a name, unless another file took it, show the file; its content is taken from `contents`."""
        if name not in self.names:
            self.names[name] = inode
            self.inodes.setdefault(inode, contents.inodes[inode].copy())

    def digest(self) -> bytes:
        """Equal for images that no program could tell apart, times of modification aside."""
        sums = hashlib.blake2b(digest_size=16)
        for name, inode in sorted(self.names.items()):
            node = self.inodes[inode]
            sums.update(f"{name}\0{node.number}\0{len(node.content)}\0".encode())
            sums.update(node.content)
        return sums.digest()
