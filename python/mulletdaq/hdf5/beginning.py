"""Where a new run begins in a ring."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from mulletdaq.errors import FrameCorruptError
from mulletdaq.hdf5.options import RingAddress
from mulletdaq.ring import Cursor, RingBuffer
from mulletdaq.schema import TIMESTAMP


def first_cursor(ring: RingBuffer, address: RingAddress) -> Cursor:
    """The cursor of a run that is not in any file yet.

    Parameters
    ----------
    ring
        The ring.
    address
        Says where to begin; a row that is gone gives the oldest that is there. If it does not say: at the very first
        row, what was overwritten counted as lost, or, where another file has some rows, at the oldest that is there.

    Notes
    -----
    Looked up anew after a death it gives the same row, or, that being gone, the oldest; nothing else is needed to begin
    a run exactly once.
    """
    if address.since_ns is not None:
        return ring.cursor(start_row=row_since(ring, address.since_ns), verify=True)
    if isinstance(address.start, int):
        return ring.cursor(start_row=address.start, verify=True)
    if address.start == "oldest" or ring.read_tail:
        return ring.cursor("oldest", verify=True)
    return ring.cursor(0, start_row=0, start_sequence=0, verify=True)


def row_since(ring: RingBuffer, since_ns: int) -> int:
    """The first row with a timestamp of at least ``since_ns``; the next one to be written if there is none.

    Stamps are taken to grow from row to row. Rows without a ``timestamp`` have that of their frame.
    """
    with ring.cursor("oldest") as cursor:
        low, high = cursor.row, ring.newest_row
    while low < high:
        middle = (low + high) // 2
        found = _stamp_at(ring, middle)
        if found is None:
            break
        row, stamp_ns = found  # of a lapped row the next one's stand for it
        low, high = (row + 1, high) if stamp_ns < since_ns else (low, middle)
    return low


def _stamp_at(ring: RingBuffer, row: int) -> tuple[int, int] | None:
    """A row and its timestamp, or those of the next that can be read."""
    with ring.cursor(start_row=row) as cursor:
        content = None
        while content is None and cursor.lag_rows:
            with suppress(FrameCorruptError):
                content = cursor.read(1)
        if content is None:
            return None
        stamp_ns = None if isinstance(content, bytes) else _stamp_of(content)
        return cursor.row - 1, cursor.timestamp_ns if stamp_ns is None else stamp_ns


def _stamp_of(batch: Any) -> int | None:
    if TIMESTAMP not in batch.schema.names:
        return None
    column = batch.column(TIMESTAMP)
    if str(column.type).startswith("timestamp"):
        column = column.cast("timestamp[ns]").cast("int64")
    stamp_ns = column[0].as_py()
    return stamp_ns if isinstance(stamp_ns, int) else None


__all__ = ["first_cursor", "row_since"]
