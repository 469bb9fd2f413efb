"""After a crash: finish a recording's files, and write out what its rings still hold."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass

from mulletdaq.errors import FileFormatError, FileMissingError, RecordingError, RingError
from mulletdaq.hdf5.chain import following_name
from mulletdaq.hdf5.journal.recovery import Recovery, recover
from mulletdaq.recording.orphans import clear_orphans, uncommitted_rows
from mulletdaq.ring import RingBuffer, output_rings, ring_path


@dataclass(frozen=True)
class RecordingRecovery:
    """What :func:`recover_recording` found and did, or would do.

    Attributes
    ----------
    files
        What became of the journal of each file, the output first, those that continue it after.
    rows
        Rows that the output's rings still held, by stream; of a frame that was open some may have been in the file.
    dry_run
        Whether nothing was done.
    """

    files: dict[str, Recovery]
    rows: dict[str, int]
    dry_run: bool

    @property
    def healthy(self) -> bool:
        """Whether there was nothing to do."""
        return not self.rows and all(one.found.state == "none" for one in self.files.values())

    @property
    def still_pending(self) -> str:
        """The first file whose commits still wait for a reader; empty when all is done."""
        return next((path for path, one in self.files.items() if one.pending_commits), "")

    def lines(self) -> list[str]:
        """What was done, in words."""
        if self.healthy:
            return [f"{path}: healthy, nothing to do" for path in self.files]
        return list(self._lines())

    def _lines(self) -> Iterator[str]:
        would = "would be " if self.dry_run else ""
        for path, one in self.files.items():
            if one.found.state == "none":
                yield f"{path}: no journal, the file is complete"
            elif one.discarded:
                yield f"{path}: {would}discarded: the journal of a recording that was killed before its first commit"
            else:
                yield f"{path}: {one.applied_commits} commits {would}brought from the journal into the file"
                if one.dropped_bytes:
                    yield f"{path}: {one.dropped_bytes} bytes of a commit that never was {would}cut off"
                if one.pending_commits:
                    yield (
                        f"{path}: {one.pending_commits} commits still wait, another program reads the file; "
                        "close it there, and recover again"
                    )
        for stream, rows in self.rows.items():
            yield f"stream {stream or '(unnamed)'}: {rows} rows {would}written from its ring into the file"


def recover_recording(path: str, *, adopt: bool = False, dry_run: bool = False) -> RecordingRecovery:
    """Finish or discard what a crash left of a recording; a healthy file is not touched.

    Parameters
    ----------
    path
        The recording's output file.
    adopt
        Take a journal though its file was copied, or changed by others since.
    dry_run
        Only say what would be done.

    Raises
    ------
    FileMissingError
        If there is neither a file nor a journal nor a ring of one.
    FileLockedError, RecordingError
        If the recording lives.
    JournalMismatchError, FileFormatError, FileWriteError
        If a file cannot be recovered.
    """
    path = os.path.abspath(path)
    rows = dict(_rows_in_rings(path))
    files: dict[str, Recovery] = {}
    following: str | None = path
    while following is not None:
        try:
            files[following] = recover(following, adopt=adopt, dry_run=dry_run)
        except FileMissingError:
            if following == path and not rows:
                raise
            break
        following = None if files[following].discarded else _following(following, adopt=adopt)
    if rows and not dry_run:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what was saved is in the lines
            clear_orphans(path, "a", {})
    return RecordingRecovery(files, rows, dry_run)


def _following(path: str, *, adopt: bool) -> str | None:
    """The file that continues this one; None for a file that is no recording."""
    with suppress(FileFormatError):
        return following_name(path, adopt=adopt)
    return None


def _rows_in_rings(path: str) -> Iterator[tuple[str, int]]:
    for stream, name in output_rings(path).items():
        try:
            ring = RingBuffer.open(ring_path(name))
        except RingError:
            continue  # a recording with this output sets it aside, and says so
        with closing(ring):
            pid = ring.producer_pid
            if pid is not None:
                raise RecordingError(f"process {pid} is recording to {path}; stop it first")
            with suppress(RingError):
                if rows := uncommitted_rows(ring):
                    yield stream, rows


__all__ = ["RecordingRecovery", "recover_recording"]
