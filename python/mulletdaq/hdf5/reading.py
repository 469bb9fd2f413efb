"""Opening a file of ours for reading, at its newest commit, while it is written and after."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from mulletdaq.errors import FileError, FileFormatError, MissingExtraError
from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.compressors import load_zstd_filter
from mulletdaq.hdf5.journal.guard import undisturbed
from mulletdaq.hdf5.journal.layout import SIGNATURE
from mulletdaq.hdf5.journal.reader import LOCK_TIMEOUT_S, OverlayFile
from mulletdaq.hdf5.storage import check_ours, check_regular, explained, one_line

with needs_extra("hdf5"):
    import h5py


class _OverlaidFile(h5py.File):  # type: ignore[misc]
    """A file of which some commits are still in the journal."""

    def __init__(self, overlay: OverlayFile) -> None:
        super().__init__(overlay, "r")
        self._overlay = overlay

    @property
    def filename(self) -> str:
        """The path it was opened with."""
        return str(self._overlay.path)

    def close(self) -> None:
        """Close the file, and let the writer apply what waits.

        Raises
        ------
        FileError
            If something could not be read: HDF5 then saw zeros in its place.
        """
        with undisturbed():
            super().close()
        overlay = getattr(self, "_overlay", None)
        if overlay is not None:
            overlay.close()
            if overlay.failure is not None:
                raise FileError(f"{overlay.path} could not be read; values from it may be wrong: {overlay.failure}")


def open(path: str | os.PathLike[str], *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> Any:
    """Open an HDF5 file for reading, at its newest commit, also while it is being written.

    What the writer could not yet bring into the file, because others read it, is laid over it in memory. While the file
    is open here, the writer keeps newer commits in its journal: close it soon.

    Parameters
    ----------
    path
        The file.
    lock_timeout_s
        How long to wait for another program that has it open for writing.

    Returns
    -------
    h5py.File
        Read-only.

    Raises
    ------
    FileMissingError, FileFormatError, FileLockedError
        If it is not there, not HDF5, damaged, or open for writing in another program than mulletdaq.
    """
    return _open(os.fspath(path), lock_timeout_s, adopt=False)


def _open(name: str, lock_timeout_s: float, *, adopt: bool) -> Any:
    with suppress(MissingExtraError):  # most files do without
        load_zstd_filter()
    with explained(name, writing=False):
        check_regular(name)
        overlay = OverlayFile(name, adopt=adopt, lock_timeout_s=lock_timeout_s)
        try:
            with undisturbed():  # HDF5 calls into Python, where Ctrl-C would crash it
                file = _open_over(overlay)
        except BaseException:
            overlay.close()
            raise
        if not overlay.pending_commits:
            overlay.close()
        return file


def _open_over(overlay: OverlayFile) -> Any:
    if overlay.read(len(SIGNATURE)) != SIGNATURE:
        raise FileFormatError(f"{overlay.path} is not an HDF5 file; choose another path")
    if overlay.pending_commits:
        return _OverlaidFile(overlay)
    # With nothing to lay over, HDF5 itself reads faster. It takes its own lock before the overlay's is let go.
    return h5py.File(overlay.path, "r", locking=overlay.locked)


@contextmanager
def open_for_reading(path: str, *, adopt: bool = False) -> Iterator[Any]:
    """A file of ours, opened read-only at its newest commit.

    Parameters
    ----------
    adopt
        Take a journal though the file was copied, or changed by others since.

    Raises
    ------
    FileMissingError, FileFormatError, FileVersionError, FileLockedError
        If it is not there, not one of ours, too new, or open for writing in another program.
    """
    file = _open(path, LOCK_TIMEOUT_S, adopt=adopt)
    with file:
        try:
            check_ours(file, path)
        except FileError:
            raise
        except Exception as error:  # a damaged file can make h5py raise anything
            raise FileFormatError(f"{path} is a damaged HDF5 file: {one_line(error)}") from error
        yield file


__all__ = ["open", "open_for_reading"]
