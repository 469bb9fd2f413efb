"""Rows to a daemon: each arrives once, whatever happens to the connection."""

from __future__ import annotations

import threading
import uuid
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mulletdaq.errors import ConnectionLostError, MulletError, RequestError
from mulletdaq.extras import needs_extra
from mulletdaq.flight.connection import Wire, tries
from mulletdaq.flight.messages import decode_answer, encode
from mulletdaq.flight.refusals import as_mullet_error, raised_as_ours
from mulletdaq.flight.tickets import Acknowledgement, UploadCommand, UploadFacts

with needs_extra("flight"):
    import pyarrow as pa
    from pyarrow import flight

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_MOST_WAITING_BYTES = 64 << 20
_MOST_WAITING_BATCHES = 1000
_MOST_AT_ONCE_BYTES = 16 << 20


@dataclass(frozen=True)
class _Waiting:
    """A batch that was not acknowledged yet."""

    batch: pa.RecordBatch
    first_row: int
    size: int

    @property
    def end(self) -> int:
        return self.first_row + int(self.batch.num_rows)


class _Call:
    """One ``do_put``, and the thread that hears its acknowledgements."""

    def __init__(self, wire: Wire, command: UploadCommand, schema: pa.Schema, changed: threading.Condition) -> None:
        self._wire = wire
        self._changed = changed
        self.rows = 0
        self.failure: MulletError | None = None
        self.ended = False
        with raised_as_ours(wire.address):
            descriptor = flight.FlightDescriptor.for_command(encode(command))
            self._writer, self._reader = wire.client.do_put(descriptor, schema, wire.options(limited=False))
            try:
                self.rows = self._acknowledged()
            except StopIteration:
                self._writer.close()  # raises what the service said
                raise ConnectionLostError(f"{wire.address} ended the upload before it began") from None
        threading.Thread(target=self._listen, name="acknowledgements", daemon=True).start()

    def send(self, waiting: _Waiting) -> None:
        """Send a batch. Errors of the connection are heard by the other thread."""
        try:
            facts = UploadFacts(first_row=waiting.first_row)
            self._writer.write_with_metadata(waiting.batch, encode(facts))
        except (pa.ArrowException, OSError) as error:
            self._fail(as_mullet_error(error, self._wire.address))

    def finish(self) -> None:
        """Say that this was all."""
        try:
            self._writer.done_writing()
        except (pa.ArrowException, OSError) as error:
            self._fail(as_mullet_error(error, self._wire.address))

    def close(self) -> None:
        """End the call, and hear how it went."""
        with raised_as_ours(self._wire.address):
            self._writer.close()

    def _acknowledged(self) -> int:
        content = self._reader.read()
        if content is None:
            raise StopIteration
        return decode_answer(content, Acknowledgement).rows

    def _listen(self) -> None:
        try:
            while True:
                rows = self._acknowledged()
                with self._changed:
                    self.rows = rows
                    self._changed.notify_all()
        except StopIteration:
            pass
        except MulletError as error:
            self._fail(error)
        except (pa.ArrowException, OSError) as error:
            self._fail(as_mullet_error(error, self._wire.address))
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def _fail(self, error: MulletError) -> None:
        with self._changed:
            # What the service said counts more than that nobody listens any more.
            if self.failure is None or isinstance(self.failure, ConnectionLostError):
                self.failure = error
            self._changed.notify_all()


