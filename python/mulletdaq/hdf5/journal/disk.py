"""Every system call of the journal: the one module that a simulated disk takes the place of."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

_NO_FLOCK = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


class NoLocksError(OSError):
    """The file system knows no flock."""


def open_existing(path: str) -> int:
    """A descriptor for reading and writing a regular file."""
    return _regular(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW), path)


def open_for_reading(path: str) -> int:
    """A descriptor for reading a regular file."""
    return _regular(os.open(path, os.O_RDONLY | os.O_CLOEXEC), path)


def open_if_there(path: str) -> int | None:
    """A descriptor for reading a regular file; None if there is none, or can be none under a name so long."""
    try:
        return open_for_reading(path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENAMETOOLONG):
            raise
        return None


def open_or_create(path: str, mode: int) -> int:
    """A descriptor of a regular file, made if it is missing."""
    return _regular(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode), path)


def create(path: str, mode: int) -> int:
    """A descriptor of a file that must not be there."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)


def _regular(fd: int, path: str) -> int:
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)  # noqa: TRY301
    except BaseException:
        os.close(fd)
        raise
    return fd


def close(fd: int) -> None:
    """Close a descriptor."""
    os.close(fd)


def read_into(fd: int, view: memoryview, offset: int) -> int:
    """Fill a buffer from an offset on; fewer bytes only at the end of the file."""
    done = 0
    while done < len(view):
        try:
            count = os.preadv(fd, [view[done:]], offset + done)
        except InterruptedError:
            continue
        if count == 0:
            break
        done += count
    return done


def read_at(fd: int, count: int, offset: int) -> bytes:
    """Bytes from an offset on; fewer only at the end of the file."""
    buffer = bytearray(count)
    done = read_into(fd, memoryview(buffer), offset)
    return bytes(buffer[:done])


def write_at(fd: int, data: Buffer, offset: int) -> None:
    """Write all of the bytes at an offset."""
    view = memoryview(data)
    while len(view):
        try:
            count = os.pwrite(fd, view, offset)
        except InterruptedError:
            continue
        if count <= 0:
            raise OSError(errno.EIO, "the system wrote nothing and gave no reason")
        view = view[count:]
        offset += count


def allocate(fd: int, offset: int, count: int) -> None:
    """Have room on the disk for a range, and the file at least that long, so that writing there cannot lack room."""
    while True:
        try:
            os.posix_fallocate(fd, offset, count)
        except InterruptedError:
            continue
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
            if size(fd) < offset + count:
                os.ftruncate(fd, offset + count)
        return


def cut(fd: int, end: int) -> None:
    """Make a file this long."""
    os.ftruncate(fd, end)


def sync(fd: int) -> None:
    """Have all of a file on the disk, or raise; never to be tried again on the same data after it raised."""
    while True:
        try:
            if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: fsync only reaches the drive's cache
                fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            else:
                os.fdatasync(fd)
        except InterruptedError:
            continue
        return


def sync_folder(path: str) -> None:
    """Have the names in the folder of a path on the disk."""
    fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def lock(fd: int, *, exclusive: bool) -> bool:
    """Take or change a flock without waiting; a refused change leaves no lock at all.

    Raises
    ------
    NoLocksError
        If the file system has none.
    """
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_FLOCK:
            raise NoLocksError(error.errno, "its file system has no file locks (flock)") from error
        raise
    return True


def size(fd: int) -> int:
    """Bytes of an open file."""
    return os.fstat(fd).st_size


def name_count(fd: int) -> int:
    """How many names an open file has."""
    return os.fstat(fd).st_nlink


def fingerprint(fd: int) -> tuple[int, int]:
    """Size and time of change of an open file: what shows that another program wrote it."""
    status = os.fstat(fd)
    return status.st_size, getattr(status, "st_mtime_ns", 0)


def identity(fd: int) -> tuple[int, int]:
    """Device and inode of an open file."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def identity_at(path: str) -> tuple[int, int] | None:
    """Device and inode of what lies at a path; None when nothing does."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def unlink_if_there(path: str) -> None:
    """Remove a name; harmless when it is gone."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def mode_at(path: str) -> int:
    """Permissions of what lies at a path; those of any new file when nothing does."""
    try:
        return os.stat(path).st_mode & 0o666
    except OSError:
        return 0o666


def publish(temporary: str, path: str) -> None:
    """Give a file its final name, never in place of another; FileExistsError if there is one."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        if identity_at(temporary) != identity_at(path):
            raise
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        if identity_at(path) is not None:  # no hard links here: the best there is
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from error
        os.rename(temporary, path)
    unlink_if_there(temporary)


def rename(old: str, new: str) -> None:
    """Give a file another name, in place of whatever has it."""
    os.rename(old, new)


def real_path(path: str) -> str:
    """The path with every link resolved."""
    return os.path.realpath(path)


def pid() -> int:
    """This process."""
    return os.getpid()


def random_bytes(count: int) -> bytes:
    """Bytes that never come again."""
    return os.urandom(count)
