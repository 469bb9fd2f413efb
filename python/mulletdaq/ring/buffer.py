"""The ring's file: create, open, write, read."""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mulletdaq import _core
from mulletdaq.errors import (
    ProducerLockedError,
    RingContentError,
    RingExistsError,
    SchemaMismatchError,
)
from mulletdaq.ring.cursor import Cursor
from mulletdaq.ring.facts import RingFacts
from mulletdaq.ring.messages import as_batch, check_batch, check_nulls, messages_of, schema_of, summary_of
from mulletdaq.ring.options import OnFull, check_policy, index_of, rounded_capacity
from mulletdaq.ring.producer import Producer
from mulletdaq.ring.reading import latest_rows, snapshot
from mulletdaq.ring.statistics import RingStatistics, statistics_of
from mulletdaq.ring.template import schema_region
from mulletdaq.schema import SchemaLike, arrow_schema

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    import numpy.typing as npt
    import pyarrow as pa
    from typing_extensions import Buffer


class RingBuffer(RingFacts):
    """A memory-mapped ring in a file; made by :meth:`create` or :meth:`open`.

    Any number of processes and threads may hold one open at once; one at a time produces. The bytes
    API (:meth:`write`, opaque cursors, :meth:`read_snapshot`) needs neither pyarrow nor h5py.
    """

    def __init__(self, native: _core.Ring, on_full: OnFull, timeout_s: float | None) -> None:
        super().__init__(native)
        self._on_full: OnFull = on_full
        self._timeout_s = timeout_s
        self._writer: _core.Producer | None = None
        self._writer_lock = threading.Lock()
        self._rows_writer: _core.Producer | None = None
        self._producer: Producer | None = None
        self._schema: pa.Schema | None = None

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        capacity_mb: float = 100,
        *,
        capacity_bytes: int | None = None,
        exist_ok: bool = False,
        force: bool = False,
        checksum: bool = False,
        on_full: OnFull = "overwrite",
        timeout_s: float | None = None,
    ) -> Self:
        """Create a ring's file, readable and writable by this user only.

        Parameters
        ----------
        path
            Any path; a tmpfs such as /dev/shm keeps it in memory.
        capacity_mb, capacity_bytes
            Size of the data region in MB of 1,048,576 bytes, or in bytes; rounded up to 64 bytes.
        exist_ok
            Open the ring that is there instead, as it is.
        force
            Replace a ring that no producer holds; its cursors will raise ``RingReplacedError``.
        checksum
            Give sealed frames a CRC32C.
        on_full, timeout_s
            For writes through this object; see :meth:`producer`.

        Raises
        ------
        RingExistsError, RingCapacityError, RingSpaceError, RingAccessError, ProducerLockedError
        """
        check_policy(on_full, timeout_s)
        capacity = rounded_capacity(capacity_mb, capacity_bytes)
        try:
            native = _core.Ring.create(os.path.abspath(path), capacity, force=force, checksum=checksum)
        except RingExistsError:
            if not exist_ok:
                raise
            native = _core.Ring.open(os.path.abspath(path))
        return cls(native, on_full, timeout_s)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        owner: int | None = None,
        on_full: OnFull = "overwrite",
        timeout_s: float | None = None,
    ) -> Self:
        """Open a ring that is there.

        Parameters
        ----------
        owner
            The user id that the ring must belong to, if not yours; then it is opened read-only.

        Raises
        ------
        RingNotFoundError, RingAccessError, RingFormatError, RingVersionError, RingTruncatedError
        """
        check_policy(on_full, timeout_s)
        return cls(_core.Ring.open(os.path.abspath(path), owner=owner), on_full, timeout_s)

    # ---- writing

    def write(self, data: Buffer, *, timestamp_ns: int | None = None) -> int:
        """Write one opaque message, visible to every process when this returns.

        The first write takes the producer's lock, until :meth:`close`.

        Returns
        -------
        int
            The message's position, which a cursor may start at.

        Raises
        ------
        FrameTooLargeError, RingContentError, ProducerLockedError, RingFullError, RingTimeoutError, SinkDeadError
        """
        return self._take_writer().write(data, timestamp_ns)

    def write_arrow_batch(self, batch: Any) -> None:
        """Write a record batch: a ``pyarrow.RecordBatch``, or anything that speaks Arrow's
        C interface (``__arrow_c_array__``, or ``__arrow_c_stream__`` as frames of polars do).

        A ring without a schema takes the batch's own, as it is.

        Raises
        ------
        SchemaMismatchError
            The ring has another schema.
        FrameTooLargeError, RingContentError, ProducerLockedError, RingFullError, RingTimeoutError, SinkDeadError
        """
        writer = self._rows_writer
        if writer is not None:
            # The way of almost all batches: as the ring has its columns, and without nulls.
            try:
                capsules = batch.__arrow_c_array__()
            except AttributeError:
                capsules = None
            if capsules is not None and writer.append_arrow(*capsules):
                return
        self._write_batch(as_batch(batch))

    def _write_batch(self, batch: pa.RecordBatch) -> None:
        schema = self.schema
        if schema is None:
            schema = batch.schema
            self._fix_schema(schema)
        check_batch(self.path, batch, schema)
        if not batch.num_rows:
            return
        writer = self._take_writer()
        if writer.fills_rows:
            self._rows_writer = writer
            if writer.append_arrow(*batch.__arrow_c_array__(), checked=True):
                return
        check_nulls(self.path, batch, schema)
        writer.write_messages(messages_of(batch), batch.num_rows)

    def producer(
        self, schema: SchemaLike | None = None, *, on_full: OnFull | None = None, timeout_s: float | None = None
    ) -> Producer:
        """Become the producer of rows, going on where the last one ended, however it ended.

        Parameters
        ----------
        schema
            A ``pyarrow.Schema`` or channels; ``timestamp`` is added as first column where missing.
            None: the columns that the ring has; rows are then written without pyarrow.
        on_full
            ``"overwrite"``: old rows go, and are counted as lost. ``"block"``: wait up to `timeout_s`
            (None: for ever) for the persisting sink, not for a dead one. ``"error"``: raise.

        Raises
        ------
        ProducerLockedError
            Another process, or this object, has the producer already.
        SchemaMismatchError
            The ring has another schema.
        RingContentError, RingReplacedError, RingAccessError
            Among them: the ring has no columns, and none are given.
        """
        wanted = None if schema is None else arrow_schema(schema)
        check_policy(on_full or self._on_full, timeout_s)
        if self._producer is not None and not self._producer.closed:
            raise ProducerLockedError(f"ring {self.path}: this object has a producer already (pid {os.getpid()})")
        self._check_columns(wanted)
        if (on_full is not None or timeout_s is not None) and self._writer is not None:
            self._writer.close()  # it has the policy of the ring's own writes
        writer = self._take_writer(on_full, timeout_s)
        try:
            if wanted is not None:
                self._fix_schema(wanted)
        except BaseException:
            writer.close()
            raise
        self._producer = Producer(writer, self._native, wanted)
        return self._producer

    def _check_columns(self, wanted: pa.Schema | None) -> None:
        if wanted is None:
            if self.content != "arrow":
                raise RingContentError(f"ring {self.path} has no columns to go on with; say which it is to have")
            return
        there = self.schema
        if there is not None and not there.equals(wanted):
            raise SchemaMismatchError(f"ring {self.path} has the columns {summary_of(there)}, not {summary_of(wanted)}")

    def _take_writer(self, on_full: OnFull | None = None, timeout_s: float | None = None) -> _core.Producer:
        with self._writer_lock:
            if self._writer is None or self._writer.closed:
                policy = on_full or self._on_full
                limit = timeout_s if timeout_s is not None else self._timeout_s
                wait_s = (math.inf if limit is None else limit) if policy == "block" else 0.0
                self._writer = self._native.producer(keep_uncommitted=policy != "overwrite", timeout_s=wait_s)
            return self._writer

    def _fix_schema(self, schema: pa.Schema) -> None:
        region = schema_region(schema)
        self._take_writer().set_schema(region.content, region.message_bytes)
        self._schema = schema

    # ---- reading

    def cursor(
        self,
        start: Literal["oldest", "latest"] | int = "oldest",
        *,
        start_row: int | None = None,
        start_sequence: int | None = None,
        verify: bool = False,
    ) -> Cursor:
        """A reader's place.

        Parameters
        ----------
        start
            ``"oldest"``, ``"latest"``, or the position of a frame.
        start_row
            A row to start at, or the nearest one there. Together with a position: go on at a place
            remembered from earlier, counting as lost what was overwritten since.
        start_sequence
            The remembered ``cursor.sequence``; without it the lost frames of such a gap are not counted.
        verify
            Check every sealed frame's checksum, if the ring has them.

        Raises
        ------
        RingPositionError
            No such frame, or not with that row.
        """
        native = self._native
        row = None if start_row is None else index_of("start_row", start_row)
        if start not in ("oldest", "latest"):
            position = index_of("start", start)
            made = (
                native.cursor_position(position) if row is None else native.cursor_resume(position, row, start_sequence)
            )
        elif row is not None:
            made = native.cursor_row(row)
        else:
            made = native.cursor_oldest() if start == "oldest" else native.cursor_latest()
        made.set_verify(verify)
        return Cursor(made, self.path)

    def read_snapshot(self) -> bytes:
        """Everything from ``read_tail``, or the oldest row if that is later, to the newest row now.

        Returns
        -------
        bytes
            Of an Arrow ring a complete IPC stream for ``pyarrow.ipc.open_stream``; of an opaque ring
            the payloads one after the other; of an empty ring nothing.
        """
        return snapshot(self._native)

    def latest(self, count: int) -> dict[str, npt.NDArray[Any]]:
        """The newest rows as NumPy arrays, one a column; of an opaque ring ``{"raw_data": messages}``.

        Parameters
        ----------
        count
            At most so many rows, fewer when the ring holds fewer.
        """
        return latest_rows(self, count)

    def view(self, position: int | None = None) -> _core.View | None:
        """A frame's payload in place, without a copy: read it, then ask whether it was ``intact``.

        Parameters
        ----------
        position
            Of the frame; the newest one by default (None when the ring is empty).
        """
        return self._native.view_newest() if position is None else self._native.view(position)

    def sink(self) -> _core.Sink:
        """Become the one persisting sink, which alone may move ``read_tail``.

        Raises
        ------
        SinkLockedError
            Another process, named with its pid, is.
        """
        return self._native.sink()

    def seal_open_frame(self) -> None:
        """Seal what a dead producer left open; nothing happens while one lives.

        Raises
        ------
        FrameCorruptError, RingReplacedError
        """
        try:
            self._native.producer().close()
        except ProducerLockedError:
            return

    # ---- about

    @property
    def schema(self) -> pa.Schema | None:
        """The Arrow schema; None while there is none, and for opaque rings."""
        if self._schema is None:
            self._schema = schema_of(self._native)
        return self._schema

    def data_address(self) -> int:
        """Address of the data region (file offset 128), e.g. for ctypes; valid until :meth:`close`."""
        return self._native.data_address()

    def statistics(self) -> RingStatistics:
        """The ring at this moment."""
        return statistics_of(self._native)

    # ---- end

    def close(self) -> None:
        """Seal, let go of producer and mapping. Closing twice is fine.

        Raises
        ------
        BufferError
            Views of :meth:`view` still look into it.
        """
        if self._writer is not None:
            self._writer.close()
        self._native.close()

    def unlink(self) -> None:
        """Remove the file, unless another ring has taken its path; handles stay usable until closed."""
        if not self._native.replaced:
            Path(self.path).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<RingBuffer {self.path}>"
