"""A stream's rows for one client: those that the ring still holds, then new ones as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from mulletdaq.errors import FrameCorruptError, RequestError, RingReplacedError
from mulletdaq.extras import needs_extra
from mulletdaq.flight.messages import encode
from mulletdaq.flight.tickets import BatchFacts, StreamTicket
from mulletdaq.ring import Cursor, RingBuffer
from mulletdaq.schema import TIMESTAMP

with needs_extra("flight"):
    import pyarrow as pa

OPAQUE_SCHEMA = pa.schema([pa.field(TIMESTAMP, pa.int64(), nullable=False), pa.field("raw_data", pa.binary())])
"""What the messages of an opaque ring are sent as."""

_LOOK_INTERVAL_S = 0.25
_MANY_ROWS = 4096
_MANY_BYTES = 64 << 10
_MESSAGES_AT_ONCE = 1024

Sent = tuple[pa.RecordBatch, bytes]


class LiveRows:
    """One client's way through a ring.

    Reading a ring costs its producer nothing, however slow the client is: a client that is too slow finds rows
    overwritten, and is told which.

    Parameters
    ----------
    ring
        The ring.
    ticket
        What the client wants.
    has_gone
        Tells whether the client is still there; asked a few times a second.

    Raises
    ------
    RequestError
        If the rows asked for are not there yet, or of another ring.
    """

    def __init__(self, ring: RingBuffer, ticket: StreamTicket, has_gone: Callable[[], bool]) -> None:
        self._stream_id = f"{ring.stream_id:016x}"
        if ticket.stream_id not in (None, self._stream_id):
            raise RingReplacedError(f"stream {ticket.stream!r} has a new ring; its rows count from 0 again")
        self._ring = ring
        self._has_gone = has_gone
        self._wait_s = ticket.wait_s
        self._heartbeat_s = ticket.heartbeat_s
        newest = ring.newest_row
        self._cursor, self._next_row = _start(ring, ticket, newest)
        self._first_row = self._next_row
        self._stop = ticket.stop if ticket.follow or ticket.stop is None else min(ticket.stop, newest)
        if self._stop is None and not ticket.follow:
            self._stop = newest

    def wait_for_schema(self) -> pa.Schema:
        """The schema of what is sent; a stream that is followed may get it yet."""
        while self._ring.content == "none" and self._stop is None and not self._has_gone():
            time.sleep(_LOOK_INTERVAL_S)
        return schema_of(self._ring)

    def batches(self) -> Iterator[Sent]:
        """Batches with their facts, until the rows are through or the client has gone."""
        try:
            while not self._is_through() and not self._has_gone():
                sent_at = time.monotonic()
                batch = self._wait_for_rows()
                if batch is not None and batch.num_rows:
                    yield self._sent(batch, self._first_row)
                    self._let_rows_gather(batch, sent_at)
                elif not self._is_through() and not self._has_gone():
                    yield self._empty(self._cursor.row)
            if self._stop is not None and self._next_row < self._stop <= self._cursor.row:
                yield self._empty(self._stop)  # the last rows asked for are lost, and that must be told
        finally:
            self._cursor.close()

    def _is_through(self) -> bool:
        return self._stop is not None and self._cursor.row >= self._stop

    def _wait_for_rows(self) -> pa.RecordBatch | None:
        """The next rows; None when a heartbeat is due, the client has gone, or there is nothing left to wait for."""
        deadline = None if self._heartbeat_s is None else time.monotonic() + self._heartbeat_s
        while not self._is_through() and not self._has_gone():
            left_s = _LOOK_INTERVAL_S if deadline is None else min(_LOOK_INTERVAL_S, deadline - time.monotonic())
            if left_s <= 0:
                return None
            most = None if self._stop is None else self._stop - self._cursor.row
            try:
                content = self._cursor.read(most, left_s)
            except FrameCorruptError:
                continue  # the rows after it tell how many are missing
            if content is not None:
                return self._within(self._messages(content, most) if isinstance(content, bytes) else content)
        return None

    def _within(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """What of a batch comes before the end: a gap may have led beyond it."""
        self._first_row = self._cursor.row - batch.num_rows
        if self._stop is not None and self._cursor.row > self._stop:
            return batch.slice(0, max(0, self._stop - self._first_row))
        return batch

    def _messages(self, first: bytes, most: int | None) -> pa.RecordBatch:
        """Some messages of an opaque ring that follow one another."""
        stamps, contents = [self._cursor.timestamp_ns], [first]
        limit = min(most or _MESSAGES_AT_ONCE, _MESSAGES_AT_ONCE)
        size, lost = len(first), self._cursor.lost_rows
        while len(contents) < limit and size < _MANY_BYTES and self._cursor.lag_rows:
            content = self._cursor.read()
            if not isinstance(content, bytes):
                break
            if self._cursor.lost_rows != lost:  # what came lies behind a gap; a batch has none within
                self._cursor = self._ring.cursor(start_row=self._cursor.row - 1)
                break
            stamps.append(self._cursor.timestamp_ns)
            contents.append(content)
            size += len(content)
        return pa.record_batch([pa.array(stamps), pa.array(contents, pa.binary())], schema=OPAQUE_SCHEMA)

    def _sent(self, batch: pa.RecordBatch, first: int) -> Sent:
        facts = BatchFacts(first_row=first, lost_rows=first - self._next_row, stream_id=self._stream_id)
        self._next_row = first + batch.num_rows
        return batch, encode(facts)

    def _empty(self, row: int) -> Sent:
        return self._sent(schema_of(self._ring).empty_table().to_batches()[0], max(row, self._next_row))

    def _let_rows_gather(self, batch: pa.RecordBatch, sent_at: float) -> None:
        """Rows that come one by one are sent together: each message costs as much as a thousand rows."""
        until = sent_at + self._wait_s
        while batch.nbytes < _MANY_BYTES and self._cursor.lag_rows < _MANY_ROWS:
            left_s = until - time.monotonic()
            if left_s <= 0:
                return
            time.sleep(min(left_s, 0.01))


def schema_of(ring: RingBuffer) -> pa.Schema:
    """The schema of a ring's rows as they are sent; empty while there is none."""
    if ring.content == "opaque":
        return OPAQUE_SCHEMA
    return ring.schema or pa.schema([])


def _start(ring: RingBuffer, ticket: StreamTicket, newest: int) -> tuple[Cursor, int]:
    """A cursor, and the row that the client expects first."""
    start = ticket.start
    if not isinstance(start, int):
        cursor = ring.cursor(start)
        return cursor, cursor.row
    if start < 0:
        cursor = ring.cursor(start_row=max(0, newest + start))
        return cursor, cursor.row  # as many as there are
    if start > newest:
        raise RequestError(f"row {start} of stream {ticket.stream!r} is not written yet; the newest is {newest - 1}")
    return ring.cursor(start_row=start), start


__all__ = ["OPAQUE_SCHEMA", "LiveRows", "Sent", "schema_of"]
