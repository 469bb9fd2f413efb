"""The one writer of a ring."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mulletdaq.errors import RingError
from mulletdaq.ring.columns import BlockColumn, block_column
from mulletdaq.ring.messages import schema_of
from mulletdaq.ring.sample_clock import SampleClock

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from mulletdaq._core import Producer as NativeProducer
    from mulletdaq._core import Ring


class Producer:
    """Writes rows and blocks into a ring of one schema; made by :meth:`RingBuffer.producer`.

    One process at a time holds a ring's producer. Threads of it may share this object: a write that
    finds another one under way waits for it. A forked child cannot write with it.

    Attributes
    ----------
    append : callable
        ``append(*values, timestamp_ns=None)`` writes one row, visible to every process when it
        returns: one value a channel, in order, an array for a waveform or image. Stamped with the
        time now unless `timestamp_ns` is given. No allocation, lock or syscall; one builtin call.
        Raises ``TypeError`` or ``ValueError`` for values that do not fit, and leaves the ring as it
        was; ``ProducerBusyError`` below a write of the same thread; ``RingFullError``,
        ``RingTimeoutError`` or ``SinkDeadError`` as `on_full` says.
    """

    __slots__ = ("_clock", "_columns", "_native", "_ring", "_schema", "append")

    append: Callable[..., None]

    def __init__(self, native: NativeProducer, ring: Ring, schema: pa.Schema | None) -> None:
        self._native = native
        self._ring = ring
        self._schema = schema
        self._clock: SampleClock | None = None
        self._columns: list[BlockColumn] = []
        self.append = native.append

    @property
    def schema(self) -> pa.Schema:
        """What it writes, ``timestamp`` first."""
        if self._schema is None:
            self._schema = schema_of(self._ring)
        return self._schema

    def append_block(
        self,
        *columns: Any,
        timestamps_ns: Any = None,
        start_ns: int | None = None,
        rate_hz: float | None = None,
    ) -> None:
        """Write many rows at once.

        Parameters
        ----------
        *columns
            One array a channel, in order, of shape ``(rows, *channel shape)``; or one mapping of
            channel name to array. Dtypes must match or be safely castable.
        timestamps_ns
            Array ``(rows,)`` of int64 ns since the Unix epoch, or datetime64.
        start_ns, rate_hz
            For sample-clocked data instead: sample k is stamped ``start_ns + round(k·10⁹/rate_hz)``,
            k going on over blocks of equal `start_ns` and `rate_hz`. Without `start_ns` the clock
            starts at the first such block. Without any of these all rows are stamped with the time now.

        Raises
        ------
        TypeError, ValueError
            Wrong count, dtype or shape; nothing is written.
        RingFullError, RingTimeoutError, SinkDeadError
            As `on_full` says; rows before the one that found the ring full are written.
        """
        # A schema may have channels that take no blocks, so this is not looked at before there are some.
        self._columns = self._columns or [block_column(field) for field in self.schema]
        given = zip(self._columns[1:], self._in_order(columns), strict=True)
        arrays = [column.column_bytes(values) for column, values in given]
        counts = {rows for rows, _ in arrays}
        if not counts and timestamps_ns is not None:
            counts = {len(timestamps_ns)}  # a stream of events has nothing but its stamps
        if len(counts) != 1:
            raise ValueError(f"columns of a block must be equally long, got {sorted(counts)} rows")
        rows = counts.pop()
        if rows:
            stamps = self._stamps(rows, timestamps_ns, start_ns, rate_hz)
            self._append_columns(rows, [stamps, *(array for _, array in arrays)], clocked=rate_hz is not None)

    def _append_columns(self, rows: int, columns: list[Any], *, clocked: bool) -> None:
        first = self._native.row
        try:
            self._native.append_columns(rows, columns)
        except RingError as error:
            written = self._native.row - first
            if clocked and self._clock is not None:
                self._clock.give_back(rows - written)
            error.add_note(f"the first {written} of the block's {rows} rows were written")
            raise

    def _in_order(self, columns: tuple[Any, ...]) -> list[Any]:
        names = [column.name for column in self._columns[1:]]
        if len(columns) == 1 and isinstance(columns[0], Mapping):
            named = columns[0]
            if set(named) != set(names):
                raise TypeError(f"a block takes the channels {', '.join(names)}, got {', '.join(map(str, named))}")
            return [named[name] for name in names]
        if len(columns) != len(names):
            raise TypeError(f"a block takes {len(names)} columns ({', '.join(names)}), got {len(columns)}")
        return list(columns)

    def _stamps(
        self, rows: int, timestamps_ns: Any, start_ns: int | None, rate_hz: float | None
    ) -> npt.NDArray[np.int64]:
        import numpy as np

        if timestamps_ns is not None:
            if start_ns is not None or rate_hz is not None:
                raise TypeError("give timestamps_ns, or start_ns and rate_hz, not both")
            found, stamps = self._columns[0].column_bytes(timestamps_ns)
            if found != rows:
                raise ValueError(f"{rows} rows need as many timestamps, got {found}")
            return stamps
        if rate_hz is None:
            if start_ns is not None:
                raise TypeError("start_ns needs rate_hz")
            return np.full(rows, self._native.stamp(), dtype=np.int64)
        if not math.isfinite(rate_hz):
            raise ValueError(f"rate_hz must be finite, got {rate_hz!r}")
        clock = self._clock
        if clock is None or clock.rate_hz != rate_hz or start_ns not in (None, clock.start_ns):
            clock = self._clock = SampleClock(self._native.stamp() if start_ns is None else start_ns, rate_hz)
        return clock.take(rows)

    def seal(self) -> None:
        """Close the open frame: from here on it is a valid Arrow IPC message. Rarely needed."""
        self._native.seal()

    def close(self) -> None:
        """Seal and let another producer in. Closing twice is fine."""
        self._native.close()

    @property
    def closed(self) -> bool:
        """True once closed."""
        return self._native.closed

    @property
    def row(self) -> int:
        """Absolute index of the next row."""
        return self._native.row

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
