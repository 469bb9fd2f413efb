"""The one place that opens, commits and closes an HDF5 file of ours for writing, and opens one for reading."""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata as distribution
from typing import Any

from mulletdaq.errors import (
    FileError,
    FileFormatError,
    FileLockedError,
    FileMissingError,
    FileVersionError,
    FileWriteError,
    MissingExtraError,
)
from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.attributes import get_integer, set_attributes, write_metadata
from mulletdaq.hdf5.compressors import load_zstd_filter

with needs_extra("hdf5"):
    import h5py
    import numpy as np

FORMAT_VERSION = 1
LIBVER = ("earliest", "v108")
"""Superblock 0 and nothing newer than HDF5 1.8, for MATLAB before R2021b, Igor and old h5dump."""

HDF5_ERRORS = (OSError, RuntimeError, ValueError, KeyError)
"""What h5py raises when the library fails; which of them depends on the depth at which it did."""

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_LOCK_RETRY_S = 0.05
_MISSING_FILTER = ("can't open directory", "required filter")
"""HDF5's words when it has looked for a filter in vain: in a folder of plugins that is not there, or altogether."""


class Storage:
    """An HDF5 file of ours, open for writing by this process alone.

    A missing file is made, one of ours is gone on with, any other is refused. Nothing is ever overwritten.

    Parameters
    ----------
    path
        The file.
    creator
        Text of the ``creator`` attribute of a new file; ``mulletdaq`` and its version when None.
    metadata
        What :func:`~mulletdaq.hdf5.attributes.plain_metadata` made; stored when the file is new.
    fsync
        ``"commit"`` puts every commit on the disk, ``"never"`` leaves that to the operating system.
    lock_timeout_s
        How long to wait for another process to let go of the file.

    Raises
    ------
    FileFormatError
        If the file is not HDF5, damaged, or not one of ours.
    FileVersionError
        If a newer version of the format wrote it.
    FileLockedError
        If another process holds it.
    FileWriteError
        If it cannot be made or opened for writing.

    Notes
    -----
    Not safe for use by several threads at once.
    """

    def __init__(
        self,
        path: str,
        *,
        creator: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        fsync: str = "commit",
        lock_timeout_s: float = 0.0,
    ) -> None:
        self.path = path
        self._fsync = fsync
        with explained(path, writing=True):
            self.file, self.created = self._open(lock_timeout_s)
            try:
                if self.created:
                    _make_skeleton(self.file, creator or f"mulletdaq {_version()}", metadata or {})
                    self.commit()
                else:
                    check_ours(self.file, path)
            except BaseException:
                self.file.close()
                if self.created:
                    os.unlink(path)
                raise

    def settle(self) -> None:
        """Have what was written so far reach the file before what follows.

        A writer killed within a flush leaves any part of it. Rows settled before their cursor is stored are at
        worst there without being counted, and then :class:`~mulletdaq.hdf5.stream.Stream` drops and rereads them.
        """
        self.file.flush()

    def commit(self) -> None:
        """Make all that was written since the last commit part of the file.

        Raises
        ------
        OSError, RuntimeError
            Whatever HDF5 and the file system raise.
        """
        self.file.flush()
        if self._fsync == "commit":
            os.fsync(self.file.id.get_vfd_handle())

    def close(self) -> None:
        """Close the file; harmless when it is closed."""
        self.file.close()

    def _open(self, lock_timeout_s: float) -> tuple[Any, bool]:
        deadline = time.monotonic() + lock_timeout_s
        while True:
            missing = not os.path.lexists(self.path)
            if not missing:
                check_signature(self.path)
            try:
                return h5py.File(self.path, "x" if missing else "r+", libver=LIBVER), missing
            except FileExistsError:
                continue  # another process made it in between; it is judged like any other file
            except OSError as error:
                if not _is_locked(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(_LOCK_RETRY_S)


@contextmanager
def open_for_reading(path: str) -> Iterator[Any]:
    """A file of ours, opened read-only.

    Raises
    ------
    FileMissingError, FileFormatError, FileVersionError, FileLockedError
        If it is not there, not one of ours, too new, or being written.
    """
    with suppress(MissingExtraError):  # most files do without
        load_zstd_filter()
    with explained(path, writing=False):
        check_signature(path)
        file = h5py.File(path, "r")
    with file:
        try:
            check_ours(file, path)
        except FileError:
            raise
        except Exception as error:  # a damaged file can make h5py raise anything
            raise FileFormatError(f"{path} is a damaged HDF5 file: {one_line(error)}") from error
        yield file


def check_signature(path: str) -> None:
    """Raise FileFormatError unless the file begins as HDF5 does; h5py itself would fill an empty one."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise FileFormatError(f"{path} is a folder or device, not an HDF5 file; choose another path")
    with open(path, "rb") as file:
        if file.read(len(_SIGNATURE)) != _SIGNATURE:
            raise FileFormatError(f"{path} is not an HDF5 file; choose another path")


def check_ours(file: Any, path: str) -> None:
    """Raise FileFormatError unless mulletdaq wrote the file, FileVersionError if a newer one did."""
    if "format_version" not in file.attrs or not {"measurements", "runs", "losses"} <= set(file):
        raise FileFormatError(f"{path} is HDF5, but mulletdaq did not write it; choose another file")
    version = get_integer(file, "format_version")
    if version > FORMAT_VERSION:
        raise FileVersionError(
            f"{path} has format version {version}, this mulletdaq knows {FORMAT_VERSION}; upgrade mulletdaq"
        )


def make_ordered_group(parent: Any, name: str) -> Any:
    """A group that remembers the order of its links.

    Without it HDF5 rewrites the group's heap of names at every flush: 2.8 MB each at 100,000 batches.
    """
    plist = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
    plist.set_link_creation_order(h5py.h5p.CRT_ORDER_TRACKED | h5py.h5p.CRT_ORDER_INDEXED)
    return h5py.Group(h5py.h5g.create(parent.id, name.encode("utf-8"), None, plist))


@contextmanager
def explained(path: str, *, writing: bool) -> Iterator[None]:
    """Turn what h5py and the system raise on opening into our errors."""
    try:
        yield
    except FileError:
        raise
    except FileNotFoundError as error:
        if writing:
            folder = os.path.dirname(os.path.abspath(path))
            raise FileWriteError(f"cannot make {path}: the folder {folder} is not there; make it first") from error
        raise FileMissingError(f"{path} is not there; check the path") from error
    except OSError as error:
        raise _opening_error(path, error, writing) from error


def _opening_error(path: str, error: OSError, writing: bool) -> FileError:
    reason = one_line(error)
    if _is_locked(error):
        return FileLockedError(f"{path} is held by another process; wait for its end or stop it")
    if isinstance(error, PermissionError) or "errno = 13" in reason or "errno = 30" in reason:
        verb = "written" if writing else "read"
        message = f"{path} cannot be {verb}: permission denied; check the rights of the file and its folder"
        return FileWriteError(message) if writing else FileError(message)
    if "truncated" in reason or "read failed" in reason or "superblock" in reason:
        return FileFormatError(f"{path} is a damaged HDF5 file: {reason}")
    return FileWriteError(f"cannot open {path}: {reason}") if writing else FileError(f"cannot open {path}: {reason}")


def _is_locked(error: OSError) -> bool:
    return isinstance(error, BlockingIOError) or "unable to lock file" in str(error)


def one_line(error: BaseException) -> str:
    """An error's text on one line; HDF5 puts a line break in the middle of its own."""
    text = " ".join(str(error).split())
    if any(words in text for words in _MISSING_FILTER):
        text += "; if it is Zstandard's filter that is missing, pip install 'mulletdaq[zstd]' brings it"
    return text


def _make_skeleton(file: Any, creator: str, metadata: Mapping[str, Any]) -> None:
    now_ns = time.time_ns()
    set_attributes(
        file,
        format_version=np.int64(FORMAT_VERSION),
        creator=creator,
        start=iso_time(now_ns),
        start_ns=np.int64(now_ns),
        host=socket.gethostname(),
        NX_class="NXroot",
    )
    for name in ("measurements", "runs"):
        make_ordered_group(file, name)
    file.create_group("losses")
    file.create_group("annotations")
    write_metadata(file, metadata)


def iso_time(time_ns: int) -> str:
    """A Unix time in ns as ISO 8601 text in UTC, to the microsecond."""
    return datetime.fromtimestamp(time_ns // 1000 / 1e6, UTC).isoformat(timespec="microseconds")


def _version() -> str:
    with suppress(distribution.PackageNotFoundError):
        return distribution.version("mulletdaq")
    return "(not installed)"


__all__ = [
    "FORMAT_VERSION",
    "HDF5_ERRORS",
    "Storage",
    "check_ours",
    "explained",
    "iso_time",
    "make_ordered_group",
    "one_line",
    "open_for_reading",
]
