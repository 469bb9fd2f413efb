"""What an HDF5 writer says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class StreamStatistics:
    """One stream's share of a writer's work.

    Attributes
    ----------
    run
        Number of the stream's run in the file; 0 until its first rows or schema are there.
    rows_persisted, rows_lost
        Rows of the run that are in the file, and rows of it that the ring lost before they could be.
    batches
        Batches of the stream in the file, those of earlier runs included.
    next_row
        The first row that is neither in the file nor lost.
    """

    run: int = 0
    rows_persisted: int = 0
    rows_lost: int = 0
    batches: int = 0
    next_row: int = 0


@dataclass(frozen=True)
class WriterStatistics:
    """A writer's state as of its last commit.

    Attributes
    ----------
    rows_persisted, rows_lost, batches
        Sums over the streams.
    commits
        Commits of this writer since it was started.
    lag_s
        How long ago the oldest row that is not yet in the file can have been written at most; 0 when none is missing.
    file_bytes
        Size of the file.
    last_commit_ns, persisted_until_ns
        Unix time in ns of the last commit, and the time up to which everything written is in the file.
    ring_fill
        Share of the fullest ring that is not in the file, 0 to 1.
    path
        The file being written: the output, or, when readers held that one too long, the one that continues it.
    pending_commits, apply_lag_s, journal_bytes
        Commits that are safe in the journal and wait for readers to let go of the file, how long the oldest of them has
        waited, and the journal's size.
    apply_error
        Why commits cannot be brought from the journal into the file; empty when they can.
    trouble
        Why nothing can be committed now, or nothing more of a stream; empty when all is well.
    paused
        Whether that is for lack of room on the disk: commits wait, rows stay in the ring, and it resumes by itself.
    last_note
        Number of the owner's last note that is in the file.
    streams
        The same by stream; a writer made with a bare ring calls its only stream ``""``.
    """

    rows_persisted: int = 0
    rows_lost: int = 0
    batches: int = 0
    commits: int = 0
    lag_s: float = 0.0
    file_bytes: int = 0
    last_commit_ns: int = 0
    persisted_until_ns: int = 0
    ring_fill: float = 0.0
    path: str = ""
    pending_commits: int = 0
    apply_lag_s: float = 0.0
    journal_bytes: int = 0
    apply_error: str = ""
    trouble: str = ""
    paused: bool = False
    last_note: int = 0
    streams: Mapping[str, StreamStatistics] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The statistics as plain numbers and dicts, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> WriterStatistics:
        """The statistics that :meth:`to_dict` took apart."""
        streams = {name: StreamStatistics(**stream) for name, stream in values["streams"].items()}
        return cls(**{**values, "streams": streams})


__all__ = ["StreamStatistics", "WriterStatistics"]
