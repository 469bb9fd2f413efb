"""A stream's rows received from elsewhere, in a thread of their own, as far as there is room for them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mulletdaq.errors import (
    AccessRefusedError,
    ConnectionLostError,
    MulletError,
    RemoteError,
    RingReplacedError,
    ServiceBusyError,
    StreamNotFoundError,
)
from mulletdaq.extras import needs_extra
from mulletdaq.flight.connection import Wire
from mulletdaq.flight.messages import decode_answer, encode
from mulletdaq.flight.refusals import raised_as_ours
from mulletdaq.flight.streams import StreamInfo, find_stream
from mulletdaq.flight.tickets import BatchFacts, StreamTicket
from mulletdaq.hdf5.row_source import Trouble
from mulletdaq.ring import Loss

with needs_extra("flight"):
    import pyarrow as pa
    from pyarrow import flight

if TYPE_CHECKING:
    from mulletdaq.hdf5.ledger import Place
    from mulletdaq.hdf5.options import RemoteAddress

ROOM_BYTES = 32 << 20
"""So much is received ahead; what does not fit stays in the ring over there."""

_CALL_S = 5.0
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0
_COLUMNS_PAUSE_S = 0.25
_TOGETHER_S = 0.05
_HEARTBEAT_S = 1.0
_SILENT_S = 10.0
_BRIEF_S = 1.0
_ITEM_BYTES = 1 << 10
_END_S = 2.0

_CODES: tuple[tuple[type[MulletError], str], ...] = (
    (ConnectionLostError, "unreachable"),
    (AccessRefusedError, "refused"),
    (StreamNotFoundError, "no stream"),
    (ServiceBusyError, "busy"),
)


@dataclass(frozen=True)
class Beginning:
    """From here on rows are of another ring.

    Attributes
    ----------
    row
        Its first row that is wanted.
    """

    stream_id: int
    created_ns: int
    schema: pa.Schema
    row: int


@dataclass(frozen=True)
class Rows:
    """Rows that follow one another."""

    first_row: int
    batch: pa.RecordBatch

    @property
    def nbytes(self) -> int:
        """About the memory that they take."""
        return int(self.batch.nbytes) + _ITEM_BYTES


Item = Beginning | Rows | Loss


class Receiver:
    """Follows a stream over broken connections, restarts over there, and new rings, until it is stopped.

    The consumer, one thread, takes items in the order of their rows; each row comes once, as one of a batch or of a
    loss.

    Parameters
    ----------
    address
        The stream.

    Attributes
    ----------
    origin
        Its address as one text.
    newest_row, ring_fill
        What the service said last: rows ever written to the ring, and the share of it that is still to be sent.
    heard_at
        When it said anything last, on the monotonic clock.
    connections
        How many there were.

    Raises
    ------
    RequestError, AccessRefusedError
        If the address is none, or a file cannot be used.
    """

    def __init__(self, address: RemoteAddress) -> None:
        self._address = address
        self._wire = Wire(address.url, address.token_file, address.tls_root_file, _CALL_S)
        self.origin = f"{self._wire.address}/{address.stream}"
        self.newest_row, self.ring_fill, self.heard_at, self.connections = 0, 0.0, time.monotonic(), 0
        self._changed = threading.Condition()
        self._items: deque[Item] = deque()
        self._rows: deque[int] = deque([0])
        self._bytes = 0
        self._places: dict[int, Place] = {}
        self._recorded = False
        self._stream_id = 0
        self._next_row = 0
        self._problem: tuple[str, str, float] | None = None
        self._listening_since: float | None = None
        self._looked_at = self._judge_from = time.monotonic()
        self._reader: Any = None
        self._stopping = False
        # A daemon: a call that the network holds must not keep the interpreter from ending.
        self._thread = threading.Thread(target=self._run, name="mulletdaq-receiver", daemon=True)

    def start(self, places: Mapping[int, Place]) -> None:
        """Begin to receive.

        Parameters
        ----------
        places
            By stream id, how far the file has each ring.
        """
        self._places = dict(places)
        self._recorded = any(place.origin == self.origin for place in places.values())
        self._thread.start()

    def stop(self) -> None:
        """Receive no more; what came can be taken yet."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._cancel()

    def close(self) -> None:
        """Stop, and let go of the connection. Closing twice is fine."""
        self.stop()
        if self._thread.ident is not None:
            self._thread.join(_END_S)
        self._wire.close()

    def ask(self) -> StreamInfo:
        """The stream as it is now; MulletError if nobody tells."""
        return find_stream(self._wire, self._address.stream)

    # ---- the consumer

    def peek(self) -> Item | None:
        """What comes next, if it is there."""
        with self._changed:
            return self._items[0] if self._items else None

    def pop(self) -> None:
        """Have done with it."""
        with self._changed:
            item = self._items.popleft()
            if isinstance(item, Beginning):
                self._rows.popleft()
            elif isinstance(item, Rows):
                self._rows[0] -= item.batch.num_rows
                self._bytes -= item.nbytes
            self._changed.notify_all()

    @property
    def rows_here(self) -> int:
        """Rows of the present ring that were received and not taken."""
        with self._changed:
            return self._rows[0]

    @property
    def bytes_here(self) -> int:
        """Bytes received and not taken."""
        with self._changed:
            return self._bytes

    @property
    def trouble(self) -> Trouble | None:
        """Why nothing comes, if that is not over within a second."""
        now = time.monotonic()
        if now - self._looked_at > _BRIEF_S:
            self._judge_from = now  # this process was held itself
        self._looked_at = now
        problem, since = self._problem, self._listening_since
        if problem is not None:
            code, words, began = problem
            return Trouble(code, words) if now - began > _BRIEF_S else None
        if since is not None and now - max(since, self._judge_from) > _SILENT_S:
            self._cancel()
            return Trouble("silent", f"{self.origin} has said nothing for {_SILENT_S:g} s; connecting again")
        return None

    # ---- the thread

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stopping:
            before = self.connections
            try:
                rest_s = self._follow()
            except RingReplacedError:
                rest_s = 0.0  # its name leads to the new one within a second
            except Exception as error:
                rest_s = 0.0
                self._note(error)
            pause_s = _FIRST_PAUSE_S if self.connections != before else min(2 * pause_s, _LONGEST_PAUSE_S)
            self._listening_since = None
            with self._changed:
                self._changed.wait_for(lambda: self._stopping, rest_s or pause_s)

    def _note(self, error: Exception) -> None:
        code = next((code for kind, code in _CODES if isinstance(error, kind)), "failed")
        words = str(error) if isinstance(error, MulletError) else f"{type(error).__name__}: {error}"
        began = self._problem[2] if self._problem is not None and self._problem[0] == code else time.monotonic()
        self._problem = (code, f"{words}; trying again, the rows wait in the ring over there", began)

    def _follow(self) -> float:
        """Receive over one connection, to its end; how long to rest then, 0 for as long as it takes."""
        info = self.ask()
        if not len(info.schema):
            words = f"{self.origin} has no columns yet; waiting for the first who writes into it"
            if self._problem is None or self._problem[0] != "no columns":
                self._problem = ("no columns", words, time.monotonic())
            return _COLUMNS_PAUSE_S
        start = self._start_of(int(info.stream_id, 16))
        ticket = StreamTicket(
            stream=self._address.stream,
            start=start,
            follow=True,
            wait_s=_TOGETHER_S,
            heartbeat_s=_HEARTBEAT_S,
            stream_id=info.stream_id,
        )
        with raised_as_ours(self._wire.address):
            self._reader = self._wire.client.do_get(flight.Ticket(encode(ticket)), self._wire.options(limited=False))
            try:
                self._receive(info, start)
            finally:
                self._cancel()
        return 0.0

    def _start_of(self, stream_id: int) -> int | Literal["oldest"]:
        """Where to go on in a ring."""
        if stream_id == self._stream_id:
            return self._next_row
        place = self._places.get(stream_id)
        if place is not None:
            return place.row
        if self._recorded or self._stream_id:
            return 0  # all of it is ours, what is gone is lost
        start = self._address.start
        return start if isinstance(start, str) or stream_id == self._address.stream_id else 0

    def _receive(self, info: StreamInfo, start: int | Literal["oldest"]) -> None:
        first = True
        while not self._stopping:
            self._listening_since = time.monotonic()
            try:
                chunk = self._reader.read_chunk()
            except StopIteration:
                return  # the service ends, in good order
            self._listening_since = None
            facts = decode_answer(chunk.app_metadata, BatchFacts)
            chunk.data.validate(full=True)  # offsets come from elsewhere: out of bounds, they would end this process
            if first:
                first = False
                self.connections += 1
                self._enter(info, facts, facts.first_row - facts.lost_rows if start == "oldest" else start)
            self._take(facts, chunk.data)
            self._wait_for_room()

    def _enter(self, info: StreamInfo, facts: BatchFacts, row: int) -> None:
        """A connection stands, perhaps to a ring that took the place of another one."""
        self._problem = None
        stream_id = int(info.stream_id, 16)
        if stream_id == self._stream_id:
            return
        self._leave()
        self._stream_id, self._next_row = stream_id, row
        created_ns = info.created_ns or time.time_ns()
        with self._changed:
            self._items.append(Beginning(stream_id, created_ns, info.schema, row))
            self._rows.append(0)

    def _leave(self) -> None:
        """The ring before is gone, and with it what it is known to have had."""
        from mulletdaq.hdf5.ledger import Place

        if not self._stream_id:
            return
        if self.newest_row > self._next_row:
            self._put_loss(Loss(self._next_row, self.newest_row - self._next_row, -1, -1, "replaced", time.time_ns()))
        self._places[self._stream_id] = Place(self._next_row, -1, -1, self.origin)

    def _take(self, facts: BatchFacts, batch: pa.RecordBatch) -> None:
        if facts.first_row - facts.lost_rows != self._next_row:
            raise RemoteError(
                f"{self.origin} sent row {facts.first_row - facts.lost_rows} in place of row {self._next_row}"
            )
        self.newest_row, self.ring_fill, self.heard_at = facts.newest_row, facts.ring_fill, time.monotonic()
        for loss in facts.losses:
            if loss.rows < 1 or loss.first_row < self._next_row or loss.first_row + loss.rows > facts.first_row:
                raise RemoteError(f"{self.origin} told of losses that contradict each other")
            self._lose_until(loss.first_row)
            self._put_loss(
                Loss(loss.first_row, loss.rows, loss.first_sequence, loss.frames, loss.cause, time.time_ns())
            )
        self._lose_until(facts.first_row)
        if batch.num_rows:
            rows = Rows(self._next_row, batch)
            with self._changed:
                self._items.append(rows)
                self._rows[-1] += batch.num_rows
                self._bytes += rows.nbytes
            self._next_row += batch.num_rows

    def _lose_until(self, row: int) -> None:
        if row > self._next_row:
            self._put_loss(Loss(self._next_row, row - self._next_row, -1, -1, "overwritten", time.time_ns()))

    def _put_loss(self, loss: Loss) -> None:
        with self._changed:
            self._items.append(loss)
        self._next_row = loss.first_row + loss.rows

    def _wait_for_room(self) -> None:
        """Unread, the rows hold up their sender, whose cursor stays where it is: memory here is bounded."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._bytes < ROOM_BYTES)

    def _cancel(self) -> None:
        reader = self._reader
        if reader is not None:
            with suppress(Exception):
                reader.cancel()


__all__ = ["Beginning", "Receiver", "Rows"]
