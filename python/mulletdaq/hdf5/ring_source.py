"""A ring on this computer as a writer reads it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mulletdaq.errors import RingReplacedError, SinkLockedError
from mulletdaq.hdf5.beginning import first_cursor
from mulletdaq.hdf5.options import RingAddress
from mulletdaq.ring import Cursor, Loss, RingBuffer

if TYPE_CHECKING:
    from mulletdaq.hdf5.ledger import Place


class RingSource:
    """Reads a ring with a cursor, as its persisting sink where nobody else is; a :class:`RowSource`.

    Parameters
    ----------
    address
        The ring, opened here, the id it must have, and where a new run begins.

    Raises
    ------
    RingReplacedError
        If another ring lies at the path.
    """

    origin = ""
    trouble = None
    owes = False
    kept = None

    def __init__(self, address: RingAddress) -> None:
        self._address = address
        self.ring = RingBuffer.open(address.path)
        if self.ring.stream_id != address.stream_id:
            self.ring.close()
            raise RingReplacedError(f"{address.path} was made anew since; make a new HDF5Writer for it")
        self.stream_id = self.ring.stream_id
        self.created_ns = self.ring.created_ns
        self._sink: Any = None
        self._cursor: Cursor | None = None
        self._gap: Loss | None = None

    @property
    def content(self) -> str:
        """See :class:`RowSource`, as the following."""
        return self.ring.content

    @property
    def schema(self) -> Any:
        """The ring's."""
        return self.ring.schema

    # ---- reading

    def begin(self, places: Mapping[int, Place]) -> None:
        """Take the sink's lock, and go on where the file says, or where a new run begins."""
        self._take_sink()
        place = places.get(self.stream_id)
        if place is None:
            self._cursor = first_cursor(self.ring, self._address)
        elif place.position >= 0:
            self._cursor = self.ring.cursor(
                place.position, start_row=place.row, start_sequence=place.sequence, verify=True
            )
        else:
            self._cursor = self.ring.cursor(start_row=place.row, verify=True)
            self._gap = self._gap_from(place.row)

    def _gap_from(self, row: int) -> Loss | None:
        """What is gone since another computer, which knows no frames, recorded up to a row."""
        lost = self._reader.row - row
        return Loss(row, lost, -1, -1, "overwritten", time.time_ns()) if lost > 0 else None

    def take_notes(self) -> list[str]:
        """Nothing: what happens to a ring is told as an error."""
        return []

    def turn(self) -> bool:
        """A ring stays what it is."""
        return False

    def read(self, max_rows: int | None) -> Any:
        """The next rows."""
        return self._reader.read(max_rows)

    def take_losses(self) -> list[Loss]:
        """The losses noticed since the last call, in order."""
        gap, self._gap = self._gap, None
        return ([] if gap is None else [gap]) + self._reader.take_losses()

    @property
    def _reader(self) -> Cursor:
        assert self._cursor is not None
        return self._cursor

    @property
    def row(self) -> int:
        """The next row."""
        return self._reader.row if self._gap is None else self._gap.first_row

    @property
    def position(self) -> int:
        """Start of its frame."""
        return self._reader.position

    @property
    def sequence(self) -> int:
        """Number of the first frame of which nothing was read."""
        return self._reader.sequence

    @property
    def timestamp_ns(self) -> int:
        """Time of the message last read."""
        return self._reader.timestamp_ns

    @property
    def lag_rows(self) -> int:
        """Rows that can be read now."""
        return self._reader.lag_rows

    @property
    def behind(self) -> bool:
        """Whether there are any."""
        return bool(self._reader.lag_rows)

    @property
    def backlog_due(self) -> bool:
        """Whether a quarter of the ring waits."""
        return (self.ring.write_head - self._reader.position) * 4 >= self.ring.capacity_bytes

    def fill(self, position: int) -> float:
        """Share of the ring behind a position."""
        position = self._reader.position if position < 0 else position
        return min(1.0, max(0.0, (self.ring.write_head - position) / self.ring.capacity_bytes))

    # ---- up to the rows of a moment

    def head(self, *, ask: bool) -> int:
        """The rows ever written; nobody needs to be asked."""
        return self.ring.newest_row

    def limit(self, until_row: int) -> int:
        """The same row."""
        return until_row

    # ---- after a commit

    def release(self, position: int) -> None:
        """Let the producer overwrite what is in the file."""
        self._take_sink()
        if self._sink is not None and position > self.ring.read_tail:
            self._sink.advance(position)

    def settle(self, *, unwritten: bool) -> None:
        """Seal the frame that a dead producer left open, and let go of it: its rows are all in the file."""
        self.ring.seal_open_frame()
        if self._sink is not None and not unwritten and self._reader.read() is None:
            self._sink.advance(self._reader.position)

    @property
    def producing(self) -> bool:
        """Whether its producer lives."""
        return self.ring.producer_alive

    def _take_sink(self) -> None:
        """Become the ring's persisting sink if nobody else is: a writer that is just ending may let go later."""
        if self._sink is None and self._address.persist:
            try:
                self._sink = self.ring.sink()
            except SinkLockedError:
                self._sink = None

    def close(self) -> None:
        """Let go of sink, cursor and ring."""
        if self._sink is not None:
            self._sink.close()
        if self._cursor is not None:
            self._cursor.close()
        self.ring.close()


__all__ = ["RingSource"]
