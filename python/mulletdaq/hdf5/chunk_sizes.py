"""How many rows the chunks of growing datasets have: from the rate, so that a commit changes few pages of the file.

What a commit adds behind the end of the file costs the journal nothing; what it changes below goes through it page by
page. Below the end lies the open chunk of each dataset. So where a commit brings many rows chunks are small beside
them, commits end where chunks end, and nothing stays open. Where it brings few, the open chunk takes rows where it
lies, a page or two at a time, and chunks are so small that filling all of them changes no more than some 32 pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.chunks import CHUNK_BYTES, choose_chunk_rows
from mulletdaq.hdf5.journal.layout import PAGE_BYTES
from mulletdaq.hdf5.parts import Part

with needs_extra("hdf5"):
    import numpy as np

_OPEN_PAGES = 32
"""What the open chunks of a slow stream are together, if they have a page at least."""

_MOST_OPEN_PAGES = 4
_LEAST_BYTES = 512
"""Chunks of narrow datasets have more rows only below that: those that do are open when the others are full."""

_CHUNKS_A_COMMIT = 8
_MOST_RAGGED_BYTES = 32 * PAGE_BYTES
_MOST_OPEN_BYTES = 64 << 20
"""What all open chunks of a stream together take in memory."""


@dataclass(frozen=True)
class ChunkSizes:
    """The chunks of one stream's datasets.

    Attributes
    ----------
    step
        After every so many rows all datasets with one entry a row begin a chunk.
    rows
        Rows of the chunks of the widest of them, and of all that are not very narrow.
    open_bytes
        What a chunk is that is filled by several commits.
    per_commit
        How many rows a commit is expected to bring.
    exact
        Whether ``rows`` was asked for, and so is that of all datasets with one entry a row.
    """

    step: int
    rows: int
    open_bytes: int
    per_commit: int
    exact: bool

    def with_step(self, step: int) -> ChunkSizes:
        """Sizes for datasets that come late, beside others that begin a chunk every ``step`` rows."""
        return replace(self, step=step, rows=step)

    @classmethod
    def chosen(cls, parts: Sequence[Part], per_commit: int, chunk_rows: int | None) -> ChunkSizes:
        """Sizes for a stream whose first batch has these parts.

        Parameters
        ----------
        parts
            All of them.
        per_commit
            How many rows a commit is expected to bring.
        chunk_rows
            A number of rows that was asked for.
        """
        datasets = [part for part in parts if part.kind != "group"]
        widths = [row_bytes(part.values) for part in datasets if part.kind != "offsets" and not part.within] or [8]
        open_bytes = PAGE_BYTES * min(max(_OPEN_PAGES // max(1, len(datasets)), 1), _MOST_OPEN_PAGES)
        if chunk_rows is not None:
            rows = choose_chunk_rows(max(widths), None, chunk_rows)
            return cls(rows, rows, open_bytes, per_commit, exact=True)
        most = min(CHUNK_BYTES, _MOST_OPEN_BYTES // max(1, len(datasets)))
        wanted = max(open_bytes // max(widths), -(-per_commit // _CHUNKS_A_COMMIT))
        rows = max(1, min(wanted, most // max(widths)))
        step = rows * max(_widening(rows, width) for width in widths)
        return cls(step if step <= per_commit // 2 else rows, rows, open_bytes, per_commit, exact=False)

    def rows_for(self, part: Part) -> int:
        """Rows a chunk of one part."""
        width = row_bytes(part.values)
        if part.kind == "offsets" or part.within:  # how many entries a commit brings varies: they are open after each
            per_commit = int(part.values.nbytes)
            wanted = min(max(self.open_bytes, per_commit // _CHUNKS_A_COMMIT), _MOST_RAGGED_BYTES)
            return max(1, wanted // width)
        return self.rows if self.exact else self.rows * _widening(self.rows, width)


def row_bytes(values: Any) -> int:
    """Bytes of one entry."""
    return max(1, int(values.dtype.itemsize * np.prod(values.shape[1:], dtype=np.int64)))


def _widening(rows: int, width: int) -> int:
    """The least power of two that makes a chunk large enough."""
    factor = 1
    while rows * width * factor < _LEAST_BYTES:
        factor *= 2
    return factor


__all__ = ["ChunkSizes", "row_bytes"]
