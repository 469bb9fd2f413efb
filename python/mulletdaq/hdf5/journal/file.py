"""A file that changes only by whole commits, for h5py's ``fileobj`` driver."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Literal

from mulletdaq.errors import FileError, FileWriteError
from mulletdaq.hdf5.journal import disk
from mulletdaq.hdf5.journal.apply import Applier
from mulletdaq.hdf5.journal.guard import close_files_over, flush_files_over, undisturbed
from mulletdaq.hdf5.journal.lifetime import keep_track
from mulletdaq.hdf5.journal.opening import (
    Place,
    begins_as_hdf5,
    check_file,
    explained,
    fresh_header,
    leave_nothing_new,
    lock_journal,
    open_file,
)
from mulletdaq.hdf5.journal.statistics import JournalStatistics
from mulletdaq.hdf5.journal.transaction import Transaction

LIMIT_BYTES = 256 << 20
_CLOSE_PATIENCE_S = 2.0
_RETRY_S = 0.005


class JournaledFile(Transaction):
    """A file object whose bytes reach the file by whole commits: all of one, or nothing.

    Beside FILE lies ``FILE-journal`` while this is open. Opening takes FILE for this process alone to write, finishes
    or discards what a crash left, and leaves other programs free to read.

    Parameters
    ----------
    path
        The file; a missing one appears with the first commit.
    fsync
        ``"commit"``: a commit survives a power cut. ``"never"``: it survives the end of the process.
    adopt
        Take a journal though FILE was copied, or changed by others since.
    limit_bytes
        Size of the journal from which on :attr:`full` asks for another file. Commits go on beyond it.
    lock_timeout_s
        How long to wait for another process to let go of the file.

    Raises
    ------
    FileLockedError
        If another process writes it; the message names the process.
    JournalMismatchError
        If its journal belongs to another file, or another program wrote it; ``adopt`` overrides.
    FileFormatError
        If its journal is needed and gone, or it is no regular file.
    FileWriteError
        If it cannot be opened for writing, or lies on a file system without file locks.

    Notes
    -----
    Not to be used by several threads at once, but from any. A forked child has nothing of it.
    Where signal handlers may raise, as for Ctrl-C in a main thread, use the ``h5py.File`` inside
    :func:`~mulletdaq.hdf5.journal.undisturbed`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        fsync: Literal["commit", "never"] = "commit",
        adopt: bool = False,
        limit_bytes: int = LIMIT_BYTES,
        lock_timeout_s: float = 0.0,
    ) -> None:
        super().__init__(os.fspath(path), durable=fsync == "commit")
        if fsync not in ("commit", "never"):
            raise ValueError(f"fsync={fsync!r} is not known; choose 'commit' or 'never'")
        self.limit_bytes = limit_bytes
        self._place = Place.of(path)
        self._commits = self._pages = self._recovered_commits = 0
        self._published = self._signed = False
        self._pending_since = 0.0
        try:
            self._journal = lock_journal(self._place, durable=self._durable, timeout_s=lock_timeout_s)
            try:
                self._open(adopt, lock_timeout_s)
            except BaseException:
                try:
                    leave_nothing_new(self._place, self._journal, self._fd, published=self._published)
                finally:
                    self._let_go()
                raise
        except FileError:
            raise
        except OSError as error:
            raise FileWriteError(f"cannot open {self.path} for writing: {error.strerror or error}") from error
        keep_track(self)

    @property
    def journal_path(self) -> str:
        """Where the journal lies."""
        return self._place.journal

    @property
    def set_aside(self) -> str:
        """New name of a journal that held commits of a file that is gone; empty if there was none."""
        return self._journal.set_aside

    @property
    def created(self) -> bool:
        """Whether the file has no commit yet, and so no name."""
        return not self._published

    @property
    def full(self) -> bool:
        """Whether the journal has passed its limit, because readers never let go of FILE."""
        return self._journal.contents.tail > self.limit_bytes

    def statistics(self) -> JournalStatistics:
        """Counts up to now."""
        return JournalStatistics(
            commits=self._commits,
            pages=self._pages,
            pending_commits=self._journal.pending_commits,
            apply_lag_s=time.monotonic() - self._pending_since if self.pending else 0.0,
            put_off=self._applier.put_off,
            journal_bytes=self._journal.contents.tail,
            recovered_commits=self._recovered_commits,
            apply_error=self._applier.error,
        )

    def __repr__(self) -> str:
        return f"<JournaledFile {self.path} at {id(self):#x}>"

    def __enter__(self) -> JournaledFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(commit=kind is None)

    # ---- commits

    def commit(self) -> None:
        """Make everything written since the last commit part of the file, at once or not at all.

        What the open ``h5py.File`` still holds is flushed first. Applying to FILE is tried, and put off while readers
        hold it; the commit stands either way.

        Raises
        ------
        FileWriteError
            If it failed; call :meth:`rollback`. Whether the commit stands says :attr:`last_commit` after that.
        OutputExistsError
            If another program made the file before its first commit.
        """
        with undisturbed():
            try:
                flush_files_over(self)
                self._raise_failure()
                made = self._commit()
            except BaseException as error:
                self._fail(error)
                raise explained(self.path, error) from error
            if made:
                self._try_to_apply()

    def apply(self) -> bool:
        """Try to bring pending commits into FILE; True when none is left.

        Raises
        ------
        FileWriteError
            If another program wrote FILE meanwhile.
        """
        with undisturbed():
            self._raise_failure()
            done = self._try_to_apply()
            self._raise_failure()
            return done

    def rollback(self) -> None:
        """Forget everything since the last commit.

        The ``h5py.File`` over it is closed; make a new one. If the last commit failed at its very end it may stand all
        the same: :attr:`last_commit` tells.

        Raises
        ------
        FileWriteError
            If the journal cannot be read or renewed now. Nothing is lost; call again.
        """
        with undisturbed():
            self._fail(InterruptedError("rolled back"))  # what HDF5 writes while it closes goes nowhere
            close_files_over(self, discard=True)
            self._drop_changes()
            try:
                self._applier.share(0.0)
                if self._journal.suspect:
                    self._reload()
                if not self._published and self.pending:
                    self._publish()
                self._check_file()
                self._cut_to(self._floor)  # a full disk needs the room
            except BaseException as error:
                self._failure = error
                raise explained(self.path, error) from error
            self._size = self.end
            self._failure = None

    def close(self, *, commit: bool = True) -> None:
        """Close the file, and remove the journal if FILE has everything; harmless when closed.

        If readers hold FILE still, the journal stays: the next opening, or ``mullet recover``, finishes it.

        Parameters
        ----------
        commit
            Commit first; otherwise what is not committed is dropped.

        Raises
        ------
        FileWriteError
            If that commit failed, or another program wrote the file; everything is closed all the same.
        """
        closed = self._fd < 0
        try:
            with undisturbed():
                if closed or not commit:
                    self._fail(InterruptedError("closed"))  # what HDF5 writes while it closes goes nowhere
                close_files_over(self, discard=closed or not commit)  # if it is closed, a forked child's copy
                if commit and not closed:
                    self.commit()
        finally:
            self._drop_changes()
            try:
                if not closed:
                    self._finish()  # outside h5py's lock: those it waits for may be in this process
            except OSError as error:
                raise explained(self.path, error) from error
            finally:
                self._let_go()

    # ---- steps

    def _commit(self) -> bool:
        """Whether there was anything to commit."""
        if self._journal.suspect:
            self._reload()
        pages = self._changed_pages()
        if not pages and self._size == self.end and not self._straight:
            self._changes.clear()
            return False
        self._check_file()
        if self._size > self.end:
            disk.allocate(self._fd, self.end, self._size - self.end)  # so that applying cannot lack room
            self._extent = max(self._extent, self._size)
        self._sync_file()
        if 0 not in self._journal.contents.index:
            pages.setdefault(0, self._changes.get(0) or bytearray(self._committed(0)))
        first_pending = not self.pending
        self._journal.append(pages, self._size)
        # From here on the commit stands.
        if first_pending:
            self._pending_since = time.monotonic()
        self._changes.clear()
        self._floor = max(self._floor, self._size)
        self._signed = self._signed or begins_as_hdf5(self._fd)
        self._commits += 1
        self._pages += len(pages)
        if not self._published:
            self._publish()
        if self._journal.worth_renewing(self.limit_bytes):
            with suppress(OSError):  # the journal as it was, or one marked suspect, goes on
                self._renew()
        return True

    def _renew(self) -> None:
        header = self._journal.header
        assert header is not None
        base_end, commit = header.base_end, header.commit
        self._journal.renew(
            fresh_header(self._journal, self._fd, published=self._published, base_end=base_end, commit=commit)
        )

    def _publish(self) -> None:
        if disk.identity_at(self._place.path) == disk.identity(self._fd):
            disk.unlink_if_there(self._place.first)  # an earlier try got that far
        else:
            disk.publish(self._place.first, self._place.path)
        self._journal.sync_folder()
        self._published = True

    def _try_to_apply(self) -> bool:
        if not self.pending:
            return True
        try:
            if self._journal.suspect:
                self._reload()
                return not self.pending
            self._check_length()
            if self._applier.run(self._journal):
                self._applied()
        except OSError as error:
            self._applier.error = str(error)
            if self._straight or isinstance(error, FileError):
                # An fsync that failed may have dropped what the running commit wrote; or another program wrote FILE.
                self._fail(error)
        return not self.pending

    def _applied(self) -> None:
        """FILE has every commit, on the disk: begin the next generation."""
        contents = self._journal.contents
        header = fresh_header(self._journal, self._fd, published=True, base_end=contents.end, commit=contents.commit)
        self._journal.begin(header)
        if not self._changes:  # pages above a lower end would be shadowed by their changes
            self._floor = contents.end

    def _open(self, adopt: bool, lock_timeout_s: float) -> None:
        opened = open_file(self._place, self._journal, adopt=adopt)
        self._fd, self._published = opened.fd, opened.published
        self._applier = Applier(self._fd, self.path, durable=self._durable)
        self._applier.share(lock_timeout_s)
        self._recovered_commits = self._journal.pending_commits
        self._adopt_state(opened.end)
        self._size = self.end
        if not self.pending:
            self._cut_to(self.end)
        self._try_to_apply()

    def _reload(self) -> None:
        """Read the journal again, as after a crash: what is in it counts, whatever an error said."""
        self._journal.load()
        header = self._journal.header
        assert header is not None
        self._adopt_state(header.base_end)

    def _adopt_state(self, base_end: int) -> None:
        """Have the journal, as it was just loaded, whole on the disk and about this file."""
        journal = self._journal
        self._floor = max(self._floor, base_end, journal.contents.highest_end, *journal.contents.file_ends)
        self._extent = disk.size(self._fd)
        self._signed = begins_as_hdf5(self._fd)
        if self._durable:
            disk.sync(self._fd)  # frames may have come from a writer that never did
        if journal.pending_commits:
            journal.sync_folder()  # the new journal calls FILE published: its name must not be younger
            self._renew()
            self._pending_since = time.monotonic()
        else:
            commit = journal.contents.commit
            journal.begin(fresh_header(journal, self._fd, published=self._published, base_end=base_end, commit=commit))
            journal.sync_folder()

    def _check_file(self) -> None:
        extent = self._extent if self._published else None
        check_file(self._place, self._fd, self._journal, extent=extent, signed=self._signed)

    def _finish(self) -> None:
        """Leave FILE alone in its folder if possible."""
        if not self._published:
            disk.unlink_if_there(self._place.first)
            self._journal.remove()
            return
        if not self._applier.held:
            return  # another program wrote FILE: the next opening judges it
        deadline = time.monotonic() + _CLOSE_PATIENCE_S
        while not self._try_to_apply() and not self._applier.error and time.monotonic() < deadline:
            time.sleep(_RETRY_S)
        if self.pending or self._journal.suspect:
            return
        self._cut_to(self.end)
        if self._durable:
            disk.sync(self._fd)
        self._journal.remove()

    def _let_go(self) -> None:
        if self._fd >= 0:
            disk.close(self._fd)
            self._fd = -1
        self._journal.close()

    def close_at_exit(self) -> None:
        """See :class:`~mulletdaq.hdf5.journal.lifetime.Closing`; what is not committed is dropped."""
        self.close(commit=False)

    def abandon_in_child(self) -> None:
        """See :class:`~mulletdaq.hdf5.journal.lifetime.Closing`: file and locks are the parent's."""
        self._fail(RuntimeError("forked"))
        self._let_go()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise explained(self.path, self._failure) from self._failure


__all__ = ["LIMIT_BYTES", "JournaledFile"]
