"""What a crash left beside a file, and putting it right."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from mulletdaq.errors import FileLockedError, FileMissingError
from mulletdaq.hdf5.journal import disk
from mulletdaq.hdf5.journal.file import JournaledFile
from mulletdaq.hdf5.journal.frames import Contents, read_contents, read_header
from mulletdaq.hdf5.journal.layout import PAGE_BYTES, round_up
from mulletdaq.hdf5.journal.opening import Place, judge
from mulletdaq.hdf5.journal.reader import OverlayFile

JournalState = Literal["none", "live", "left"]


@dataclass(frozen=True)
class JournalReport:
    """The journal beside a file.

    Attributes
    ----------
    state
        ``"none"``: there is none, the file is whole. ``"live"``: a writer has it. ``"left"``: a crash left it, or a
        reader kept the writer from finishing.
    pending_commits
        Commits that are in the journal and not in the file.
    pid
        The writer that made it; 0 when there is none, or it had not begun.
    journal_bytes
        Its size.
    """

    state: JournalState
    pending_commits: int = 0
    pid: int = 0
    journal_bytes: int = 0

    @property
    def line(self) -> str:
        """The report in words."""
        if self.state == "none":
            return "journal: none, the file is complete"
        if self.state == "live":
            return f"journal: process {self.pid} is writing, {self.pending_commits} commits are still to be applied"
        return f"journal: left by process {self.pid}, {self.pending_commits} commits are still to be applied"


def inspect_journal(path: str | os.PathLike[str]) -> JournalReport:
    """Look at the journal of a file without changing or holding anything up.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    place = Place.of(path)
    fd = disk.open_if_there(place.journal)
    if fd is None:
        return JournalReport("none")
    try:
        # Shared: two who look at once do not take each other for a writer.
        state: JournalState = "left" if disk.lock(fd, exclusive=False) else "live"
        header = read_header(fd)
        if header is None:
            return JournalReport(state, journal_bytes=disk.size(fd))
        contents = read_contents(fd, header)
        return JournalReport(state, contents.commit - header.commit, header.pid, contents.tail)
    finally:
        disk.close(fd)


@dataclass(frozen=True)
class Recovery:
    """What :func:`recover` did, or would do.

    Attributes
    ----------
    found
        The journal as it was before.
    applied_commits
        Commits brought into the file.
    dropped_bytes
        Bytes cut off behind the last commit: what a commit that never was had begun.
    pending_commits
        Commits that readers of the file still keep from being applied.
    discarded
        Whether a journal without a file was removed: of a recording killed before its first commit.
    """

    found: JournalReport
    applied_commits: int = 0
    dropped_bytes: int = 0
    pending_commits: int = 0
    discarded: bool = False


def recover(path: str | os.PathLike[str], *, adopt: bool = False, dry_run: bool = False) -> Recovery:
    """Finish or discard what a crash left in the journal of a file; a file without a journal is not touched.

    Parameters
    ----------
    adopt
        Take the journal though the file was copied, or changed by others since.
    dry_run
        Only say what would be done.

    Raises
    ------
    FileMissingError
        If there is neither file nor journal.
    FileLockedError
        If a writer lives; the message names it.
    JournalMismatchError, FileFormatError, FileWriteError
        As for :class:`~mulletdaq.hdf5.journal.JournaledFile`.
    """
    place = Place.of(path)
    found = inspect_journal(path)
    if found.state == "none":
        _check_complete(place)
        return Recovery(found)
    if dry_run:
        return _foreseen(place, found, adopt=adopt)
    if found.pending_commits and disk.identity_at(place.path) is None and not _is_unpublished(place):
        raise FileMissingError(
            f"{place.path} is not there, but {place.journal} holds {found.pending_commits} commits of it; "
            "put the file back, or move its journal away"
        )
    before = _size_at(place.path)
    file = JournaledFile(path, adopt=adopt)
    created, end = file.created, file.end
    file.close(commit=False)
    left = file.statistics().pending_commits
    return Recovery(
        found,
        applied_commits=0 if created else found.pending_commits - left,
        dropped_bytes=_behind(before, end),
        pending_commits=left,
        discarded=created,
    )


def _check_complete(place: Place) -> None:
    """That a file without a journal is there, and needs none."""
    fd = disk.open_if_there(place.path)
    if fd is None:
        raise FileMissingError(f"{place.path} is not there; check the path")
    try:
        judge(place, None, Contents(0, 0, b""), fd, adopt=False)
    finally:
        disk.close(fd)


def _foreseen(place: Place, found: JournalReport, *, adopt: bool) -> Recovery:
    """What recovering would do, without doing it."""
    if found.state == "live":
        raise FileLockedError(f"{place.path} is being written by process {found.pid}; stop it first")
    if disk.identity_at(place.path) is None:
        return Recovery(found, discarded=True)
    overlay = OverlayFile(place.path, adopt=adopt)
    try:
        dropped_bytes = _behind(_size_at(place.path), overlay.size)
        return Recovery(found, overlay.pending_commits, dropped_bytes)
    finally:
        overlay.close()


def _is_unpublished(place: Place) -> bool:
    fd = disk.open_for_reading(place.journal)
    try:
        header = read_header(fd)
    finally:
        disk.close(fd)
    return header is not None and header.unpublished


def _behind(size: int, end: int) -> int:
    """Bytes behind the page in which the last commit ends: applying writes whole pages."""
    return max(0, size - round_up(end, PAGE_BYTES))


def _size_at(path: str) -> int:
    fd = disk.open_if_there(path)
    if fd is None:
        return 0
    try:
        return disk.size(fd)
    finally:
        disk.close(fd)


__all__ = ["JournalReport", "JournalState", "Recovery", "inspect_journal", "recover"]
