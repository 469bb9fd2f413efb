"""What clients and the daemon say to each other: typed, as JSON.

The same JSON is the body of an action, its result, and what goes between the Flight process and the daemon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from mulletdaq import errors
from mulletdaq.errors import RemoteError, RequestError
from mulletdaq.extras import needs_extra

with needs_extra("flight"):
    import msgspec

_Kind = TypeVar("_Kind")

MAX_REQUEST_BYTES = 64 * 1024

Name = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")]
"""Name of a stream or recording: letters, digits and ``_ . -``, no path."""

Template = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
Text = Annotated[str, msgspec.Meta(max_length=16 * 1024)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=10 * 366 * 86_400)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=1e15)]
Value = str | int | float | bool


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of a verb; what is not known is refused."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a verb; a newer daemon may say more, which is passed over."""


# ---- what is asked


class Nothing(Request, frozen=True):
    """No arguments."""


class StartRecording(Request, frozen=True):
    """Start to record some streams into a file.

    Attributes
    ----------
    name
        What the recording is called from here on.
    streams
        Which streams; all of them when None.
    path
        A file within the daemon's folder, or a template such as ``"{name}_{start:%Y%m%dT%H%M%S}.h5"``; None: the
        daemon's own choice.
    metadata
        Facts to keep in the file.
    since_s
        Begin that many seconds in the past, as far as the rings reach back.
    layout, compression, flush_interval_s, rotate_rows, rotate_mb, rotate_s
        As those of :func:`mulletdaq.record`; None: what the daemon's configuration says.
    """

    name: Name
    streams: Annotated[list[Name], msgspec.Meta(min_length=1, max_length=1000)] | None = None
    path: Template | None = None
    metadata: Annotated[dict[Text, Value], msgspec.Meta(max_length=1000)] = {}
    since_s: Seconds | None = None
    layout: Literal["batches", "continuous"] | None = None
    compression: Literal["gzip", "lzf", "zstd", "none"] | None = None
    flush_interval_s: Positive | None = None
    rotate_rows: Annotated[int, msgspec.Meta(gt=0)] | None = None
    rotate_mb: Positive | None = None
    rotate_s: Positive | None = None


class StopRecording(Request, frozen=True):
    """Stop a recording, all rows written so far in its file."""

    name: Name


class Flush(Request, frozen=True):
    """Bring everything written so far into the files: of a recording, of a stream, or of all when None."""

    name: Name | None = None


class Annotate(Request, frozen=True):
    """Store a note, in one recording or in all that are running.

    Attributes
    ----------
    timestamp_ns
        Its time, ns since the Unix epoch; None: now.
    """

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=16 * 1024)]
    recording: Name | None = None
    timestamp_ns: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None


class Rotate(Request, frozen=True):
    """Go on in a new file: one recording, or all that are running when None."""

    name: Name | None = None


# ---- what is answered


class StreamAddress(Result, frozen=True):
    """A stream and its ring; for the Flight process only.

    Attributes
    ----------
    ring_path, stream_id
        The ring's file, and the number it must have, as 16 hexadecimal digits.
    """

    name: str
    ring_path: str
    stream_id: str
    description: str = ""


class StreamStatus(Result, frozen=True):
    """One stream at a moment.

    Attributes
    ----------
    stream_id
        The ring's random number, as 16 hexadecimal digits.
    schema_text
        Its columns in words; empty until it has a schema.
    rows, rows_per_s
        Rows ever written, and how many a second at present.
    rows_lost
        Rows overwritten before all its recordings had them.
    ring_fill
        Share of the ring that no file has yet, 0 to 1.
    producer_pid, source
        Who writes now, and the configured source, if there is one.
    last_row_age_s
        How long ago the newest row was noticed; None when there is none.
    """

    name: str
    ring_path: str
    stream_id: str
    schema_text: str = ""
    rows: int = 0
    rows_per_s: float = 0.0
    rows_lost: int = 0
    ring_fill: float = 0.0
    producer_pid: int | None = None
    source: str | None = None
    last_row_age_s: float | None = None


RecordingState = Literal["recording", "stopped", "failed", "paused"]


class RecordingInfo(Result, frozen=True):
    """One recording at a moment.

    Attributes
    ----------
    path
        The file being written, or the last one.
    state
        ``"paused"`` while the disk is too full.
    started_ns, stopped_ns
        ns since the Unix epoch.
    lag_s
        How old the oldest row is that is not in the file.
    permanent
        An output of the configuration, which only the daemon stops.
    reason
        Why it failed or is paused.
    """

    name: str
    path: str
    streams: list[str]
    state: RecordingState
    started_ns: int
    stopped_ns: int | None = None
    rows_persisted: int = 0
    rows_lost: int = 0
    file_bytes: int = 0
    lag_s: float = 0.0
    permanent: bool = False
    reason: str | None = None


class ChildStatus(Result, frozen=True):
    """One of the daemon's processes.

    Attributes
    ----------
    restarts
        How often it was replaced.
    last_death
        How the one before ended, in words.
    """

    name: str
    kind: Literal["writer", "source", "flight"]
    state: Literal["running", "restarting", "stalled"]
    pid: int | None = None
    restarts: int = 0
    last_death: str | None = None


