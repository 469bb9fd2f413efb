"""The shape of a file object for h5py's ``fileobj`` driver, and images of pages laid over a file."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from mulletdaq.hdf5.journal import disk
from mulletdaq.hdf5.journal.guard import forbid_collection_inside_hdf5
from mulletdaq.hdf5.journal.layout import PAGE_BYTES


class FileObject(ABC):
    """What HDF5 reads and writes through: a position, a size, and two ways to move bytes.

    No method that HDF5 calls ever raises: an exception there crashes the interpreter, at once or at its end. The
    first failure is kept in ``_failure`` instead, and HDF5 sees success; whoever owns the object must ask.

    Notes
    -----
    To be used under h5py's lock, as h5py does.
    """

    def __init__(self) -> None:
        self._position = 0
        self._size = 0
        self._failure: BaseException | None = None
        forbid_collection_inside_hdf5()

    @abstractmethod
    def _load(self, view: memoryview, offset: int) -> None:
        """Fill the whole view from an offset on, with zeros behind the end."""

    @abstractmethod
    def _store(self, view: memoryview, offset: int) -> None:
        """Take the whole view."""

    @property
    def size(self) -> int:
        """The size that HDF5 sees, in bytes."""
        return self._size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position."""
        if whence == os.SEEK_CUR:
            offset += self._position
        elif whence == os.SEEK_END:
            offset += self._size
        self._position = offset
        return offset

    def tell(self) -> int:
        """The position."""
        return self._position

    def read(self, count: int = -1) -> bytes:
        """Bytes from the position on; zeros behind the end."""
        buffer = bytearray(max(0, self._size - self._position) if count < 0 else count)
        self.readinto(buffer)
        return bytes(buffer)

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from the position on."""
        try:
            view = memoryview(buffer).cast("B")
            offset, self._position = self._position, self._position + len(view)
            self._load(view, offset)
            return len(view)
        except BaseException as error:
            self._fail(error)
            return 0  # the driver does not look at it

    def write(self, data: Any) -> int:
        """Take bytes at the position."""
        try:
            view = memoryview(data).cast("B")
            offset, self._position = self._position, self._position + len(view)
            self._size = max(self._size, self._position)
            self._store(view, offset)
            return len(view)
        except BaseException as error:
            self._fail(error)
            return 0

    def truncate(self, size: int | None = None) -> int:
        """Set the size that HDF5 sees; the file itself keeps its length until a commit."""
        self._size = self._position if size is None else size
        return self._size

    def flush(self) -> None:  # noqa: B027
        """Do nothing: bytes become part of the file with a commit."""

    def _fail(self, error: BaseException) -> None:
        """Keep the first failure."""
        if self._failure is None:
            self._failure = error


def load(fd: int, view: memoryview, offset: int) -> None:
    """Fill a view from a file, with zeros behind its end."""
    done = disk.read_into(fd, view, offset)
    if done < len(view):
        view[done:] = bytes(len(view) - done)


def lay_over(view: memoryview, offset: int, image: Callable[[int], bytes | bytearray | None]) -> None:
    """Put images of pages, where there are some, in place of what a view of the file has there."""
    end = offset + len(view)
    for number in range(offset // PAGE_BYTES, -(-end // PAGE_BYTES)):
        page = image(number)
        if page is not None:
            first, start = number * PAGE_BYTES, max(offset, number * PAGE_BYTES)
            stop = min(end, first + PAGE_BYTES)
            view[start - offset : stop - offset] = page[start - first : stop - first]


__all__ = ["FileObject", "lay_over", "load"]