class RemoteUpload:
    """A remote producer, made by :meth:`Connection.upload`; a context manager. For one thread.

    A connection that breaks is made again, and what was not acknowledged is sent again; the service knows what it has.

    Attributes
    ----------
    id
        The upload's name for the service: with it another process can go on.
    rows
        Rows given to :meth:`write`, those before a resumption included.
    rows_acknowledged
        Rows that are in the ring.
    reconnections
        How often the connection was made again.
    """

    def __init__(
        self,
        wire: Wire,
        stream: str,
        schema: pa.Schema,
        on_full: Literal["overwrite", "block"],
        resume: str | None,
        patience_s: float,
    ) -> None:
        self.id = resume or uuid.uuid4().hex
        self.reconnections = 0
        self._wire = wire
        self._schema = schema
        self._patience_s = patience_s
        self._command = UploadCommand(stream=stream, upload=self.id, on_full=on_full)
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._call: _Call | None = None
        self._known = 0
        self._connect(0.0)
        self.rows = self.rows_acknowledged

    @property
    def rows_acknowledged(self) -> int:
        """Rows that are in the ring."""
        return self._known if self._call is None else max(self._known, self._call.rows)

    def write(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Send rows; waits while too much is not acknowledged.

        Raises
        ------
        SchemaMismatchError, RequestError
            If the service refuses them.
        ConnectionLostError
            If it did not come back in time.
        """
        for piece in batch.to_batches() if isinstance(batch, pa.Table) else [batch]:
            size = piece.nbytes
            step = max(1, piece.num_rows * _MOST_AT_ONCE_BYTES // max(size, 1))
            for first in range(0, piece.num_rows, step):
                part = piece.slice(first, step)
                self._send(_Waiting(part, self.rows, size * part.num_rows // piece.num_rows))

    def _send(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        self._waiting_bytes += waiting.size
        self.rows = waiting.end
        if self._call is None:
            self._connect(self._patience_s)
        else:
            self._call.send(waiting)
        self._settle(_MOST_WAITING_BYTES, _MOST_WAITING_BATCHES)

    def flush(self) -> None:
        """Wait until every row is in the ring. Raises what :meth:`write` raises."""
        self._settle(0, 0)

    def _settle(self, most_bytes: int, most_batches: int) -> None:
        """Wait until no more than so much is not acknowledged, and connect again where the connection broke."""
        while self._waiting:
            call = self._call
            if call is None:  # the last try to come back was given up
                self._connect(self._patience_s)
                continue
            with self._changed:
                self._forget(call.rows)
                while not (call.failure or call.ended) and self._exceeds(most_bytes, most_batches):
                    self._changed.wait()
                    self._forget(call.rows)
                if not self._waiting or not (call.failure or call.ended):
                    return  # a call that ended is made anew when there is something to send
            self._recover(call)

    def _exceeds(self, most_bytes: int, most_batches: int) -> bool:
        return self._waiting_bytes > most_bytes or len(self._waiting) > most_batches

    def _forget(self, rows: int) -> None:
        self._known = max(self._known, rows)
        while self._waiting and self._waiting[0].end <= self._known:
            self._waiting_bytes -= self._waiting.popleft().size

    def _forget_all(self) -> None:
        self._waiting.clear()
        self._waiting_bytes = 0

    def _recover(self, call: _Call) -> None:
        self._call = None
        try:
            with suppress(ConnectionLostError):
                call.close()
            with suppress(ConnectionLostError):
                if call.failure is not None:
                    raise call.failure
        except MulletError:
            self._forget_all()
            raise
        self.reconnections += 1
        self._connect(self._patience_s)

    def _connect(self, patience_s: float) -> None:
        """Begin a call, and send again what has not arrived."""

        def begin() -> _Call:
            return _Call(self._wire, self._command, self._schema, self._changed)

        call = tries(patience_s, begin, lambda: None)
        if call.rows < self._known:
            raise RequestError(f"the service has forgotten upload {self.id}: {call.rows} rows, not {self._known}")
        self._call = call
        with self._changed:
            self._forget(call.rows)
            again = list(self._waiting)
        for waiting in again:
            call.send(waiting)

    def close(self) -> None:
        """Wait until every row is in the ring, and let another producer in. Closing twice is fine."""
        self.flush()
        call, self._call = self._call, None
        if call is not None:
            call.finish()
            with suppress(ConnectionLostError):  # every row is in the ring; that we are gone is noticed over there
                call.close()

    def abandon(self) -> None:
        """End without waiting; what was not acknowledged may or may not be in the ring."""
        self._forget_all()
        call, self._call = self._call, None
        if call is not None:
            call.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()


__all__ = ["RemoteUpload"]
