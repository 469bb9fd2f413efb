"""What a journaled file says of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class JournalStatistics:
    """A journaled file's work since it was opened.

    Attributes
    ----------
    commits, pages
        Commits made, and pages of 4096 bytes that they put into the journal.
    pending_commits
        Commits that are in the journal and not yet in FILE, because readers hold it.
    apply_lag_s
        How long the oldest of them has waited.
    put_off
        How often readers kept them from being applied.
    journal_bytes
        What the journal holds now, in bytes.
    recovered_commits
        Commits that a crashed writer had left in the journal.
    apply_error
        Why the last try to apply failed; empty when it did not.
    """

    commits: int = 0
    pages: int = 0
    pending_commits: int = 0
    apply_lag_s: float = 0.0
    put_off: int = 0
    journal_bytes: int = 0
    recovered_commits: int = 0
    apply_error: str = ""


__all__ = ["JournalStatistics"]
