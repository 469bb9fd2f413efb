"""The native ring: memory-mapped, lock-free, validated. Use it through :mod:`mulletdaq.ring`."""

from collections.abc import Sequence
from os import PathLike
from typing import Any, Final, Literal, Self, final

import numpy.typing as npt
from typing_extensions import Buffer, CapsuleType

__all__ = [
    "FRAME_HEADER_BYTES",
    "HEADER_BYTES",
    "KIND_ARROW",
    "KIND_OPAQUE",
    "KIND_ROWS",
    "LAYOUT_VERSION",
    "MAGIC",
    "MAX_CAPACITY",
    "MIN_CAPACITY",
    "SCHEMA_CAPACITY",
    "Cursor",
    "Frame",
    "Producer",
    "Ring",
    "Sink",
    "View",
    "sleep_until",
]

MAGIC: Final[int]
"""First word of a finished ring."""
LAYOUT_VERSION: Final[int]
"""The layout version read and written."""
HEADER_BYTES: Final[int]
"""Bytes before the data region."""
FRAME_HEADER_BYTES: Final[int]
"""Bytes of a frame's header."""
SCHEMA_CAPACITY: Final[int]
"""Bytes reserved behind the data region for the schema."""
MIN_CAPACITY: Final[int]
"""Smallest capacity in bytes."""
MAX_CAPACITY: Final[int]
"""Largest capacity in bytes."""
KIND_OPAQUE: Final[int]
"""A frame with one opaque message."""
KIND_ROWS: Final[int]
"""A frame of fixed-width rows; read as an Arrow record batch message."""
KIND_ARROW: Final[int]
"""A frame of Arrow IPC messages."""

@final
class Ring:
    """A mapped ring's file. Safe to use from any thread; other processes open their own."""

    @staticmethod
    def create(path: str | PathLike[str], capacity_bytes: int, *, force: bool = False, checksum: bool = False) -> Ring:
        """Create a ring's file (mode 0600) with `capacity_bytes` of data region.

        Raises
        ------
        RingExistsError
            Something is there already; with `force` a ring that no producer holds is replaced.
        RingSpaceError
            The file system has no room.
        RingCapacityError, RingAccessError, ProducerLockedError
        """

    @staticmethod
    def open(path: str | PathLike[str], *, owner: int | None = None) -> Ring:
        """Open a ring; another user's, read-only, if `owner` is that user's id.

        Raises
        ------
        RingNotFoundError, RingAccessError, RingFormatError, RingVersionError, RingTruncatedError
        """

    @property
    def path(self) -> str:
        """Path it was created or opened at."""
    @property
    def closed(self) -> bool:
        """True once closed."""
    @property
    def read_only(self) -> bool:
        """True for another user's ring."""
    @property
    def replaced(self) -> bool:
        """True if the path leads to another file, or to none. May be asked after closing."""
    @property
    def capacity_bytes(self) -> int:
        """Bytes of the data region."""
    @property
    def stream_id(self) -> int:
        """Random number (u64), new at each creation."""
    @property
    def created_ns(self) -> int:
        """Creation time, ns since the Unix epoch."""
    @property
    def write_head(self) -> int:
        """Position up to which frames are published."""
    @property
    def write_intent(self) -> int:
        """Position up to which the producer may be writing."""
    @property
    def read_tail(self) -> int:
        """Start of the first frame that the persisting sink has not wholly committed."""
    @property
    def oldest(self) -> int:
        """Start of the oldest whole frame."""
    @property
    def midway(self) -> int:
        """Start of the frame that last crossed a half-ring mark."""
    @property
    def producer_heartbeat_ns(self) -> int:
        """When the producer last claimed, sealed or waited; 0 for never."""
    @property
    def sink_heartbeat_ns(self) -> int:
        """When the persisting sink last moved the tail; 0 for never."""
    @property
    def flags(self) -> int:
        """Bits: 1 opaque, 2 Arrow, 4 checksums, 8 replaced."""
    @property
    def schema_bytes(self) -> int:
        """Bytes of the schema message; 0 for none yet."""
    @property
    def producer_pid(self) -> int | None:
        """Pid of the living producer, by its lock."""
    @property
    def sink_pid(self) -> int | None:
        """Pid of the living persisting sink, by its lock."""
    def schema_message(self) -> bytes | None:
        """The Arrow IPC schema message, once there is one."""
    def columns(self) -> list[tuple[str, str, int]]:
        """Name, format and bits a row (0: rows differ) of each column."""
    def newest_row(self) -> int:
        """Absolute index of the next row to be written, open frame included."""
    def oldest_row(self) -> int:
        """Absolute index of the oldest row still there."""
    def row_at_tail(self) -> int | None:
        """Absolute index of the row at `read_tail`; None when it was overwritten."""
    def producer(self, *, keep_uncommitted: bool = False, timeout_s: float = 0.0) -> Producer:
        """Become the producer, going on where the last one ended, however it ended.

        Parameters
        ----------
        keep_uncommitted
            Never overwrite what the persisting sink has not committed: a write that would waits up
            to `timeout_s` (``inf`` for ever, 0 not at all).

        Raises
        ------
        ProducerLockedError, RingReplacedError, FrameCorruptError, RingAccessError
        """

    def sink(self) -> Sink:
        """Become the persisting sink.

        Raises
        ------
        SinkLockedError, RingReplacedError
        """

    def cursor_oldest(self) -> Cursor:
        """A cursor at the oldest row."""
    def cursor_latest(self) -> Cursor:
        """A cursor behind the newest row."""
    def cursor_row(self, row: int) -> Cursor:
        """A cursor at a row, or at the nearest one that is there."""
    def cursor_position(self, position: int) -> Cursor:
        """A cursor at a frame's start; its first read raises RingPositionError if none starts there."""
    def cursor_resume(self, position: int, row: int, sequence: int | None = None) -> Cursor:
        """A cursor that goes on at a remembered place, counting what was overwritten since as lost.

        Raises
        ------
        RingPositionError
            The ring never had that row at that position.
        """

    def data_address(self) -> int:
        """Address of the data region, valid until the last user of the mapping is closed."""
    def view(self, position: int) -> View:
        """The payload of the frame at a position, in place."""
    def view_newest(self) -> View | None:
        """The payload of the newest frame, in place."""
    def close(self) -> None:
        """Let go of the mapping; cursors and producers made from this ring keep theirs.

        Raises
        ------
        BufferError
            Views still look into it.
        """

