"""The one place that opens, commits and closes an HDF5 file of ours for writing."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Literal

from mulletdaq import __version__
from mulletdaq.errors import (
    FileError,
    FileFormatError,
    FileLockedError,
    FileMissingError,
    FileVersionError,
    FileWriteError,
    MulletError,
)
from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.attributes import get_integer, set_attributes
from mulletdaq.hdf5.journal import JournaledFile, JournalStatistics, undisturbed
from mulletdaq.hdf5.journal.file import LIMIT_BYTES
from mulletdaq.hdf5.journal.layout import SIGNATURE
from mulletdaq.hdf5.metadata import write_metadata
from mulletdaq.hdf5.options import EngineOptions

with needs_extra("hdf5"):
    import h5py
    import numpy as np

FORMAT_VERSION = 1
LIBVER = ("earliest", "v108")
"""Superblock 0 and nothing newer than HDF5 1.8, for MATLAB before R2021b, Igor and old h5dump."""

HDF5_ERRORS = (OSError, RuntimeError, ValueError, KeyError)
"""What h5py raises when the library fails; which of them depends on the depth at which it did."""

_METADATA_CACHE_BYTES = 256 << 10
_METADATA_CACHE_ACCESSES = 5000

_MISSING_FILTER = ("can't open directory", "required filter")
"""HDF5's words when it has looked for a filter in vain: in a folder of plugins that is not there, or altogether."""


class Storage:
    """An HDF5 file of ours, open for writing by this process alone, changed by whole commits only.

    A missing file is made, one of ours is gone on with, any other is refused. Nothing is ever overwritten.

    Parameters
    ----------
    path
        The file.
    creator
        Text of the ``creator`` attribute of a new file; ``mulletdaq`` and its version when None.
    metadata
        What :func:`~mulletdaq.hdf5.metadata.plain_metadata` made; stored when the file is new.
    continues
        Name of the file that a new one goes on from; it says so from its first moment on.
    fsync
        ``"commit"`` puts every commit on the disk, ``"never"`` leaves that to the operating system.
    lock_timeout_s
        How long to wait for another process to let go of the file.
    journal_limit_bytes
        Size of the journal at which readers have held the file too long: :attr:`full`.

    Attributes
    ----------
    file
        The ``h5py.File``; another one after :meth:`roll_back`.
    created
        Whether the file was missing.

    Raises
    ------
    FileFormatError
        If the file is not HDF5, damaged, or not one of ours; JournalMismatchError if others changed it after a crash.
    FileVersionError
        If a newer version of the format wrote it.
    FileLockedError
        If another process writes it; the message names the process.
    FileWriteError
        If it cannot be made or opened for writing.

    Notes
    -----
    Not safe for use by several threads at once. Whatever is done with ``file`` belongs inside ``undisturbed()``.
    """

    def __init__(
        self,
        path: str,
        *,
        creator: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        continues: str = "",
        fsync: Literal["commit", "never"] = "commit",
        lock_timeout_s: float = 0.0,
        journal_limit_bytes: int = LIMIT_BYTES,
    ) -> None:
        self.path = path
        self._creator = creator or f"mulletdaq {__version__}"
        self._metadata = metadata or {}
        self._continues = continues
        self._attempted: int | None = None
        with explained(path, writing=True):
            check_regular(path)
            self._journal = JournaledFile(
                path, fsync=fsync, lock_timeout_s=lock_timeout_s, limit_bytes=journal_limit_bytes
            )
            self.created = self._journal.created
            try:
                self._open()
            except BaseException:
                self.close()
                raise

    @property
    def set_aside(self) -> str:
        """New name of a journal that lay at the path, of a file that is gone; empty if there was none."""
        return self._journal.set_aside

    @property
    def size_bytes(self) -> int:
        """Size of the file as of the last commit."""
        return self._journal.end

    @property
    def begun_s(self) -> float:
        """When the file was made, in s since the Unix epoch."""
        return self._begun_ns / 1e9

    @property
    def pending(self) -> bool:
        """Whether commits wait in the journal for readers to let go of the file."""
        return self._journal.pending

    @property
    def full(self) -> bool:
        """Whether so many wait that it is time for another file."""
        return self._journal.full

    def journal_statistics(self) -> JournalStatistics:
        """The journal's counts."""
        return self._journal.statistics()

    def commit(self, *, ended: bool | None = False) -> None:
        """Make all that was written since the last commit part of the file, at once or not at all.

        The file's ``end`` is then the present time. With ``ended`` it says too that nothing more is to come;
        None leaves both as they are.

        Raises
        ------
        FileWriteError
            If it failed; :meth:`roll_back` comes next.
        """
        self._attempted = self._journal.last_commit + 1
        if ended is not None:
            _set_end(self.file, time.time_ns(), ended=ended)
        self._journal.commit()
        self._attempted = None

    def end(self) -> None:
        """Say in the file that it ended in good order, if that can be written: every row is there anyway."""
        with undisturbed(), suppress(FileWriteError, *HDF5_ERRORS):
            self.commit(ended=True)

    def apply(self) -> None:
        """Try again to bring waiting commits into the file.

        Raises
        ------
        FileWriteError
            If another program wrote it.
        """
        self._journal.apply()

    def roll_back(self) -> bool:
        """Go back to the last commit; ``file`` is another object then.

        Returns
        -------
        bool
            Whether a commit that seemed to fail stands after all.

        Raises
        ------
        FileWriteError
            If that is not possible now; call again.
        """
        self._journal.rollback()
        stands = self._journal.last_commit == self._attempted
        self._attempted = None
        self._open()
        return stands

    def close(self) -> None:
        """Close the file, and drop what is not committed; harmless when closed.

        Raises
        ------
        FileWriteError
            If another program wrote the file.
        """
        self._journal.close(commit=False)

    def _open(self) -> None:
        with undisturbed():
            if self._journal.created:
                self.file = h5py.File(self._journal, "w", libver=LIBVER)
                _keep_little_metadata(self.file)
                _make_skeleton(self.file, self._creator, self._metadata)
                if self._continues:
                    set_attributes(self.file, continues=self._continues)
                self._journal.commit()
                self._begun_ns = get_integer(self.file, "start_ns")
                return
            self._journal.seek(0)
            if self._journal.read(len(SIGNATURE)) != SIGNATURE:
                raise FileFormatError(f"{self.path} is not an HDF5 file; choose another path")
            self.file = h5py.File(self._journal, "r+", libver=LIBVER)
            _keep_little_metadata(self.file)
            check_ours(self.file, self.path)
            self._begun_ns = get_integer(self.file, "start_ns")


