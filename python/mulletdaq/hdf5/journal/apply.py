"""Bringing commits from the journal into FILE, while no reader holds it."""

from __future__ import annotations

import time

from mulletdaq.errors import FileLockedError, FileWriteError
from mulletdaq.hdf5.journal import disk
from mulletdaq.hdf5.journal.frames import Journal
from mulletdaq.hdf5.journal.layout import PAGE_BYTES, SEAL, SIGNATURE
from mulletdaq.hdf5.journal.opening import no_locks

_LOCK_RETRY_S = 0.005


class Applier:
    """Holds FILE shared, so that others may read and not write, and exclusively while it changes.

    Parameters
    ----------
    fd
        FILE; owned by somebody else.
    path
        Its name in messages.
    durable
        Whether to have the pages on the disk before they count as applied.

    Attributes
    ----------
    held
        Whether FILE is held; not, when another program took it.
    put_off
        How often readers were in the way.
    error
        Why the last try failed; empty when it did not.
    """

    def __init__(self, fd: int, path: str, *, durable: bool) -> None:
        self._fd = fd
        self._path = path
        self._durable = durable
        self.held = False
        self.put_off = 0
        self.error = ""

    def share(self, timeout_s: float) -> None:
        """Take FILE for reading.

        Raises
        ------
        FileLockedError
            If another program has it open for writing after ``timeout_s``.
        FileWriteError
            If the file system has no locks.
        """
        deadline = time.monotonic() + timeout_s
        try:
            while not self.held:
                self.held = disk.lock(self._fd, exclusive=False)
                if self.held:
                    break
                if time.monotonic() >= deadline:
                    raise FileLockedError(f"{self._path} is open for writing in another program; close it there first")
                time.sleep(_LOCK_RETRY_S)
        except disk.NoLocksError as error:
            raise no_locks(self._path) from error

    def run(self, journal: Journal) -> bool:
        """Apply every page; False when readers keep it from that.

        Raises
        ------
        FileWriteError
            If another program wrote FILE.
        OSError
            If writing failed. FILE may be sealed then; running again mends it.
        """
        before = disk.fingerprint(self._fd)
        # Changing a flock lets go of it first: a writer may slip in between, whether the change is granted or not.
        granted = disk.lock(self._fd, exclusive=True)
        self.held = granted or disk.lock(self._fd, exclusive=False)
        if not self.held or disk.fingerprint(self._fd) != before:
            raise self._written_by_others()
        if not granted:
            self.put_off += 1
            return False
        try:
            self._write_pages(journal)
        finally:
            self.held = disk.lock(self._fd, exclusive=False)
        if not self.held:
            raise self._written_by_others()
        if self._durable:
            disk.sync(self._fd)
        self.error = ""
        return True

    def _write_pages(self, journal: Journal) -> None:
        """Seal, write, unseal: a crash in between leaves a file that no reader takes for a good one."""
        images = journal.images()
        first, image = next(images)
        assert first == 0, "page 0 is in the first frame of each generation"
        sealed = image[: len(SIGNATURE)] == SIGNATURE
        if sealed and disk.read_at(self._fd, len(SIGNATURE), 0) == SIGNATURE:
            disk.write_at(self._fd, SEAL, 0)
        disk.write_at(self._fd, SEAL + image[len(SEAL) :] if sealed else image, 0)
        for number, image in images:
            disk.write_at(self._fd, image, number * PAGE_BYTES)
        if sealed:
            disk.write_at(self._fd, SIGNATURE, 0)

    def _written_by_others(self) -> FileWriteError:
        return FileWriteError(
            f"another program wrote {self._path} while it was being recorded; what is in the journal is kept"
        )


__all__ = ["Applier"]