class DiskStatus(Result, frozen=True):
    """Room where files are written: what is free, and what is kept free."""

    folder: str
    free_bytes: int
    reserve_bytes: int


class Status(Result, frozen=True):
    """The daemon at a moment."""

    version: str
    pid: int
    started_ns: int
    address: str
    streams: list[StreamStatus]
    recordings: list[RecordingInfo]
    children: list[ChildStatus]
    disks: list[DiskStatus]


class HealthReason(Result, frozen=True):
    """One thing that is not as it should be.

    Attributes
    ----------
    code
        A word for scripts, e.g. ``"disk_low"``.
    what, advice
        What it is, and what to do, for people.
    since_ns
        Since when, ns since the Unix epoch.
    """

    code: str
    what: str
    advice: str
    since_ns: int


class Health(Result, frozen=True):
    """Whether all is well, and if not, why."""

    state: Literal["ok", "warning", "failing"]
    reasons: list[HealthReason] = []


class Flushed(Result, frozen=True):
    """Rows that are in files now, by recording."""

    rows_persisted: dict[str, int]


class Rotated(Result, frozen=True):
    """The files that are written from here on."""

    paths: list[str]


class Done(Result, frozen=True):
    """Nothing to tell."""


# ---- the verbs


@dataclass(frozen=True)
class Verb:
    """What can be asked: its arguments, its result, and what it is for."""

    arguments: type[Request]
    result: Any
    description: str


VERBS: Mapping[str, Verb] = {
    "status": Verb(Nothing, Status, "the daemon, its streams, recordings, processes and disks"),
    "health": Verb(Nothing, Health, "ok, warning or failing, with reasons and advice"),
    "start_recording": Verb(StartRecording, RecordingInfo, "record some streams into a file"),
    "stop_recording": Verb(StopRecording, RecordingInfo, "stop a recording, all its rows in the file"),
    "list_recordings": Verb(Nothing, list[RecordingInfo], "recordings, running and ended"),
    "flush": Verb(Flush, Flushed, "bring everything written so far into the files"),
    "annotate": Verb(Annotate, Done, "store a note in running recordings"),
    "rotate": Verb(Rotate, Rotated, "go on in a new file"),
}
"""The verbs that a client may ask for."""

DRAINING = frozenset({"stop_recording", "flush", "rotate"})
"""Those that bring rows into files first, which takes as long as it takes."""

STREAMS = "streams"
"""The verb by which the Flight process itself asks the daemon for its streams: no arguments, a list of addresses."""

INTERNAL_VERBS: Mapping[str, Verb] = {
    STREAMS: Verb(Nothing, list[StreamAddress], "the streams and their rings"),
}


# ---- as bytes


class ErrorMessage(msgspec.Struct, frozen=True, kw_only=True):
    """An error of :mod:`mulletdaq.errors` by name, with its one line."""

    type: str
    message: str


def encode(message: Any) -> bytes:
    """A message as JSON on one line, without its end."""
    return msgspec.json.encode(message)


def decode_arguments(verb: Verb, body: bytes | memoryview) -> Request:
    """The arguments of a verb; an empty body stands for none.

    Raises
    ------
    RequestError
        If they are not what the verb takes; the message names the field.
    """
    return decode_request(bytes(body) or b"{}", verb.arguments)


def decode_request(body: bytes, kind: type[_Kind]) -> _Kind:
    """Anything that came from a client, checked.

    Raises
    ------
    RequestError
        If it is too long, not JSON, or not of that kind.
    """
    if len(body) > MAX_REQUEST_BYTES:
        raise RequestError(f"a request of {len(body)} bytes is over the limit of {MAX_REQUEST_BYTES}")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RequestError(f"the request is not understood: {' '.join(str(error).split())}") from None


def decode_answer(body: Any, kind: type[_Kind]) -> _Kind:
    """Anything that came from a service, checked: a buffer, or None where there was nothing.

    Raises
    ------
    RemoteError
        If it is something else.
    """
    try:
        if body is not None:
            return msgspec.json.decode(body, type=kind)
        reason = "it is empty"
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
    raise RemoteError(f"the daemon's answer is not understood ({reason}); is it a mullet daemon, and of this version?")


def error_message(error: BaseException) -> ErrorMessage:
    """An error as it goes to the other side."""
    name = type(error).__name__ if isinstance(error, errors.MulletError) else errors.RemoteError.__name__
    words = " ".join(str(error).split())
    if not isinstance(error, errors.MulletError):
        words = f"{type(error).__name__}: {words}"
    return ErrorMessage(type=name, message=words)


def as_error(message: ErrorMessage) -> errors.MulletError:
    """The error that the other side raised."""
    kind = getattr(errors, message.type, None)
    if not (isinstance(kind, type) and issubclass(kind, errors.MulletError)):
        kind = RemoteError
    return kind(message.message)
