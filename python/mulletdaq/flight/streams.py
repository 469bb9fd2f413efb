"""Streams of a daemon as its clients see them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mulletdaq.errors import RemoteError, RequestError
from mulletdaq.extras import needs_extra
from mulletdaq.flight.connection import Wire
from mulletdaq.flight.messages import decode_answer
from mulletdaq.flight.refusals import raised_as_ours

with needs_extra("flight"):
    import msgspec
    import pyarrow as pa
    from pyarrow import flight

if TYPE_CHECKING:
    from mulletdaq.hdf5.options import RemoteAddress

OPAQUE = (b"mulletdaq.content", b"opaque")
"""In the metadata of a schema: the rows are messages of a ring of bytes."""


@dataclass(frozen=True)
class StreamInfo:
    """One stream of a daemon.

    Attributes
    ----------
    schema
        Its columns; none while nobody has written into it.
    rows, rows_per_s
        Rows ever written, and how many a second at present.
    rows_lost
        Rows overwritten before all its recordings had them.
    ring_fill
        Share of the ring that no file has yet, 0 to 1.
    stream_id
        Of its ring, 16 hexadecimal digits; another one means that rows count from 0 again.
    last_row_age_s
        How long ago the newest row came; None when there is none.
    created_ns
        When its ring was made, ns since the Unix epoch; 0 if the daemon does not say.
    """

    name: str
    schema: pa.Schema
    rows: int
    rows_per_s: float
    rows_lost: int
    ring_fill: float
    stream_id: str
    last_row_age_s: float | None
    created_ns: int = 0


class _Facts(msgspec.Struct):
    stream_id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
    rows_per_s: float = 0.0
    rows_lost: int = 0
    ring_fill: float = 0.0
    last_row_age_s: float | None = None
    created_ns: int = 0


def stream_info(found: Any) -> StreamInfo:
    """What a ``FlightInfo`` says.

    Raises
    ------
    RemoteError
        If it is none of ours.
    """
    facts = decode_answer(found.app_metadata or None, _Facts)
    if len(found.descriptor.path or ()) != 1:
        raise RemoteError("the daemon tells of a stream without a name; is it a mullet daemon?")
    return StreamInfo(
        name=found.descriptor.path[0].decode(),
        schema=found.schema,
        rows=found.total_records,
        rows_per_s=facts.rows_per_s,
        rows_lost=facts.rows_lost,
        ring_fill=facts.ring_fill,
        stream_id=facts.stream_id,
        last_row_age_s=facts.last_row_age_s,
        created_ns=facts.created_ns,
    )


def find_stream(wire: Wire, name: str) -> StreamInfo:
    """One stream, as it is now.

    Raises
    ------
    StreamNotFoundError
        If there is none of that name.
    ConnectionLostError, AccessRefusedError
    """
    with raised_as_ours(wire.address):
        return stream_info(wire.client.get_flight_info(flight.FlightDescriptor.for_path(name), wire.options()))


def content_of(schema: pa.Schema) -> str:
    """What a stream with such columns holds, as :attr:`mulletdaq.RingBuffer.content`."""
    if not len(schema):
        return "none"
    key, value = OPAQUE
    return "opaque" if (schema.metadata or {}).get(key) == value else "arrow"


class RemoteStream:
    """A stream of a daemon, perhaps on another computer; made by :meth:`Connection.stream`.

    Give it to :class:`mulletdaq.HDF5Writer` in place of a ring, which makes a connection of its own.

    Attributes
    ----------
    info
        The stream as it was when this was made.
    """

    def __init__(self, wire: Wire, info: StreamInfo) -> None:
        self._wire = wire
        self.info = info

    @property
    def name(self) -> str:
        """Its name."""
        return self.info.name

    @property
    def origin(self) -> str:
        """Its address: ``grpc://host:port/NAME``."""
        return f"{self._wire.address}/{self.name}"

    @property
    def stream_id(self) -> int:
        """Random number of its ring."""
        return int(self.info.stream_id, 16)

    @property
    def content(self) -> str:
        """``"arrow"``, ``"opaque"``, or ``"none"`` while nobody has written into it."""
        return content_of(self.info.schema)

    @property
    def schema(self) -> pa.Schema:
        """Its columns."""
        return self.info.schema

    def address(self, start: Literal["oldest", "latest"] | int | None = None) -> RemoteAddress:
        """Where a writer finds it.

        Parameters
        ----------
        start
            Where a file begins that does not have it yet: ``"oldest"`` that the ring holds (also None), ``"latest"``
            (what is written from now on), or a row.

        Raises
        ------
        RequestError
            If the row is not written yet.
        """
        from mulletdaq.hdf5.options import RemoteAddress

        now = find_stream(self._wire, self.name)
        first: int | Literal["oldest"] = "oldest"
        if start == "latest":
            first = now.rows  # once and for all: a writer that is replaced begins there too
        elif isinstance(start, int):
            if not 0 <= start <= now.rows:
                raise RequestError(f"start={start} is no row of {self.origin}, which has {now.rows}")
            first = start
        elif start not in (None, "oldest"):
            raise ValueError(f'start takes "oldest", "latest" or a row, got {start!r}')
        files = (self._wire.token_file, self._wire.tls_root_file)
        token_file, tls_root_file = (None if file is None else os.path.abspath(file) for file in files)
        return RemoteAddress(self._wire.address, self.name, token_file, tls_root_file, first, int(now.stream_id, 16))

    def __repr__(self) -> str:
        return f"<RemoteStream {self.origin}>"


__all__ = ["OPAQUE", "RemoteStream", "StreamInfo", "content_of", "find_stream", "stream_info"]
