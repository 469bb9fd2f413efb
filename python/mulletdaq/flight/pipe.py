"""What the Flight process and the daemon that started it say over the pipe between them, one JSON object a line."""

from __future__ import annotations

from mulletdaq.extras import needs_extra
from mulletdaq.flight.messages import ErrorMessage

with needs_extra("flight"):
    import msgspec


class FlightOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line to the Flight process.

    Attributes
    ----------
    host, port
        Where to listen; port 0: a free one, told when ready.
    tls_certificate_file, tls_key_file, token_file
        PEM files, and a file that holds the token.
    insecure
        Listen beyond this computer without token and TLS.
    memory_limit_mb
        At which the process ends itself, to be started anew.
    max_message_mb, max_batch_rows
        Largest upload at once.
    max_clients
        Most streams up and down at once.
    allow_upload
        Whether clients may write into rings.
    data_folders
        Folders whose files clients may read.
    state_folder
        Where to keep how far uploads are; beside each ring when None.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    tls_certificate_file: str | None = None
    tls_key_file: str | None = None
    token_file: str | None = None
    insecure: bool = False
    memory_limit_mb: int = 1024
    max_message_mb: int = 64
    max_batch_rows: int = 4_194_304
    max_clients: int = 64
    allow_upload: bool = True
    data_folders: list[str] = []
    state_folder: str | None = None


class Ready(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="event", tag="ready"):
    """Told once, when the Flight process listens."""

    port: int


class Alive(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="alive"):
    """Told every second: an owner that hears nothing for some seconds may start another."""

    streams: int
    memory_mb: int


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="failed"):
    """Told once, when the Flight process cannot start."""

    error: ErrorMessage


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What the Flight process asks the daemon."""

    id: int
    verb: str
    arguments: msgspec.Raw


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the daemon answers: a result or an error."""

    id: int
    result: msgspec.Raw = msgspec.Raw(b"")
    error: ErrorMessage | None = None


Event = Ready | Alive | Failed
"""What the Flight process tells unasked; a line without ``event`` is a :class:`Question`."""