def check_regular(path: str) -> None:
    """Raise FileFormatError if the path leads to a folder or a device."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise FileFormatError(f"{path} is a folder or device, not an HDF5 file; choose another path")


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


def open_output(path: str, options: EngineOptions, continues: str = "") -> Storage:
    """A file as a writer's options want it; raises as :class:`Storage`."""
    return Storage(
        path,
        creator=options.creator,
        metadata=options.metadata,
        continues=continues,
        fsync=options.fsync,
        lock_timeout_s=options.lock_timeout_s,
        journal_limit_bytes=options.journal_limit_bytes,
    )


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


@contextmanager
def write_errors(path: str) -> Iterator[None]:
    """Turn what HDF5 raises while a file is written into FileWriteError, and say where the rows are meanwhile."""
    try:
        yield
    except FileWriteError as error:
        raise FileWriteError(f"{error}; the ring keeps what is not written") from error
    except MulletError:
        raise
    except HDF5_ERRORS as error:
        message = f"cannot write {path}: {one_line(error)}; the ring keeps what is not written"
        raise FileWriteError(message) from error


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


def _keep_little_metadata(file: Any) -> None:
    """Have HDF5's cache of metadata begin small, and judge soon whether it is too small.

    A flush looks at all that is in it, changed or not: with what batches leave behind in HDF5's usual 2 MiB that takes
    2 ms a commit, with this 0.7 ms. Where hundreds of datasets grow, it takes the room they need within a few commits.
    """
    config = file.id.get_mdc_config()
    config.set_initial_size = True
    config.initial_size = config.min_size = _METADATA_CACHE_BYTES
    config.epoch_length = _METADATA_CACHE_ACCESSES
    file.id.set_mdc_config(config)


def _make_skeleton(file: Any, creator: str, metadata: Mapping[str, Any]) -> None:
    now_ns = time.time_ns()
    set_attributes(
        file,
        format_version=np.int64(FORMAT_VERSION),
        creator=creator,
        start=iso_time(now_ns),
        start_ns=np.int64(now_ns),
        host=socket.gethostname(),
        mulletdaq_version=__version__,
        h5py_version=h5py.version.version,
        HDF5_Version=h5py.version.hdf5_version,
        NX_class="NXroot",
    )
    _set_end(file, now_ns, ended=False)
    for name in ("measurements", "runs"):
        make_ordered_group(file, name)
    file.create_group("losses")
    file.create_group("annotations")
    write_metadata(file, metadata)


def _set_end(file: Any, now_ns: int, *, ended: bool) -> None:
    set_attributes(file, end=iso_time(now_ns), end_ns=np.int64(now_ns), ended=np.uint8(ended))


def iso_time(time_ns: int) -> str:
    """A Unix time in ns as ISO 8601 text in UTC, to the nanosecond."""
    seconds, rest_ns = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest_ns:09d}+00:00"


__all__ = [
    "FORMAT_VERSION",
    "HDF5_ERRORS",
    "Storage",
    "check_ours",
    "check_regular",
    "explained",
    "iso_time",
    "make_ordered_group",
    "one_line",
    "open_output",
    "write_errors",
]
