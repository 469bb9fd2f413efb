"""Who FILE is when a journal is opened: new, healthy, left by a crash, or somebody else's."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from mulletdaq.errors import (
    FileError,
    FileFormatError,
    FileLockedError,
    FileWriteError,
    JournalMismatchError,
    OutputExistsError,
)
from mulletdaq.hdf5.journal import disk
from mulletdaq.hdf5.journal.frames import SUFFIX, Contents, Journal, read_header
from mulletdaq.hdf5.journal.layout import SIGNATURE, Header, is_sealed, superblock_end

_FIRST_SUFFIX = f"{SUFFIX}-first"
START_BYTES = 64
"""Of FILE: enough for signature and superblock."""
_LOCK_RETRY_S = 0.01
_GLANCE_S = 0.05
"""Whoever looks at a journal holds it for a moment."""
_LONGEST_NAME_BYTES = 255 - len(_FIRST_SUFFIX)


@dataclass(frozen=True)
class Place:
    """The names of a file: its own with every link resolved, its journal's, and that before its first commit."""

    path: str
    journal: str
    first: str

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> Place:
        """The names of the file at a path."""
        real = disk.real_path(os.fspath(path))
        return cls(real, real + SUFFIX, real + _FIRST_SUFFIX)


def lock_journal(place: Place, *, durable: bool, timeout_s: float) -> Journal:
    """The journal, made if it is missing, locked and loaded; one whose FILE is gone is renamed first.

    Raises
    ------
    FileLockedError
        If another process holds it after ``timeout_s``; the message names it.
    FileWriteError
        If its folder is missing, or the file system has no locks.
    """
    name_bytes = len(os.fsencode(os.path.basename(place.path)))
    if name_bytes > _LONGEST_NAME_BYTES:
        raise FileWriteError(
            f"{place.path} has a name of {name_bytes} bytes; {_LONGEST_NAME_BYTES} fit, its journal's name is longer"
        )
    deadline = time.monotonic() + max(timeout_s, _GLANCE_S)
    mode = disk.mode_at(place.path)  # who may read the file may read its newest commits
    while True:
        try:
            journal = Journal(place.journal, mode, durable=durable)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise FileLockedError(
                    f"{place.path} is being written by {_holder(place)}; stop it first, or write to another file"
                ) from error
            time.sleep(_LOCK_RETRY_S)
        except disk.NoLocksError as error:
            raise no_locks(place.path) from error
        else:
            break
    try:
        journal.load()
        if _is_orphan(place, journal):
            aside = f"{place.journal}.orphan-{time.time_ns()}"
            disk.rename(place.journal, aside)
            journal.close()
            journal = lock_journal(place, durable=durable, timeout_s=timeout_s)
            journal.set_aside = aside
    except BaseException:
        journal.close()
        raise
    return journal


def _is_orphan(place: Place, journal: Journal) -> bool:
    """Whether it has commits of a file that is gone: somebody removed the file, and begins anew."""
    published = journal.header is not None and not journal.header.unpublished
    return published and journal.pending_commits > 0 and disk.identity_at(place.path) is None


def _holder(place: Place) -> str:
    try:
        fd = disk.open_for_reading(place.journal)
        try:
            header = read_header(fd)
        finally:
            disk.close(fd)
    except OSError:
        header = None
    return "another process" if header is None else f"process {header.pid}"


def no_locks(path: str) -> FileWriteError:
    """The error for a file system on which nothing can be kept safe."""
    return FileWriteError(
        f"{path} lies on a file system without file locks; write to a local disk, and copy the file when it is closed"
    )


@dataclass(frozen=True)
class Opened:
    """FILE as it was found.

    Attributes
    ----------
    fd
        Its descriptor.
    published
        Whether it has its final name; before the first commit it has not.
    end
        Its logical end without the journal's pending commits, in bytes.
    """

    fd: int
    published: bool
    end: int


def open_file(place: Place, journal: Journal, *, adopt: bool) -> Opened:
    """Open FILE, or a new one under its first name, as the journal says.

    Parameters
    ----------
    adopt
        Take a journal whose FILE has become another inode, or was changed by others.

    Raises
    ------
    JournalMismatchError
        If the journal has commits of another file, or another program wrote FILE.
    FileFormatError
        If FILE is sealed and its journal is gone, or FILE is no regular file.
    """
    unpublished = journal.header is not None and journal.header.unpublished
    if disk.identity_at(place.path) is None:
        journal.forget()
        disk.unlink_if_there(place.first)  # nothing of it was ever acknowledged
        return Opened(disk.create(place.first, 0o666), published=False, end=0)
    fd = _open_published(place)
    try:
        end = judge(place, journal.header, journal.contents, fd, adopt=adopt)
        if end is None:
            journal.forget()
            end = _end_without_journal(fd)
        if unpublished or disk.identity_at(place.first) == disk.identity(fd):
            disk.unlink_if_there(place.first)  # killed between its two names, or somebody made FILE meanwhile
        _require_one_name(place, fd)
    except BaseException:
        disk.close(fd)
        raise
    return Opened(fd, published=True, end=end)


def _require_one_name(place: Place, fd: int) -> None:
    count = disk.name_count(fd)
    if count > 1:
        raise FileWriteError(
            f"{place.path} has {count} names (hard links), and writers by different names would not see one another; "
            "write to a copy"
        )


