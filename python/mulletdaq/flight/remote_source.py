"""A daemon's stream as an HDF5 writer reads it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mulletdaq.errors import MulletError, WriterError
from mulletdaq.flight.receiving import ROOM_BYTES, Beginning, Receiver, Rows
from mulletdaq.flight.streams import content_of
from mulletdaq.ring import Loss

if TYPE_CHECKING:
    from mulletdaq.hdf5.ledger import Place
    from mulletdaq.hdf5.options import RemoteAddress
    from mulletdaq.hdf5.row_source import Trouble

_ALL_ROWS = 1 << 62
_PATIENCE_S = 10.0
"""For how long a drain waits for a daemon that says nothing."""


class RemoteSource:
    """Rows that a :class:`Receiver` brings; a :class:`~mulletdaq.hdf5.row_source.RowSource`.

    Parameters
    ----------
    address
        The stream.

    Raises
    ------
    RequestError, AccessRefusedError
        If the address is none, or its token cannot be used.
    """

    position = sequence = -1
    producing = False

    def __init__(self, address: RemoteAddress) -> None:
        self._receiver = Receiver(address)
        self.origin = self._receiver.origin
        self.stream_id = self.created_ns = self.row = self.timestamp_ns = 0
        self.content = "none"
        self.schema: Any = None
        self.kept: Exception | None = None
        self._losses: list[Loss] = []
        self._taken = 0
        self._notes: list[str] = []
        self._aim: tuple[int, int] | None = None
        self._passed = self._asking = False
        self._asked_at = 0.0

    # ---- reading

    def begin(self, places: Mapping[int, Place]) -> None:
        """Receive from where the file goes on."""
        self._receiver.start(places)

    def turn(self) -> bool:
        """Go over to the ring that took this one's place."""
        item = self._receiver.peek()
        if not isinstance(item, Beginning):
            return False
        self._receiver.pop()
        if self.stream_id:
            self._notes.append(f"{self.origin} has a new ring, whose rows count from 0: they are a new run in the file")
        self._passed = self._passed or (self._aim is not None and self._aim[0] == self.stream_id)
        self.stream_id, self.created_ns, self.row = item.stream_id, item.created_ns, item.row
        self.schema, self.content = item.schema, content_of(item.schema)
        return True

    def read(self, max_rows: int | None) -> Any:
        """The next rows that were received."""
        while isinstance(item := self._receiver.peek(), Loss):
            self._receiver.pop()
            self._losses.append(item)
            self.row = item.first_row + item.rows
        if not isinstance(item, Rows):
            return None
        left = item.batch.num_rows - self._taken
        count = 1 if self.content == "opaque" else left if max_rows is None else min(left, max_rows)
        piece = item.batch.slice(self._taken, count)
        self._taken += count
        self.row = item.first_row + self._taken
        if self._taken == item.batch.num_rows:
            self._receiver.pop()
            self._taken = 0
        if self.content != "opaque":
            return piece
        self.timestamp_ns = piece.column(0)[0].as_py()
        return piece.column(1)[0].as_py()

    def take_losses(self) -> list[Loss]:
        """The losses noticed since the last call."""
        taken, self._losses = self._losses, []
        return taken

    @property
    def lag_rows(self) -> int:
        """Rows that were received and not read."""
        return self._receiver.rows_here - self._taken

    @property
    def behind(self) -> bool:
        """Whether there are any, or may be over there."""
        receiver = self._receiver
        return bool(receiver.rows_here) or receiver.newest_row > self.row or self.trouble is not None

    @property
    def backlog_due(self) -> bool:
        """Whether a quarter of the room is taken."""
        return self._receiver.bytes_here * 4 >= ROOM_BYTES

    def fill(self, position: int) -> float:
        """Share of the ring over there that was still to be sent when it was heard of last."""
        return self._receiver.ring_fill

    @property
    def trouble(self) -> Trouble | None:
        """Why nothing comes, where that lasts."""
        return self._receiver.trouble

    def take_notes(self) -> list[str]:
        """What the user should hear of, since the last call."""
        taken, self._notes = self._notes, []
        return taken

    # ---- up to the rows of a moment

    def head(self, *, ask: bool) -> int:
        """All rows: :meth:`limit` knows of which ring they are."""
        self._aim, self._passed, self.kept, self._asked_at = None, False, None, time.monotonic()
        self._asking = ask
        if ask:
            self._ask()
        else:
            self._receiver.stop()
        return _ALL_ROWS

    def _ask(self) -> None:
        """Learn how far the stream is; later, if nobody tells now."""
        try:
            info = self._receiver.ask()
        except MulletError as error:
            if time.monotonic() - self._asked_at >= _PATIENCE_S:
                self._asking, self.kept = False, self._not_all(str(error))
        else:
            self._asking, self._aim = False, (int(info.stream_id, 16), info.rows)

    def limit(self, until_row: int) -> int:
        """Where the rows end that there were when the daemon was asked."""
        if self._aim is None:
            return until_row if self.kept is None else self.row
        stream_id, rows = self._aim
        if self._passed:
            return self.row
        return min(until_row, rows) if stream_id == self.stream_id else until_row

    @property
    def owes(self) -> bool:
        """Whether some of them are still on their way."""
        if self._asking:
            self._ask()
            return self.kept is None
        if self._aim is None or self._passed:
            return False
        stream_id, rows = self._aim
        if not rows or (stream_id == self.stream_id and self.row >= rows):
            return False
        if time.monotonic() - max(self._asked_at, self._receiver.heard_at) < _PATIENCE_S:
            return True
        self.kept = self._not_all("it says nothing any more")
        return False

    def _not_all(self, reason: str) -> WriterError:
        return WriterError(
            f"what {self.origin} has from row {self.row} on is not in the file: {reason}; "
            "it waits in the ring over there, and the same command goes on with it"
        )

    # ---- the end

    def release(self, position: int) -> None:
        """Nothing: the ring over there waits for its own writer only."""

    def settle(self, *, unwritten: bool) -> None:
        """Nothing either."""

    def close(self) -> None:
        """Stop receiving."""
        self._receiver.close()


__all__ = ["RemoteSource"]
