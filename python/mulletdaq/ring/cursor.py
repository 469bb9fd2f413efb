"""Reading a ring: validated copies, exact loss."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mulletdaq._core import KIND_OPAQUE, KIND_ROWS
from mulletdaq.errors import FrameCorruptError
from mulletdaq.extras import needs_extra
from mulletdaq.ring.messages import read_schema
from mulletdaq.ring.options import index_of

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    import pyarrow as pa

    from mulletdaq._core import Cursor as NativeCursor
    from mulletdaq._core import Frame


@dataclass(frozen=True)
class Loss:
    """Rows that a cursor will never deliver.

    Attributes
    ----------
    first_row, rows
        Absolute index of the first of them, and how many.
    first_sequence, frames
        The first frame of which nothing was delivered, and how many such frames.
    cause
        ``"overwritten"`` by the producer, ``"corrupt"``: wrong checksum or header, or, where a ring elsewhere was read,
        ``"replaced"``: another ring took its place before the rows were sent.
    timestamp_ns
        When the loss was noticed, ns since the Unix epoch.
    """

    first_row: int
    rows: int
    first_sequence: int
    frames: int
    cause: Literal["overwritten", "corrupt", "replaced"]
    timestamp_ns: int


class Cursor:
    """One reader's place in a ring; made by :meth:`RingBuffer.cursor`.

    Any number of cursors read a ring at once, none ever slows the producer. Threads may share one.
    """

    def __init__(self, native: NativeCursor, path: str) -> None:
        self._native = native
        self._path = path
        self._schema: pa.Schema | None = None
        self._schema_message = b""
        self._losses: list[Loss] = []
        self._timestamp_ns = 0
        # What the ring delivered whole, but pyarrow could not read.
        self._unreadable_rows = 0
        self._unreadable_frames = 0

    def read(self, max_rows: int | None = None, timeout_s: float = 0.0) -> pa.RecordBatch | bytes | None:
        """The next rows as a ``RecordBatch``, of an opaque ring the next message as bytes.

        What comes is a copy, checked to be intact, of at most one frame.

        Parameters
        ----------
        max_rows
            At most so many rows.
        timeout_s
            How long to wait for something new; ``float("inf")`` for ever.

        Returns
        -------
        RecordBatch, bytes or None
            None when nothing new came in time.

        Raises
        ------
        FrameCorruptError
            A frame's header or checksum is wrong; the next read goes on behind it, and the rows count as lost.
        RingReplacedError
            Everything was read, and a new ring was made at the same path.
        RingPositionError, RingTruncatedError, RingClosedError
        """
        if max_rows is not None and max_rows < 1:
            raise ValueError(f"max_rows must be at least 1, got {max_rows}")
        frame = self._native.read(max_rows, timeout_s)
        return None if frame is None else self._content(frame)

    def _content(self, frame: Frame) -> pa.RecordBatch | bytes:
        self._timestamp_ns = frame.timestamp_ns
        if frame.loss is not None:
            self._losses.append(Loss(*frame.loss, timestamp_ns=time.time_ns()))
        return bytes(frame) if frame.kind == KIND_OPAQUE else self._batch(frame)

    def _batch(self, frame: Frame) -> pa.RecordBatch:
        with needs_extra("arrow"):
            import pyarrow as pa
        schema = self.schema
        try:
            if frame.kind == KIND_ROWS:
                return pa.ipc.read_record_batch(pa.py_buffer(frame), schema)
            batch = self._whole_batch(frame, schema).slice(frame.skip, frame.rows)
            # Offsets and dictionary indices come from another process: out of bounds, they would end this one.
            batch.validate(full=True)
        except (pa.ArrowException, StopIteration, KeyError, EOFError) as error:
            # The cursor is behind it already: like a wrong checksum, it is told and stepped over.
            message = f"ring {self._path}: frame at position {frame.position} holds no readable Arrow data: {error}"
            self._unreadable_rows += frame.rows
            self._unreadable_frames += 1
            self._losses.append(
                Loss(frame.first_row, frame.rows, frame.sequence, 1, "corrupt", timestamp_ns=time.time_ns())
            )
            raise FrameCorruptError(" ".join(message.split())) from error
        else:
            return batch

    def _whole_batch(self, frame: Frame, schema: pa.Schema | None) -> pa.RecordBatch:
        import pyarrow as pa

        message = pa.ipc.read_message(pa.py_buffer(frame))
        if message.type == "record batch":  # in place, without another copy
            return pa.ipc.read_record_batch(message, schema)
        # Dictionaries come first, and only a stream puts them and the batch together.
        return pa.ipc.open_stream(pa.BufferReader(self._schema_message + bytes(frame))).read_next_batch()

    @property
    def schema(self) -> pa.Schema | None:
        """The ring's Arrow schema; None while it has none."""
        if self._schema is None:
            message = self._native.schema_message()
            if message is not None:
                self._schema_message = message
                self._schema = read_schema(self._path, message)
        return self._schema

    @property
    def position(self) -> int:
        """Start of the frame that the next row comes from: what lies before is wholly delivered."""
        return self._native.position

    @property
    def row(self) -> int:
        """Absolute index of the next row; a message of an opaque ring counts as one row."""
        return self._native.row

    @property
    def sequence(self) -> int:
        """Sequence of the first frame of which nothing was delivered yet."""
        return self._native.sequence

    @property
    def timestamp_ns(self) -> int:
        """Stamp in the header of the frame last read, ns since the Unix epoch."""
        return self._timestamp_ns

    @property
    def lost_rows(self) -> int:
        """Rows lost since this cursor was made, exactly."""
        return self._native.lost_rows + self._unreadable_rows

    @property
    def lost_frames(self) -> int:
        """Frames of which nothing was delivered since this cursor was made."""
        return self._native.lost_frames + self._unreadable_frames

    @property
    def lag_rows(self) -> int:
        """Rows between this cursor and the newest."""
        return self._native.lag_rows

    def take_losses(self) -> list[Loss]:
        """The losses noticed since the last call, in order."""
        taken, self._losses = self._losses, []
        return taken

    def seek(self, position: int) -> None:
        """Go to the frame at a position; a read raises ``RingPositionError`` if none starts there."""
        self._native.seek(index_of("position", position))

    async def __aiter__(self) -> AsyncIterator[pa.RecordBatch | bytes]:
        """Wait for what comes next, without blocking the event loop."""
        import asyncio

        wait_s = 50e-6
        while True:
            content = self.read()
            if content is None:
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, 5e-3)
            else:
                wait_s = 50e-6
                yield content

    def close(self) -> None:
        """Let go of the ring. Closing twice is fine."""
        self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