@final
class Producer:
    """The one writer of a ring, as long as it holds the lock."""

    def append(self, *values: Any, timestamp_ns: int | None = None) -> None:
        """Write one row: one value a channel, in order. See :class:`mulletdaq.ring.Producer`."""
    def set_schema(self, region: Buffer, message_bytes: int) -> None:
        """Fix the schema: the schema region's bytes, of which the first are the IPC message.

        Raises
        ------
        SchemaMismatchError, SchemaError, RingContentError
        """

    def write(self, data: Buffer, timestamp_ns: int | None = None) -> int:
        """Write one opaque message; returns its position."""
    def write_messages(self, messages: Buffer, rows: int, timestamp_ns: int | None = None) -> int:
        """Write Arrow IPC messages that end in one record batch of `rows` rows; returns the position."""
    def append_columns(self, rows: int, columns: Sequence[Buffer | npt.NDArray[Any]]) -> None:
        """Write `rows` rows from one contiguous buffer a column, timestamps first, bools as bits."""
    def append_arrow(self, schema: CapsuleType, array: CapsuleType, *, checked: bool = False) -> bool:
        """Write the rows of what `__arrow_c_array__` returned in place.

        False, and nothing written, if the producer is closed, or the array has nulls, varying widths or,
        unless `checked`, perhaps another schema.
        """
    def stamp(self) -> int:
        """The time now, ns since the Unix epoch; never earlier than the last stamp given."""
    def seal(self) -> None:
        """Close the open frame, if there is one."""
    def close(self) -> None:
        """Seal and release the lock. Closing twice is fine."""
    @property
    def closed(self) -> bool:
        """True once closed."""
    @property
    def row(self) -> int:
        """Absolute index of the next row."""
    @property
    def sequence(self) -> int:
        """Sequence of the next frame."""
    @property
    def position(self) -> int:
        """Position of the next frame."""
    @property
    def rows_overwritten(self) -> int:
        """Rows this producer overwrote in frames that the persisting sink had not wholly committed."""
    @property
    def fills_rows(self) -> bool:
        """True if the schema's columns all have fixed width."""

