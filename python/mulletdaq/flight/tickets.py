"""What a client asks to read or write: tickets, descriptors, and what goes with each batch; as JSON, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from mulletdaq.errors import RequestError
from mulletdaq.extras import needs_extra
from mulletdaq.flight.messages import Name, Request, decode_request

with needs_extra("flight"):
    import msgspec

MAX_WAIT_S = 1.0

Row = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Identity = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{16}\Z")]
UploadId = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
FileName = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class StreamTicket(Request, frozen=True):
    """Rows of a stream, from its ring.

    Attributes
    ----------
    stream
        Its name.
    start
        ``"oldest"`` that the ring holds, ``"latest"`` (only what comes from now on), a row, or a number below zero: so
        many rows before the newest.
    stop
        The row before which to end; None: the newest row now, or with `follow` never.
    follow
        Go on with new rows as they come.
    wait_s
        Shortest time between two batches while few rows come, so that they are sent together.
    heartbeat_s
        Send a batch without rows when nothing came for so long; None: never.
    stream_id
        The ring that it must be, as 16 hexadecimal digits; a ring that took its place is refused.
    """

    stream: Name
    start: Literal["oldest", "latest"] | Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] = "oldest"
    stop: Row | None = None
    follow: bool = False
    wait_s: Annotated[float, msgspec.Meta(ge=0, le=MAX_WAIT_S)] = 0.01
    heartbeat_s: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] | None = None
    stream_id: Identity | None = None


class RecordedTicket(Request, frozen=True):
    """Rows of a recording or a file.

    Attributes
    ----------
    recording, file
        One of them: a recording's name, or a file's path below one of the folders that the daemon shows.
    stream
        Which stream of the file; its only one by default.
    run
        Which run, if they have different columns; all by default.
    start, stop
        From which row to before which, counted over all the rows there are, from 0.
    """

    recording: Name | None = None
    file: FileName | None = None
    stream: Annotated[str, msgspec.Meta(max_length=256)] = ""
    run: Annotated[int, msgspec.Meta(ge=1)] | None = None
    start: Row = 0
    stop: Row | None = None

    def __post_init__(self) -> None:
        if (self.recording is None) == (self.file is None):
            raise ValueError("give either recording or file")


class UploadCommand(Request, frozen=True):
    """Where rows are to be written.

    Attributes
    ----------
    stream
        The stream; nobody else may write into it meanwhile.
    upload
        The client's name for this upload: with it, it can go on after a broken connection.
    on_full
        ``"overwrite"`` the oldest rows of a full ring, or ``"block"`` until they are in a file.
    """

    stream: Name
    upload: UploadId | None = None
    on_full: Literal["overwrite", "block"] = "overwrite"


class LostRows(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that nobody can have any more, and why; as :class:`mulletdaq.ring.Loss`.

    Attributes
    ----------
    first_sequence, frames
        -1 where the service does not know them.
    """

    first_row: int
    rows: int
    cause: Literal["overwritten", "corrupt", "replaced"] = "overwritten"
    first_sequence: int = -1
    frames: int = -1


class BatchFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the service says with each batch that it sends.

    Attributes
    ----------
    first_row
        Absolute index of the batch's first row; of a batch without rows, of the next row.
    lost_rows
        Rows between the batch before and this one, which nobody can have any more.
    stream_id
        The ring that they come from; empty for those from a file.
    newest_row
        Rows ever written to the ring, when the batch was sent.
    ring_fill
        Share of the ring, 0 to 1, that is still to be sent: at 1 rows are lost.
    losses
        The lost rows one by one, as far as the service knows more than their number; the others were overwritten.
    """

    first_row: int
    lost_rows: int = 0
    stream_id: str = ""
    newest_row: int = 0
    ring_fill: float = 0.0
    losses: list[LostRows] = []


class UploadFacts(Request, frozen=True):
    """What a client says with a batch that it sends: the client's own index of the first row, from 0."""

    first_row: Row


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True):
    """What the service says of an upload: so many of its rows are in the ring."""

    rows: int


def parse_ticket(content: bytes) -> StreamTicket | RecordedTicket:
    """The ticket of a ``do_get``.

    Raises
    ------
    RequestError
        If it is no ticket of ours.
    """
    members = decode_request(content, dict[str, msgspec.Raw])
    recorded = "recording" in members or "file" in members
    return decode_request(content, RecordedTicket) if recorded else decode_request(content, StreamTicket)


def parse_descriptor(path: Sequence[bytes] | None, command: bytes | None) -> UploadCommand:
    """The descriptor of a stream: a path of one name, or a command in JSON.

    Raises
    ------
    RequestError
        If it is neither.
    """
    if command:
        return decode_request(command, UploadCommand)
    if not path or len(path) != 1:
        raise RequestError("a descriptor is a path of one part, the stream's name, or a command in JSON")
    name = path[0].decode("utf-8", "replace")
    return decode_request(msgspec.json.encode({"stream": name}), UploadCommand)
