"""Reading a file at its newest commit, applied or not, while others write and read it."""

from __future__ import annotations

import os
import time

from mulletdaq.errors import FileLockedError, FileMissingError
from mulletdaq.hdf5.journal import disk
from mulletdaq.hdf5.journal.fileobject import FileObject, lay_over, load
from mulletdaq.hdf5.journal.frames import Contents, read_contents, read_header
from mulletdaq.hdf5.journal.guard import close_files_over, undisturbed
from mulletdaq.hdf5.journal.layout import PAGE_BYTES
from mulletdaq.hdf5.journal.lifetime import keep_track
from mulletdaq.hdf5.journal.opening import Place, judge, no_locks

_RETRY_S = 0.002
LOCK_TIMEOUT_S = 3.0
"""Applying takes well under a millisecond; whoever holds FILE longer writes it."""


class OverlayFile(FileObject):
    """A file as of its newest commit, for h5py's ``fileobj`` driver, read-only.

    It holds FILE shared, so that the writer puts off applying until this is closed. Nothing is changed anywhere.

    Parameters
    ----------
    path
        The file.
    adopt
        Take a journal though FILE was copied, or changed by others since.
    lock_timeout_s
        How long to wait while FILE is held by one who writes it.

    Attributes
    ----------
    pending_commits
        How many commits the journal has that FILE has not.
    locked
        Whether FILE is held; not where the file system has no locks, and nobody can be writing.
    failure
        What kept bytes from being read: HDF5 was given zeros in their place. None in all but the worst cases.

    Raises
    ------
    FileMissingError
        If there is no file.
    FileLockedError
        If another program holds it for writing.
    FileFormatError, JournalMismatchError
        If it is sealed and its journal is gone, or the journal has commits of another file.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, adopt: bool = False, lock_timeout_s: float = LOCK_TIMEOUT_S
    ) -> None:
        super().__init__()
        self._fd = -1
        self._adopt = adopt
        self.locked = True
        self.path = os.fspath(path)
        self._place = Place.of(path)
        self._images: dict[int, bytes] = {}
        self.pending_commits = 0
        try:
            self._fd = disk.open_for_reading(self._place.path)
        except FileNotFoundError as error:
            raise FileMissingError(f"{self.path} is not there; check the path") from error
        try:
            self._share(lock_timeout_s)
            self._read_journal()
        except BaseException:
            self.close()
            raise
        keep_track(self, reads_only=True)

    @property
    def failure(self) -> BaseException | None:
        """What kept bytes from being read."""
        return self._failure

    def close(self) -> None:
        """Let go of FILE, and close the ``h5py.File`` over it if it is open; harmless when closed."""
        if self._fd >= 0:
            with undisturbed():
                close_files_over(self)
            disk.close(self._fd)
            self._fd = -1

    def close_at_exit(self) -> None:
        """See :class:`~mulletdaq.hdf5.journal.lifetime.Closing`."""
        self.close()

    def abandon_in_child(self) -> None:
        """See :class:`~mulletdaq.hdf5.journal.lifetime.Closing`: a child may read on."""

    def __del__(self) -> None:
        if self._fd >= 0:  # its h5py.File is gone; FILE must not stay held
            disk.close(self._fd)

    def __repr__(self) -> str:
        return f"<OverlayFile {self.path} at {id(self):#x}>"

    def _load(self, view: memoryview, offset: int) -> None:
        load(self._fd, view, offset)
        if self._images:
            lay_over(view, offset, self._images.get)

    def _store(self, view: memoryview, offset: int) -> None:
        raise PermissionError(f"{self.path} is open for reading only")

    def _share(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        try:
            while not disk.lock(self._fd, exclusive=False):
                if time.monotonic() >= deadline:
                    raise FileLockedError(f"{self.path} is open for writing in another program; close it there first")
                time.sleep(_RETRY_S)
        except disk.NoLocksError as error:
            if disk.identity_at(self._place.journal) is not None:
                raise no_locks(self.path) from error
            self.locked = False

    def _read_journal(self) -> None:
        """Copy the newest images; again if the writer began another generation meanwhile, and wrote over them."""
        fd = disk.open_if_there(self._place.journal)
        try:
            while not self._take_images(fd):
                pass
        finally:
            if fd is not None:
                disk.close(fd)

    def _take_images(self, fd: int | None) -> bool:
        header = None if fd is None else read_header(fd)
        if fd is None or header is None:
            judge(self._place, None, Contents(0, 0, b""), self._fd, adopt=self._adopt)
            self._size = disk.size(self._fd)
            return True
        contents = read_contents(fd, header)
        images = {number: disk.read_at(fd, PAGE_BYTES, offset) for number, offset in contents.index.items()}
        after = read_header(fd)
        if after is None or after.generation != header.generation:
            return False
        if judge(self._place, header, contents, self._fd, adopt=self._adopt) is None:
            self._size = disk.size(self._fd)
        else:
            self._size, self._images, self.pending_commits = contents.end, images, contents.commit - header.commit
        return True


__all__ = ["LOCK_TIMEOUT_S", "OverlayFile"]
