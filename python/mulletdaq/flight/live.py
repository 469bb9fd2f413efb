"""A stream's rows for one client: those that the ring still holds, then new ones as they come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from mulletdaq.errors import RequestError, RingReplacedError
from mulletdaq.extras import needs_extra
from mulletdaq.flight.gathering import OPAQUE_SCHEMA, GaplessReader
from mulletdaq.flight.messages import encode
from mulletdaq.flight.plain import plain_batch, plain_schema
from mulletdaq.flight.tickets import BatchFacts, LostRows, StreamTicket
from mulletdaq.ring import Loss, RingBuffer

with needs_extra("flight"):
    import pyarrow as pa

_LOOK_INTERVAL_S = 0.25
_MANY_ROWS = 4096

Sent = tuple[pa.RecordBatch, bytes]


class Followers:
    """Clients that follow a stream; at its end the service lets them have what is there.

    Safe for use by several threads.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0
        self.ending = False
        """Whether each is to end at the newest row."""

    def come(self) -> None:
        """There is one more."""
        with self._changed:
            self._count += 1

    def go(self) -> None:
        """There is one less."""
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def end(self, patience_s: float) -> bool:
        """Have them all end, and wait until they have; whether there were any."""
        with self._changed:
            self.ending, before = True, self._count
            self._changed.wait_for(lambda: not self._count, patience_s)
        return before > 0


