"""``mullet.connect``: a daemon on this or another computer, with typed results."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

from mulletdaq.extras import needs_extra
from mulletdaq.flight.connection import Wire
from mulletdaq.flight.messages import (
    Annotate,
    Flush,
    Health,
    Nothing,
    RecordingInfo,
    Request,
    Rotate,
    StartRecording,
    Status,
    StopRecording,
    Value,
)
from mulletdaq.flight.reading import RecordedBatches, RemoteRows
from mulletdaq.flight.refusals import raised_as_ours
from mulletdaq.flight.sending import RemoteUpload
from mulletdaq.flight.streams import RemoteStream, StreamInfo, find_stream, stream_info
from mulletdaq.flight.tickets import RecordedTicket, StreamTicket

with needs_extra("flight"):
    import pyarrow as pa

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_Answer = TypeVar("_Answer")


class Connection:
    """A daemon; made by :func:`connect`.

    Threads may share one. Each method raises ``ConnectionLostError`` if nobody answers, ``AccessRefusedError`` if the
    token is not right, and what the daemon itself raises, as a class of :mod:`mulletdaq.errors`.
    """

    def __init__(self, wire: Wire, patience_s: float) -> None:
        self._wire = wire
        self._patience_s = patience_s

    @property
    def address(self) -> str:
        """Where it is."""
        return self._wire.address

    # ---- what there is

    def streams(self) -> list[StreamInfo]:
        """Its streams."""
        with raised_as_ours(self.address):
            return [stream_info(found) for found in self._wire.client.list_flights(options=self._wire.options())]

    def stream(self, name: str) -> RemoteStream:
        """One of its streams, to be recorded on this computer.

        Returns
        -------
        RemoteStream
            ``mullet.HDF5Writer(path, daemon.stream("scope"))`` brings its rows into a file here.

        Raises
        ------
        StreamNotFoundError
            If it has none of that name.
        """
        return RemoteStream(self._wire, find_stream(self._wire, name))

    def status(self) -> Status:
        """The daemon, its streams, recordings, processes and disks."""
        return self._ask("status", Nothing(), Status)

    def health(self) -> Health:
        """Ok, warning or failing, with reasons and advice."""
        return self._ask("health", Nothing(), Health)

    # ---- recordings

    def start_recording(
        self,
        name: str,
        *,
        streams: Sequence[str] | None = None,
        path: str | None = None,
        metadata: Mapping[str, Value] | None = None,
        since_s: float | None = None,
        layout: Literal["batches", "continuous"] | None = None,
        compression: Literal["gzip", "lzf", "zstd", "none"] | None = None,
        flush_interval_s: float | None = None,
        rotate_rows: int | None = None,
        rotate_mb: float | None = None,
        rotate_s: float | None = None,
    ) -> RecordingInfo:
        """Record some streams into a file on the daemon's computer.

        Parameters
        ----------
        name
            What the recording is called from here on.
        streams
            Which; all by default.
        path
            A file below the daemon's folder, or a template; by default the daemon's own choice.
        metadata
            Facts to keep in the file.
        since_s
            Begin so many seconds in the past, as far as the rings reach back.
        layout, compression, flush_interval_s, rotate_rows, rotate_mb, rotate_s
            As those of :func:`mulletdaq.record`; by default what the daemon's configuration says.

        Raises
        ------
        RecordingError, RequestError, FileError
        """
        asked = StartRecording(
            name=name,
            streams=None if streams is None else list(streams),
            path=path,
            metadata=dict(metadata or {}),
            since_s=since_s,
            layout=layout,
            compression=compression,
            flush_interval_s=flush_interval_s,
            rotate_rows=rotate_rows,
            rotate_mb=rotate_mb,
            rotate_s=rotate_s,
        )
        return self._ask("start_recording", asked, RecordingInfo)

    def stop_recording(self, name: str) -> RecordingInfo:
        """Stop a recording; all rows written until now are in its file when this returns."""
        return self._ask("stop_recording", StopRecording(name=name), RecordingInfo)

    def recordings(self) -> list[RecordingInfo]:
        """Recordings, running and ended."""
        answer: list[RecordingInfo] = self._wire.ask("list_recordings", Nothing())
        return answer

    def flush(self, name: str | None = None) -> dict[str, int]:
        """Bring everything written so far into the files: of a recording, a stream, or all.

        Returns
        -------
        dict
            Rows that are in files, by recording.
        """
        answer: dict[str, int] = self._wire.ask("flush", Flush(name=name)).rows_persisted
        return answer

    def annotate(self, text: str, *, recording: str | None = None, timestamp_ns: int | None = None) -> None:
        """Store a note, now or at a time in ns since the Unix epoch, in one recording or all that run."""
        self._wire.ask("annotate", Annotate(text=text, recording=recording, timestamp_ns=timestamp_ns))

    def rotate(self, name: str | None = None) -> list[str]:
        """Go on in a new file: one recording, or all that run. The paths of the new files."""
        paths: list[str] = self._wire.ask("rotate", Rotate(name=name)).paths
        return paths

    # ---- rows

    def read(
        self,
        stream: str,
        *,
        start: Literal["oldest", "latest"] | int = "oldest",
        stop: int | None = None,
        follow: bool = True,
        wait_s: float = 0.01,
        heartbeat_s: float | None = None,
    ) -> RemoteRows:
        """A stream's rows: what the ring still holds, then each new one; over broken connections too.

        Parameters
        ----------
        start
            ``"oldest"``, ``"latest"``, a row, or a number below zero: so many rows before the newest.
        stop
            The row before which to end; by default never, or without `follow` the newest row now.
        follow
            Go on with new rows.
        wait_s
            Shortest time between two batches while few rows come.
        heartbeat_s
            Also give a batch without rows when nothing came for so long, at least 0.1 s.

        Returns
        -------
        RemoteRows
            An iterator of :class:`~mulletdaq.flight.reading.RemoteBatch`, which tell what was lost.
        """
        ticket = StreamTicket(stream=stream, start=start, stop=stop, follow=follow, wait_s=wait_s)
        return RemoteRows(self._wire, ticket, heartbeat_s, self._patience_s)

    def table(self, stream: str, *, start: Literal["oldest"] | int = "oldest", stop: int | None = None) -> pa.Table:
        """The rows that the ring holds now, as one table; for its parameters see :meth:`read`."""
        with self.read(stream, start=start, stop=stop, follow=False) as rows:
            batches = [found.batch for found in rows]
            return pa.Table.from_batches(batches, schema=rows.schema)

    def read_file(
        self,
        file: str | None = None,
        *,
        recording: str | None = None,
        stream: str = "",
        run: int | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> RecordedBatches:
        """Rows of a file that the daemon shows, or of a recording, also while it is recorded.

        Parameters
        ----------
        file, recording
            One of them: a path below a folder of the daemon's, or a recording's name.
        stream, run
            Which; only needed where there are several, or runs with different columns.
        start, stop
            From which row to before which, counted over all in the file.

        Returns
        -------
        RecordedBatches
            An iterator of :class:`~mulletdaq.flight.reading.RemoteBatch`; ``table()`` reads all.
        """
        ticket = RecordedTicket(file=file, recording=recording, stream=stream, run=run, start=start, stop=stop)
        return RecordedBatches(self._wire, ticket)

    def upload(
        self,
        stream: str,
        schema: pa.Schema,
        *,
        on_full: Literal["overwrite", "block"] = "overwrite",
        resume: str | None = None,
    ) -> RemoteUpload:
        """Write rows into a stream, as its only producer; each arrives once, over broken connections too.

        Parameters
        ----------
        schema
            Its columns; the first is ``timestamp``, int64 nanoseconds since the Unix epoch.
        on_full
            What happens to rows that no file has yet when the ring is full: ``"overwrite"`` them, or ``"block"``.
        resume
            The ``id`` of an upload that ended unfinished; its ``rows_acknowledged`` tells where to go on.

        Returns
        -------
        RemoteUpload
            A context manager with ``write(batch)``.
        """
        return RemoteUpload(self._wire, stream, schema, on_full, resume, self._patience_s)

    # ---- end

    def close(self) -> None:
        """Close the connection. Closing twice is fine."""
        self._wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Connection {self.address}>"

    def _ask(self, verb: str, arguments: Request, kind: type[_Answer]) -> _Answer:
        answer = self._wire.ask(verb, arguments)
        assert isinstance(answer, kind)
        return answer


def connect(
    address: str = "grpc://127.0.0.1:50051",
    *,
    token_file: str | os.PathLike[str] | None = None,
    tls_root_file: str | os.PathLike[str] | None = None,
    timeout_s: float = 60.0,
    patience_s: float = 30.0,
) -> Connection:
    """Connect to a daemon.

    Parameters
    ----------
    address
        ``grpc://host:port``, or with TLS ``grpc+tls://host:port``.
    token_file
        A file that only you can read, with the daemon's token. It is not sent to another computer without TLS.
    tls_root_file
        The certificates (PEM) to trust, if the system does not know them.
    timeout_s
        How long a question may take. To stop, flush or rotate recordings takes as long as their rows need; the daemon's
        ``drain_timeout_s`` limits that.
    patience_s
        How long a reader or an upload tries to come back after its connection broke.

    Returns
    -------
    Connection
        Not yet connected: its first use is.

    Raises
    ------
    RequestError, AccessRefusedError
        If the address is none, or a file cannot be used.
    """
    return Connection(Wire(address, token_file, tls_root_file, timeout_s), patience_s)


__all__ = ["Connection", "RemoteStream", "StreamInfo", "connect"]
