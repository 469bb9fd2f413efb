"""Rows of a ring in batches worth sending: whole frames together, and never a gap within one."""

from __future__ import annotations

from mulletdaq.errors import FrameCorruptError
from mulletdaq.extras import needs_extra
from mulletdaq.flight.streams import OPAQUE
from mulletdaq.ring import Loss, RingBuffer
from mulletdaq.ring.template import width_bits
from mulletdaq.schema import TIMESTAMP

with needs_extra("flight"):
    import pyarrow as pa

OPAQUE_SCHEMA = pa.schema(
    [pa.field(TIMESTAMP, pa.int64(), nullable=False), pa.field("raw_data", pa.binary())],
    dict([OPAQUE]),
)
"""What the messages of an opaque ring are sent as."""

_ENOUGH_BYTES = 1 << 20
_ENOUGH_PIECES = 1024


class GaplessReader:
    """Reads a ring from a row on.

    Parameters
    ----------
    ring
        The ring.
    start
        ``"oldest"``, ``"latest"``, or a row.
    """

    def __init__(self, ring: RingBuffer, start: str | int) -> None:
        if isinstance(start, int):
            self._cursor = ring.cursor(start_row=start, verify=True)
        else:
            self._cursor = ring.cursor("latest" if start == "latest" else "oldest", verify=True)
        self._held: tuple[int, pa.RecordBatch] | None = None
        self._joins: bool | None = None

    @property
    def row(self) -> int:
        """The next row that is read, or a later one if it is lost by then."""
        return self._cursor.row if self._held is None else self._held[0]

    @property
    def lag_rows(self) -> int:
        """Rows that wait to be read."""
        return self._cursor.lag_rows

    @property
    def position(self) -> int:
        """Up to where the ring was read."""
        return self._cursor.position

    def take_losses(self) -> list[Loss]:
        """The losses noticed since the last call, in order; perhaps one behind what was read."""
        return self._cursor.take_losses()

    def read(self, stop: int | None, timeout_s: float) -> tuple[int, pa.RecordBatch] | None:
        """The next rows; None when none came in time.

        Parameters
        ----------
        stop
            The row before which to end; a gap may lead beyond it.
        timeout_s
            How long to wait.

        Returns
        -------
        (int, RecordBatch) or None
            Absolute index of the first row, and rows that follow one another without a gap.
        """
        begin = self._cursor.position
        found, self._held = self._held or self._piece(stop, timeout_s), None
        if found is None or not self._can_join(found[1]):
            return found
        first, piece = found
        pieces, rows = [piece], piece.num_rows
        while len(pieces) < _ENOUGH_PIECES and self._cursor.position - begin < _ENOUGH_BYTES and self._cursor.lag_rows:
            found = self._piece(stop, 0.0)
            if found is None:
                break
            if found[0] != first + rows:
                self._held = found  # it lies behind a gap
                break
            pieces.append(found[1])
            rows += found[1].num_rows
        return first, pieces[0] if len(pieces) == 1 else pa.concat_batches(pieces)

    def _piece(self, stop: int | None, timeout_s: float) -> tuple[int, pa.RecordBatch] | None:
        most = None if stop is None else stop - self._cursor.row
        if most is not None and most < 1:
            return None
        try:
            content = self._cursor.read(most, timeout_s)
        except FrameCorruptError:
            return None  # the rows after it tell how many are missing
        if content is None:
            return None
        if isinstance(content, bytes):
            message = [pa.array([self._cursor.timestamp_ns]), pa.array([content], pa.binary())]
            content = pa.record_batch(message, schema=OPAQUE_SCHEMA)
        return self._cursor.row - content.num_rows, content

    def _can_join(self, batch: pa.RecordBatch) -> bool:
        """Dictionaries of different frames differ; what has fixed width can be put together."""
        if self._joins is None:
            opaque = batch.schema.equals(OPAQUE_SCHEMA)
            self._joins = opaque or all(width_bits(field.type) for field in batch.schema)
        return self._joins

    def close(self) -> None:
        """Let go of the ring. Closing twice is fine."""
        self._cursor.close()


__all__ = ["OPAQUE_SCHEMA", "GaplessReader"]
