"""Where the rows of a stream come from: a ring on this computer, or a stream of another one's daemon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from mulletdaq.errors import RequestError
from mulletdaq.hdf5.options import RemoteAddress, RingAddress
from mulletdaq.hdf5.ring_source import RingSource

if TYPE_CHECKING:
    from mulletdaq.hdf5.ledger import Place
    from mulletdaq.ring import Loss

_ELSEWHERE = dict.fromkeys(("grpc", "grpc+tcp", "grpc+tls"), ("mulletdaq.flight.remote_source", "RemoteSource"))
"""By the scheme of an address: module and class that read there, imported only when asked for."""


@dataclass(frozen=True)
class Trouble:
    """Why no rows come from a source, which goes on trying.

    Attributes
    ----------
    code
        The kind of trouble: while it stays the same, it is the same trouble.
    words
        What it is, on one line.
    """

    code: str
    words: str


class RowSource(Protocol):
    """Rows of a stream one after the other, each with its number. For one thread.

    A source elsewhere may begin anew with rows that count from 0 again, under another :attr:`stream_id`. It does so
    only in :meth:`turn`; what is said here holds for the rows of the present one.
    """

    @property
    def stream_id(self) -> int:
        """Random number of the ring that the rows come from; 0 while it is not known."""
        ...

    @property
    def created_ns(self) -> int:
        """When that ring was made, ns since the Unix epoch."""
        ...

    @property
    def content(self) -> str:
        """``"arrow"``, ``"opaque"``, or ``"none"`` while it is not known."""
        ...

    @property
    def schema(self) -> Any:
        """The Arrow schema of an Arrow ring."""
        ...

    @property
    def origin(self) -> str:
        """The address of a source elsewhere, which its runs tell; empty for a ring on this computer."""
        ...

    @property
    def trouble(self) -> Trouble | None:
        """Why no rows come, where that lasts."""
        ...

    def take_notes(self) -> list[str]:
        """What the user should hear of, since the last call, a line each."""
        ...

    # ---- reading

    def begin(self, places: Mapping[int, Place]) -> None:
        """Go to where a file goes on.

        Parameters
        ----------
        places
            By stream id, how far the file has it.
        """
        ...

    def turn(self) -> bool:
        """Go over to another ring if all rows of the one before were read: whether it is another one now."""
        ...

    def read(self, max_rows: int | None) -> Any:
        """The next rows as a ``RecordBatch``, of an opaque ring the next message as bytes; None when there are none.

        Raises
        ------
        RingError
            If they cannot be read; FrameCorruptError where only some cannot.
        """
        ...

    def take_losses(self) -> list[Loss]:
        """The losses noticed since the last call, in order."""
        ...

    @property
    def row(self) -> int:
        """The next row."""
        ...

    @property
    def position(self) -> int:
        """Start of the ring's frame that holds it; -1 for a source elsewhere."""
        ...

    @property
    def sequence(self) -> int:
        """Number of the first frame of which nothing was read; -1 for a source elsewhere."""
        ...

    @property
    def timestamp_ns(self) -> int:
        """Time of the message last read, ns since the Unix epoch."""
        ...

    @property
    def lag_rows(self) -> int:
        """Rows that can be read now; RingError if that cannot be told."""
        ...

    @property
    def behind(self) -> bool:
        """Whether there may be rows that were not read, here or elsewhere; RingError if that cannot be told."""
        ...

    @property
    def backlog_due(self) -> bool:
        """Whether so much waits that it should be read now."""
        ...

    def fill(self, position: int) -> float:
        """Share of the ring, 0 to 1, that holds what is behind a position, or was not received."""
        ...

    # ---- up to the rows of a moment

    def head(self, *, ask: bool) -> int:
        """The row before which a drain is to stop that begins now.

        Parameters
        ----------
        ask
            Whether a source elsewhere is asked how far it is; otherwise only what was received counts, and no more is.

        Raises
        ------
        RingError
            If a ring can no longer tell.
        """
        ...

    def limit(self, until_row: int) -> int:
        """The row before which to stop, among the rows of the present ring."""
        ...

    @property
    def owes(self) -> bool:
        """Whether rows of the drain under way are to be waited for."""
        ...

    @property
    def kept(self) -> Exception | None:
        """Why rows of the last drain did not come, if some did not."""
        ...

    # ---- after a commit

    def release(self, position: int) -> None:
        """Everything before a position is in the file."""
        ...

    def settle(self, *, unwritten: bool) -> None:
        """Show at the end that everything that was read is in the file, unless something is unwritten."""
        ...

    @property
    def producing(self) -> bool:
        """Whether a producer on this computer lives, whom nobody else would serve."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def open_source(address: RingAddress | RemoteAddress) -> RowSource:
    """The source at an address.

    Raises
    ------
    RingError
        If a ring cannot be opened, or is another one.
    RequestError, AccessRefusedError
        If an address elsewhere is none, or its token cannot be used.
    """
    if isinstance(address, RingAddress):
        return RingSource(address)
    scheme = address.url.partition("://")[0]
    if scheme not in _ELSEWHERE:
        raise RequestError(f"{address.url!r} is no address that can be recorded; there are {', '.join(_ELSEWHERE)}")
    module, name = _ELSEWHERE[scheme]
    return cast(RowSource, getattr(import_module(module), name)(address))


__all__ = ["RowSource", "Trouble", "open_source"]