def _end_without_journal(fd: int) -> int:
    """The end that HDF5 counts with: a file of ours is up to a page longer."""
    size, end = disk.size(fd), superblock_end(disk.read_at(fd, START_BYTES, 0))
    return size if end is None else min(size, end)


def _open_published(place: Place) -> int:
    try:
        return disk.open_existing(place.path)
    except IsADirectoryError as error:
        raise FileFormatError(f"{place.path} is a folder or device, not a file; choose another path") from error


def judge(place: Place, header: Header | None, contents: Contents, fd: int, *, adopt: bool) -> int | None:
    """FILE's logical end without the pending commits; None if the journal says nothing about this file.

    Raises
    ------
    JournalMismatchError
        If the journal has commits of another file, or another program wrote FILE.
    FileFormatError
        If FILE is sealed and its journal is gone.
    """
    pending = 0 if header is None else contents.commit - header.commit
    start, size = disk.read_at(fd, START_BYTES, 0), disk.size(fd)
    same = header is not None and header.inode == disk.identity(fd)[1]
    end = superblock_end(start)
    changed = end is not None and end not in contents.file_ends
    if header is None or (not pending and (changed or not same)) or (header.unpublished and not same):
        if is_sealed(start):
            raise FileFormatError(
                f"{place.path} was being updated when its writer was killed, and its journal {place.journal} is gone; "
                "put it back beside the file"
            )
        return None
    if not same and not adopt:
        raise JournalMismatchError(
            f"{place.journal} holds {pending} commits for another file than the present {place.path}; "
            f"if it was copied here together with its journal: mullet recover --adopt {place.path}; "
            "if not, move the journal away"
        )
    left = max(header.base_end, contents.highest_end)
    if size < left:
        raise JournalMismatchError(
            f"{place.path} is {left - size} bytes shorter than its writer left it; restore it from a copy"
        )
    if changed and not adopt:
        raise JournalMismatchError(
            f"another program wrote {place.path} after its writer was killed; to go on with the journal all the same: "
            f"mullet recover --adopt {place.path}; to go without it, move {place.journal} away"
        )
    return header.base_end


def begins_as_hdf5(fd: int) -> bool:
    """Whether a file begins with HDF5's signature, or is sealed."""
    start = disk.read_at(fd, START_BYTES, 0)
    return start[: len(SIGNATURE)] == SIGNATURE or is_sealed(start)


def check_file(place: Place, fd: int, journal: Journal, *, extent: int | None, signed: bool) -> None:
    """Before a commit: FILE is still there, still this one, no shorter than it was, and as we left it.

    Parameters
    ----------
    extent
        How long it was at least; None before its first commit, when it has another name.
    signed
        Whether it began as HDF5 does.

    Raises
    ------
    FileWriteError
        If another program removed, replaced, cut or wrote it.
    """
    there = disk.identity_at(place.first if extent is None else place.path)
    if there is None:
        raise FileWriteError(f"{place.path} was removed or renamed by another program; put it back")
    if there != disk.identity(fd):
        raise FileWriteError(f"{place.path} was replaced by another program; put the former file back")
    if extent is None:
        return
    if disk.size(fd) < extent:
        raise FileWriteError(f"{place.path} was cut short by another program; restore it from a copy")
    end = superblock_end(disk.read_at(fd, START_BYTES, 0))
    if end is not None and end not in journal.contents.file_ends:
        raise FileWriteError(f"{place.path} was changed by another program; restore it from a copy")
    if signed and not begins_as_hdf5(fd):
        raise FileWriteError(f"{place.path} was overwritten by another program; restore it from a copy")


def explained(path: str, error: BaseException) -> BaseException:
    """What went wrong with the file at a path, as an error of ours; what is no failure stays as it is."""
    if isinstance(error, FileExistsError):
        return OutputExistsError(f"another program made {path} meanwhile; write to another file")
    if isinstance(error, FileError) or not isinstance(error, Exception):
        return error
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or repr(error)
    return FileWriteError(f"cannot write {path}: {reason}")


def leave_nothing_new(place: Place, journal: Journal, fd: int, *, published: bool) -> None:
    """When opening failed: remove what it made, such as the two empty files on a full disk."""
    if journal.header is None:
        if fd >= 0 and not published:
            disk.unlink_if_there(place.first)
        journal.remove_if_unused()


def fresh_header(journal: Journal, fd: int, *, published: bool, base_end: int, commit: int) -> Header:
    """The header of the journal's next generation, for this file and this process; its salt is still to come."""
    old = journal.header
    device, inode = disk.identity(fd)
    file_end = superblock_end(disk.read_at(fd, START_BYTES, 0))
    if file_end is None:  # sealed, or not HDF5: it says nothing
        file_end = base_end if old is None else old.file_end
    return Header(
        generation=1 if old is None else old.generation + 1,
        base_end=base_end,
        file_end=file_end,
        commit=commit,
        device=device,
        inode=inode,
        pid=disk.pid(),
        unpublished=not published,
        salt=b"",
    )


__all__ = [
    "Opened",
    "Place",
    "begins_as_hdf5",
    "check_file",
    "explained",
    "fresh_header",
    "judge",
    "leave_nothing_new",
    "lock_journal",
    "no_locks",
    "open_file",
]
