"""How far the curves reach, and how long is measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Sizes of each curve, in order.

    Attributes
    ----------
    rounds
        Of each interleaved measurement.
    calls
        Rows of each that writes rows.
    file_mb
        Sizes of a file at which commits are measured, in 1,000,000 bytes.
    commit_mb
        Size of the commits between them.
    batches
        Numbers of commits at which they are measured.
    window
        Commits measured at each of these places.
    folder
        Where files are made; None is the temporary folder.
    """

    rounds: int = 9
    calls: int = 100_000
    channels: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    block_rows: tuple[int, ...] = (1, 10, 100, 1000, 10_000, 100_000, 1_000_000)
    cursors: tuple[int, ...] = (0, 1, 2, 4, 8, 16)
    ring_mb: tuple[float, ...] = (10, 30, 100, 300, 1000)
    file_mb: tuple[float, ...] = (1, 10, 100, 1000, 2000)
    commit_mb: float = 64
    batches: tuple[int, ...] = (10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
    window: int = 50
    folder: Path | None = None


QUICK = Settings(
    rounds=1,
    calls=1000,
    channels=(1, 4),
    block_rows=(1, 100),
    cursors=(0, 1, 2),
    ring_mb=(1, 2),
    file_mb=(1, 3),
    commit_mb=1,
    batches=(5, 10),
    window=3,
)
"""Whether it runs at all; the figures mean nothing."""


def up_to(sizes: tuple[float, ...], largest: float) -> tuple[float, ...]:
    """A tenfold series that ends with the largest."""
    extended = [*sizes[:1], *(sizes[0] * 10**power for power in range(1, 12))]
    return (*(size for size in extended if size < largest * 0.9), largest)
