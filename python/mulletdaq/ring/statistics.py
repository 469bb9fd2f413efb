"""A ring at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from mulletdaq._core import Ring

Content: TypeAlias = Literal["none", "opaque", "arrow"]
"""What the first write makes of a ring."""

_OPAQUE, _ARROW = 1, 2


@dataclass(frozen=True)
class RingStatistics:
    """A ring at one moment.

    Attributes
    ----------
    rows_written
        Rows ever written, open frame included.
    rows_lost
        Rows overwritten before the persisting sink committed them; None when the ring alone cannot
        tell how many (the sink's file will).
    fill
        Share of the capacity that the persisting sink has not committed, 0 to 1.
    producer_pid, sink_pid
        Who holds the role now, by its lock; None for nobody.
    """

    rows_written: int
    rows_lost: int | None
    fill: float
    capacity_bytes: int
    stream_id: int
    created_ns: int
    content: Content
    producer_pid: int | None
    sink_pid: int | None


def content_of(ring: Ring) -> Content:
    """What the first write made of a ring."""
    flags = ring.flags
    return "opaque" if flags & _OPAQUE else "arrow" if flags & _ARROW else "none"


def statistics_of(ring: Ring) -> RingStatistics:
    """A ring now."""
    uncommitted = min(max(ring.write_head - ring.read_tail, 0), ring.capacity_bytes)
    return RingStatistics(
        rows_written=ring.newest_row(),
        rows_lost=_rows_lost(ring),
        fill=uncommitted / ring.capacity_bytes,
        capacity_bytes=ring.capacity_bytes,
        stream_id=ring.stream_id,
        created_ns=ring.created_ns,
        content=content_of(ring),
        producer_pid=ring.producer_pid,
        sink_pid=ring.sink_pid,
    )


def _rows_lost(ring: Ring) -> int | None:
    at_tail = ring.row_at_tail()
    return None if at_tail is None else max(0, ring.oldest_row() - at_tail)
