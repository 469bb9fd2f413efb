"""What a recording says of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RecordingStatistics:
    """A recording, or one stream of it, at one moment.

    Attributes
    ----------
    rows_written
        Rows given to the recording.
    rows_persisted
        Rows of them that are in the file.
    rows_lost
        Rows that were overwritten before they could be written to the file, as its ledger has them.
    batches
        Batches in the file, those of earlier runs included.
    lag_s
        How long ago the oldest row that is not yet in the file can have been written at most.
    ring_fill
        Share of the fullest ring that is not yet in the file, 0 to 1.
    file_bytes
        Size of the file.
    writer_alive
        Whether the writer process lives.
    """

    rows_written: int
    rows_persisted: int
    rows_lost: int
    batches: int
    lag_s: float
    ring_fill: float
    file_bytes: int
    writer_alive: bool
