"""A remote producer: rows that come over the network into a ring, each exactly once.

How far an upload is stands in a file beside the ring. Before each batch it says at which row of the ring which row of
the upload comes next, and how many; the ring itself then tells how many of them are there, even after this process was
killed in the middle of writing them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mulletdaq.errors import ProducerLockedError, RequestError, RingTimeoutError, SchemaMismatchError, SinkDeadError
from mulletdaq.extras import needs_extra
from mulletdaq.flight.messages import encode
from mulletdaq.flight.tickets import UploadCommand
from mulletdaq.ring import Producer, RingBuffer
from mulletdaq.schema import arrow_schema

with needs_extra("flight"):
    import msgspec
    import pyarrow as pa

_BLOCK_S = 0.25
_PAGE_BYTES = 4096
_REMEMBERED = 32


class _Open(msgspec.Struct, frozen=True):
    """An upload under way: its row `row` is, or will be, row `ring_row` of the ring, and at most `count` follow."""

    upload: str
    row: int
    ring_row: int
    count: int


class _Progress(msgspec.Struct):
    """What is known of a ring's uploads.

    Attributes
    ----------
    rows
        Rows in the ring of the uploads that had an end, however it came; -1 where it cannot be told.
    """

    stream_id: int = 0
    rows: dict[str, int] = {}
    open: _Open | None = None


class _Ledger:
    """The file that holds a ring's progress: one page, in one piece; a kill leaves the old one or the new one."""

    def __init__(self, path: str, stream_id: int) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self.progress = _Progress(stream_id=stream_id)
        with suppress(msgspec.DecodeError):
            stored = msgspec.json.decode(os.pread(self._descriptor, _PAGE_BYTES, 0) or b"{}", type=_Progress)
            if stored.stream_id == stream_id:  # else of a ring that was there before
                self.progress = stored

    def save(self) -> None:
        """Write it down."""
        while len(self.progress.rows) > _REMEMBERED:
            del self.progress.rows[next(iter(self.progress.rows))]
        os.pwrite(self._descriptor, encode(self.progress).ljust(_PAGE_BYTES), 0)

    def close(self) -> None:
        os.close(self._descriptor)


class Upload:
    """One upload into one ring, which it alone may write into.

    Parameters
    ----------
    ring
        The ring.
    command
        What the client said.
    schema
        What its batches have.
    ledger_path
        Where to keep how far it is.

    Raises
    ------
    ProducerLockedError
        If someone else writes into the ring.
    SchemaMismatchError, UnsupportedTypeError
        If the ring has other columns, or they cannot be stored.
    RequestError
        If it cannot be told any more how far it was.
    """

    def __init__(self, ring: RingBuffer, command: UploadCommand, schema: pa.Schema, ledger_path: str) -> None:
        self._ring = ring
        self._name = command.upload or ""
        self._blocks = command.on_full == "block"
        self._producer = _take(ring, command, schema)
        self._ledger: _Ledger | None = None
        self._row = -1
        try:
            self._ledger = ledger = _Ledger(ledger_path, ring.stream_id)
            _settle(ledger.progress, ring.newest_row)
            self._row = _known_rows(ledger.progress, self._name)
            ledger.save()
        except BaseException:
            self.close()
            raise

    @property
    def rows(self) -> int:
        """Rows of the upload that are in the ring."""
        return self._row

    def write(self, batch: pa.RecordBatch, first_row: int | None) -> None:
        """Write what of a batch is not there yet.

        Parameters
        ----------
        first_row
            The client's own index of its first row; None: it goes on.

        Raises
        ------
        RequestError
            If rows before it are missing.
        FrameTooLargeError, RingReplacedError
        """
        known = 0 if first_row is None else self._row - first_row
        if known < 0:
            raise RequestError(f"the batch begins at row {first_row} of the upload, but only {self._row} have come")
        if known < batch.num_rows:
            self._write(batch.slice(known) if known else batch)

    def _write(self, batch: pa.RecordBatch) -> None:
        assert self._ledger is not None
        begin, row = self._row, self._ring.newest_row
        if self._name:
            self._ledger.progress.open = _Open(self._name, begin, row, batch.num_rows)
            self._ledger.save()
        try:
            self._ring.write_arrow_batch(batch)
        finally:
            self._row = begin + self._ring.newest_row - row

    def wait_for_room(self, batch: pa.RecordBatch, first_row: int | None, has_gone: Callable[[], bool]) -> None:
        """Write a batch, as long as the client is there; with ``on_full="block"`` the ring may be full for long."""
        first = self._row if first_row is None else first_row
        while not has_gone():
            try:
                self.write(batch, first)
                return
            except RingTimeoutError:
                continue
            except SinkDeadError:
                if not self._blocks:
                    raise
                time.sleep(_BLOCK_S)  # the daemon is starting another

    def close(self) -> None:
        """Let others write into the ring. Closing twice is fine."""
        if self._ledger is not None:
            ledger, self._ledger = self._ledger, None
            if self._name and self._row >= 0:
                ledger.progress.rows.pop(self._name, None)  # the newest come last
                ledger.progress.rows[self._name] = self._row
            ledger.progress.open = None
            ledger.save()  # before another producer can write
            ledger.close()
        self._producer.close()