class LiveRows:
    """One client's way through a ring.

    Reading a ring costs its producer nothing, however slow the client is: a client that is too slow finds rows
    overwritten, and is told how many.

    Parameters
    ----------
    ring
        The ring.
    ticket
        What the client wants.
    has_gone
        Tells whether the client has gone; asked a few times a second.
    followers
        Whom the service lets have the newest rows before it ends.

    Raises
    ------
    RequestError
        If the row to start at is not there yet.
    RingReplacedError
        If it is another ring than the ticket's.
    """

    def __init__(
        self, ring: RingBuffer, ticket: StreamTicket, has_gone: Callable[[], bool], followers: Followers
    ) -> None:
        self._stream_id = f"{ring.stream_id:016x}"
        if ticket.stream_id not in (None, self._stream_id):
            raise RingReplacedError(f"stream {ticket.stream!r} has a new ring; its rows count from 0 again")
        self._ring = ring
        self._has_gone = has_gone
        self._followers = followers
        self._losses: list[Loss] = []
        self._schema = pa.schema([])
        self._follows = ticket.follow
        self._wait_s = ticket.wait_s
        self._heartbeat_s = ticket.heartbeat_s
        newest = ring.newest_row
        start = _start(ticket, newest)
        self._reader = GaplessReader(ring, start)
        asked = isinstance(ticket.start, int) and ticket.start >= 0
        self._next_row = ticket.start if asked and isinstance(ticket.start, int) else self._reader.row
        self._stop = ticket.stop
        if not ticket.follow:
            self._stop = newest if ticket.stop is None else min(ticket.stop, newest)

    def wait_for_schema(self) -> pa.Schema:
        """The schema of what is sent; a stream that is followed may get it yet."""
        while self._ring.content == "none" and self._follows and not (self._has_gone() or self._followers.ending):
            time.sleep(_LOOK_INTERVAL_S)
        self._schema = plain_schema(schema_of(self._ring))
        return self._schema

    def batches(self) -> Iterator[Sent]:
        """Batches with their facts, until the rows are through or the client has gone."""
        self._followers.come()
        try:
            while not self._is_through() and not self._has_gone():
                sent_at = time.monotonic()
                found = self._wait_for_rows(sent_at)
                if found is not None:
                    first, batch = found
                    yield self._sent(self._before_stop(batch, first), first)
                    self._let_rows_gather(batch, sent_at)
                elif not self._is_through() and not self._has_gone():
                    yield self._sent(self._no_rows(), self._reader.row)
            if self._stop is not None and self._next_row < self._stop <= self._reader.row:
                yield self._sent(self._no_rows(), self._stop)  # the last rows asked for are lost: that must be told
        finally:
            self._reader.close()
            self._followers.go()

    def _is_through(self) -> bool:
        if self._stop is None and self._followers.ending:
            self._stop = self._ring.newest_row
        return self._stop is not None and self._reader.row >= self._stop

    def _wait_for_rows(self, since: float) -> tuple[int, pa.RecordBatch] | None:
        """The next rows; None when a heartbeat is due, the client has gone, or there is nothing left to wait for."""
        wait_s = _LOOK_INTERVAL_S if self._heartbeat_s is None else min(_LOOK_INTERVAL_S, self._heartbeat_s)
        while not self._is_through():
            found = self._reader.read(self._stop, wait_s)
            if found is not None:
                return found
            if self._has_gone() or (self._heartbeat_s is not None and time.monotonic() - since >= self._heartbeat_s):
                return None
        return None

    def _before_stop(self, batch: pa.RecordBatch, first: int) -> pa.RecordBatch:
        """What of a batch comes before the end: a gap may have led beyond it."""
        if self._stop is None or first + batch.num_rows <= self._stop:
            return batch
        return batch.slice(0, max(0, self._stop - first))

    def _sent(self, batch: pa.RecordBatch, first: int) -> Sent:
        if self._stop is not None:
            first = min(first, self._stop)
        facts = BatchFacts(
            first_row=first,
            lost_rows=max(0, first - self._next_row),
            stream_id=self._stream_id,
            newest_row=self._ring.newest_row,
            ring_fill=self._fill(),
            losses=self._lost_before(first),
        )
        self._next_row = max(first, self._next_row) + batch.num_rows
        return plain_batch(batch, self._schema), encode(facts)

    def _fill(self) -> float:
        """Share of the ring that is still to be read."""
        if not self._reader.lag_rows:
            return 0.0  # an open frame is as long as the rows that it may get
        return min(1.0, max(0.0, (self._ring.write_head - self._reader.position) / self._ring.capacity_bytes))

    def _lost_before(self, first: int) -> list[LostRows]:
        """What is known of the rows between the batch before and this one."""
        self._losses += self._reader.take_losses()
        told = [loss for loss in self._losses if loss.first_row + loss.rows <= first]
        self._losses = self._losses[len(told) :]
        return [
            LostRows(
                first_row=loss.first_row,
                rows=loss.rows,
                cause=loss.cause,
                first_sequence=loss.first_sequence,
                frames=loss.frames,
            )
            for loss in told
            if loss.first_row >= self._next_row
        ]

    def _no_rows(self) -> pa.RecordBatch:
        return pa.RecordBatch.from_pylist([], schema=self._schema)

    def _let_rows_gather(self, batch: pa.RecordBatch, sent_at: float) -> None:
        """Rows that come one by one are sent together: each message costs as much as a thousand rows."""
        until = sent_at + self._wait_s
        while batch.num_rows < _MANY_ROWS and self._reader.lag_rows < _MANY_ROWS:
            left_s = until - time.monotonic()
            if left_s <= 0:
                return
            time.sleep(min(left_s, 0.01))


def schema_of(ring: RingBuffer) -> pa.Schema:
    """The schema of a ring's rows; empty while there is none."""
    if ring.content == "opaque":
        return OPAQUE_SCHEMA
    schema = ring.schema
    return pa.schema([]) if schema is None else schema


def _start(ticket: StreamTicket, newest: int) -> str | int:
    start = ticket.start
    if not isinstance(start, int):
        return start
    if start > newest:
        raise RequestError(f"row {start} of stream {ticket.stream!r} is not written yet; the newest is {newest - 1}")
    return start if start >= 0 else max(0, newest + start)


__all__ = ["Followers", "LiveRows", "Sent", "schema_of"]