@final
class Sink:
    """The persisting sink's role, as long as it holds the lock."""

    def advance(self, position: int) -> None:
        """Move `read_tail` forward to a frame's start."""
    def close(self) -> None:
        """Release the lock. Closing twice is fine."""

@final
class Cursor:
    """One reader's place. Threads may share one; each read is validated."""

    def read(self, max_rows: int | None = None, timeout_s: float = 0.0) -> Frame | None:
        """Copy the next rows; None when nothing new came within `timeout_s`.

        Raises
        ------
        FrameCorruptError, RingPositionError, RingReplacedError, RingTruncatedError, RingClosedError
        """

    @property
    def position(self) -> int:
        """Start of the frame that the next row comes from."""
    @property
    def row(self) -> int:
        """Absolute index of the next row."""
    @property
    def sequence(self) -> int:
        """Sequence of the first frame of which nothing was delivered yet."""
    @property
    def lost_rows(self) -> int:
        """Rows lost since the cursor was made."""
    @property
    def lost_frames(self) -> int:
        """Whole frames lost since the cursor was made."""
    @property
    def lag_rows(self) -> int:
        """Rows between this cursor and the newest."""
    def schema_message(self) -> bytes | None:
        """The Arrow IPC schema message of the ring, once there is one."""
    def seek(self, position: int) -> None:
        """Go to a frame's start; the next read raises RingPositionError if none starts there."""
    def set_verify(self, verify: bool) -> None:
        """Check every sealed frame's checksum, if the ring has them."""
    def close(self) -> None:
        """Let go of the ring. Closing twice is fine."""

@final
class Frame(Buffer):
    """A validated copy of a message, or of some of its rows; supports the buffer protocol."""

    @property
    def kind(self) -> int:
        """One of the KIND constants."""
    @property
    def position(self) -> int:
        """Start of the frame."""
    @property
    def sequence(self) -> int:
        """Sequence of the frame."""
    @property
    def timestamp_ns(self) -> int:
        """Stamp in the frame's header."""
    @property
    def first_row(self) -> int:
        """Absolute index of the first row delivered."""
    @property
    def rows(self) -> int:
        """Rows delivered."""
    @property
    def skip(self) -> int:
        """Rows of the message that come before the first delivered."""
    @property
    def loss(self) -> tuple[int, int, int, int, Literal["overwritten", "corrupt"]] | None:
        """First row, rows, first sequence, frames and cause of what was lost before this."""
    def __len__(self) -> int: ...
    def __bytes__(self) -> bytes: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class View(Buffer):
    """A frame's payload in place; supports the buffer protocol. Read, then ask whether it is `intact`."""

    @property
    def intact(self) -> bool:
        """True if nothing of it has been overwritten so far."""
    @property
    def position(self) -> int:
        """Start of the frame."""
    @property
    def sequence(self) -> int:
        """Sequence of the frame."""
    @property
    def kind(self) -> int:
        """One of the KIND constants."""
    @property
    def first_row(self) -> int:
        """Absolute index of the frame's first row."""
    @property
    def rows(self) -> int:
        """Rows in the frame when the view was made."""
    @property
    def timestamp_ns(self) -> int:
        """Stamp in the frame's header."""
    def release(self) -> None:
        """Let go of the ring. Raises BufferError while buffers look into the view."""
    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> None: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

def sleep_until(deadline_ns: int, /) -> int:
    """Sleep until a moment, at most 50 ms, and tell the time then; at once where it is over.

    Both are nanoseconds of ``time.monotonic_ns()``. Handlers of signals run meanwhile, and may raise. One call, so that
    a loop which is woken at 100 Hz, always from cold caches, runs little else.
    """
