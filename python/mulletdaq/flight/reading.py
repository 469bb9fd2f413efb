"""Rows from a daemon, one batch after the other, with what was lost between them."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mulletdaq.errors import ConnectionLostError
from mulletdaq.extras import needs_extra
from mulletdaq.flight.connection import Wire, tries
from mulletdaq.flight.messages import decode_answer, encode
from mulletdaq.flight.refusals import raised_as_ours
from mulletdaq.flight.streams import find_stream
from mulletdaq.flight.tickets import BatchFacts, RecordedTicket, StreamTicket

with needs_extra("flight"):
    import msgspec
    import pyarrow as pa
    from pyarrow import flight

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_HEARTBEAT_S = 5.0
_LOOK_S = 2.5
_SILENT_LOOKS = 3
"""A follower that is told nothing from so many looks on, each a heartbeat or ``_LOOK_S`` apart, connects again."""


@dataclass(frozen=True)
class RemoteBatch:
    """Some rows that follow one another.

    Attributes
    ----------
    batch
        The rows; none where only a loss is to be told.
    first_row
        Absolute index of the first one.
    lost_rows
        Rows between the batch before and this one, which nobody can have any more.
    """

    batch: pa.RecordBatch
    first_row: int
    lost_rows: int


class _Batches:
    """An iterator of batches over one call."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._reader: Any = None
        self._gives_all = False
        self.lost_rows = 0
        """Rows lost so far."""

    @property
    def schema(self) -> pa.Schema:
        """The columns; connects if need be."""
        with raised_as_ours(self._wire.address):
            return self._begun().schema

    def _begun(self) -> Any:
        if self._reader is None:
            self._reader = self._wire.client.do_get(
                flight.Ticket(encode(self._ticket())), self._wire.options(limited=False)
            )
        return self._reader

    def _ticket(self) -> StreamTicket | RecordedTicket:
        raise NotImplementedError

    def _next(self) -> RemoteBatch | None:
        """What comes next; None at the end."""
        with raised_as_ours(self._wire.address):
            try:
                chunk = self._begun().read_chunk()
            except StopIteration:
                return None
            facts = decode_answer(chunk.app_metadata, BatchFacts)
        self._take(facts, chunk.data.num_rows)
        return RemoteBatch(chunk.data, facts.first_row, facts.lost_rows)

    def _take(self, facts: BatchFacts, rows: int) -> None:
        self.lost_rows += facts.lost_rows

    def __iter__(self) -> Iterator[RemoteBatch]:
        while (found := self._next()) is not None:
            if found.batch.num_rows or found.lost_rows or self._gives_all:
                yield found

    def table(self) -> pa.Table:
        """All the rows as one table."""
        with self:
            batches = [found.batch for found in self]
            return pa.Table.from_batches(batches, schema=self.schema)

    def close(self) -> None:
        """Tell the daemon that no more is wanted. Closing twice is fine."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class RemoteRows(_Batches):
    """A stream's rows, made by :meth:`Connection.read`: iterate over it.

    A connection that breaks, or over which no heartbeat comes any more, is made again, and the rows go on where they
    were. If the ring no longer has them all by then, the next batch says how many are lost. For one thread.

    Attributes
    ----------
    next_row
        Absolute index of the row that comes next; None before the first batch.
    reconnections
        How often the connection was made again.
    """

    def __init__(self, wire: Wire, ticket: StreamTicket, heartbeat_s: float | None, patience_s: float) -> None:
        super().__init__(wire)
        self._wanted = ticket
        self._heartbeat_s = heartbeat_s or _HEARTBEAT_S
        self._gives_all = heartbeat_s is not None
        self._patience_s = patience_s
        self._stream_id: str | None = None
        self._listening = False
        self._heard = 0
        self._watched: Any = None
        self.next_row: int | None = None
        self.reconnections = 0

    def _ticket(self) -> StreamTicket:
        ticket = msgspec.structs.replace(
            self._wanted, heartbeat_s=self._heartbeat_s if self._wanted.follow else None, stream_id=self._stream_id
        )
        return ticket if self.next_row is None else msgspec.structs.replace(ticket, start=self.next_row)

    def _begun(self) -> Any:
        if self._reader is None:
            # The call itself may say nothing for long and has no deadline; this has, and a dead peer fails here.
            find_stream(self._wire, self._wanted.stream)
        return super()._begun()

    def _take(self, facts: BatchFacts, rows: int) -> None:
        super()._take(facts, rows)
        self._stream_id = facts.stream_id
        self.next_row = facts.first_row + rows

    def _next(self) -> RemoteBatch | None:
        patience_s = 0.0 if self._stream_id is None else self._patience_s
        return tries(patience_s, self._next_of_call, self._reconnect)

    def _next_of_call(self) -> RemoteBatch | None:
        if self._wanted.follow and self._stream_id is not None:  # before, it may wait for columns and say nothing
            self._watch()
        self._listening = True
        try:
            found = super()._next()
        finally:
            self._listening = False
        self._heard += 1
        if found is None and self._wanted.follow and not self._is_through:
            # A service that ends in good order ends the call, too; the next one goes on with the rows.
            raise ConnectionLostError(f"the service at {self._wire.address} has ended")
        return found

    def _watch(self) -> None:
        """Have a thread look after the call: a peer without power breaks no connection, it only says nothing."""
        with raised_as_ours(self._wire.address):
            reader = self._begun()
        if reader is not self._watched:
            self._watched = reader
            work = (weakref.ref(self), reader, max(self._heartbeat_s, _LOOK_S))
            threading.Thread(target=_end_in_silence, args=work, name="heartbeats", daemon=True).start()

    @property
    def _is_through(self) -> bool:
        stop = self._wanted.stop
        return stop is not None and self.next_row is not None and self.next_row >= stop

    def _reconnect(self) -> None:
        self._reader = None
        self.reconnections += 1


def _end_in_silence(follower: weakref.ref[RemoteRows], reader: Any, pause_s: float) -> None:
    """Cancel a call over which nothing comes though somebody listens. It counts looks: we may be held."""
    heard, looks = -1, 0
    while looks < _SILENT_LOOKS:
        time.sleep(pause_s)
        rows = follower()
        if rows is None or rows._reader is not reader:
            return
        looks = looks + 1 if rows._listening and rows._heard == heard else 0
        heard = rows._heard
        del rows
    with suppress(Exception):
        reader.cancel()


class RecordedBatches(_Batches):
    """Rows of a file, made by :meth:`Connection.read_file`: iterate over it, or take them all with ``table()``."""

    def __init__(self, wire: Wire, ticket: RecordedTicket) -> None:
        super().__init__(wire)
        self._wanted = ticket

    def _ticket(self) -> RecordedTicket:
        return self._wanted


__all__ = ["RecordedBatches", "RemoteBatch", "RemoteRows"]