def _take(ring: RingBuffer, command: UploadCommand, schema: pa.Schema) -> Producer:
    """The ring's producer, if the upload fits the ring."""
    there = ring.schema
    if there is None:
        _check_storable(schema)
    elif schema.names != there.names or schema.types != there.types:
        raise SchemaMismatchError(
            f"stream {command.stream!r} has the columns {_columns(there)}; the upload has {_columns(schema)}"
        )
    blocks = command.on_full == "block"
    return ring.producer(
        schema if there is None else there, on_full=command.on_full, timeout_s=_BLOCK_S if blocks else None
    )


def _check_storable(schema: pa.Schema) -> None:
    """The first upload fixes a stream's columns for good: they must be such that a file can hold them."""
    from mulletdaq.hdf5.columns import columns_of

    if not arrow_schema(schema).equals(schema):
        raise SchemaMismatchError("an upload's first column is 'timestamp', int64 nanoseconds since the Unix epoch")
    columns_of(schema)


def _columns(schema: pa.Schema) -> str:
    shown = [f"{field.name}: {field.type}" for field in schema][:8]
    return ", ".join(shown) + (f" and {len(schema) - 8} more" if len(schema) > 8 else "")


def _settle(progress: _Progress, newest_row: int) -> None:
    """Find out how far an upload was that a killed process left open. The producer's lock must be held.

    Every row since `ring_row` is the upload's, unless someone else became producer after the kill. Then there are more
    rows than it can have written, or exactly all of them.
    """
    left = progress.open
    if left is None:
        return
    written = newest_row - left.ring_row
    progress.rows[left.upload] = left.row + written if 0 <= written <= left.count else -1
    progress.open = None


def _known_rows(progress: _Progress, name: str) -> int:
    rows = progress.rows.get(name, 0) if name else 0
    if rows < 0:
        raise RequestError(
            f"upload {name!r} cannot go on: another program wrote into the stream just when the service was killed, so "
            "its last rows may or may not be there; start a new upload"
        )
    return rows


class Uploads:
    """The uploads under way: one a ring.

    Safe for use by several threads. A client that comes again, because its connection broke, takes over from itself:
    the service may not have noticed yet that the old connection is dead.
    """

    def __init__(self, state_folder: str | None) -> None:
        self._state_folder = state_folder
        self._lock = threading.Lock()
        self._sessions: dict[str, UploadSession] = {}

    def begin(self, ring: RingBuffer, command: UploadCommand, schema: pa.Schema) -> UploadSession:
        """Begin an upload, or go on with one. What it raises is what :class:`Upload` raises."""
        with self._lock:
            before = self._sessions.get(ring.path)
            if before is not None and command.upload and before.name == command.upload:
                before.end()
            elif before is not None and not before.ended:
                raise ProducerLockedError(f"stream {command.stream!r} is being written by another upload")
            session = UploadSession(command.upload or "", Upload(ring, command, schema, self._ledger_path(ring.path)))
            self._sessions[ring.path] = session
            return session

    def settle(self, ring_path: str, stream_id: str) -> None:
        """Find out how far a killed process came, before someone else writes into the ring."""
        path = self._ledger_path(ring_path)
        if not Path(path).exists():
            return
        with self._lock, RingBuffer.open(ring_path) as ring:
            if f"{ring.stream_id:016x}" == stream_id and not ring.producer_alive:
                ledger = _Ledger(path, ring.stream_id)
                _settle(ledger.progress, ring.newest_row)
                ledger.save()
                ledger.close()

    def _ledger_path(self, ring_path: str) -> str:
        name = ring_path + ".uploads"
        return name if self._state_folder is None else os.path.join(self._state_folder, os.path.basename(name))


class UploadSession:
    """An upload that its connection's thread uses, and that another thread may end."""

    def __init__(self, name: str, upload: Upload) -> None:
        self.name = name
        self.ended = False
        self._upload = upload
        self._lock = threading.Lock()

    def write(self, batch: pa.RecordBatch, first_row: int | None, has_gone: Callable[[], bool]) -> int:
        """Write a batch; rows that are in the ring."""
        with self._lock:
            if not self.ended:
                self._upload.wait_for_room(batch, first_row, lambda: self.ended or has_gone())
            if self.ended:
                raise RequestError(f"upload {self.name!r} goes on over another connection")
            return self._upload.rows

    @property
    def rows(self) -> int:
        """Rows that are in the ring."""
        return self._upload.rows

    def end(self) -> None:
        """Let others write into the ring. Ending twice is fine."""
        self.ended = True
        with self._lock:
            self._upload.close()


__all__ = ["Upload", "UploadSession", "Uploads"]
