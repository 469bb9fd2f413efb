"""Daemons on the command line: their addresses, and rows of their streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from mulletdaq.cli.output import warn
from mulletdaq.cli.rows import batch_lines, heading
from mulletdaq.extras import needs_extra

with needs_extra("cli"):
    import typer

if TYPE_CHECKING:
    from mulletdaq.flight.client import Connection
    from mulletdaq.flight.streams import RemoteStream
    from mulletdaq.pacing import StopFlag

_HEARTBEAT_S = 0.2

TokenFile = Annotated[
    str | None, typer.Option("--token-file", metavar="FILE", help="Holds the daemon's token; only you can read it.")
]
TlsRootFile = Annotated[
    str | None, typer.Option("--tls-root-file", metavar="FILE", help="Certificates to trust, for grpc+tls://.")
]


def is_remote(place: str) -> bool:
    """Whether it is a daemon's address, not a ring's name or path."""
    return place.startswith(("grpc://", "grpc+tls://", "grpc+tcp://"))


def split_stream(place: str) -> tuple[str, str]:
    """Address and stream of ``grpc://host:port/STREAM``; the stream may be missing."""
    scheme, _, rest = place.partition("://")
    address, _, stream = rest.partition("/")
    return f"{scheme}://{address}", stream


def connected(address: str, token_file: str | None, tls_root_file: str | None) -> Connection:
    """A connection."""
    from mulletdaq.flight.client import connect

    return connect(address, token_file=token_file, tls_root_file=tls_root_file)


def tail_remote(
    place: str, lines: int, follow: bool, stop: StopFlag, token_file: str | None, tls_root_file: str | None
) -> None:
    """Print a remote stream's last rows, then each new one as it comes, until Ctrl-C."""
    address, stream = split_stream(place)
    with connected(address, token_file, tls_root_file) as connection:
        if not stream:
            stream = _only_stream(connection, address)
        start = -lines if lines else "latest"
        beats_s = _HEARTBEAT_S if follow else None
        with connection.read(stream, start=start, follow=follow, heartbeat_s=beats_s) as batches:  # type: ignore[arg-type]
            has_heading = False
            for found in batches:
                if stop.is_set():
                    return
                if not has_heading:
                    print(heading(batches.schema), flush=True)
                    has_heading = True
                if found.lost_rows:
                    first = found.first_row - found.lost_rows
                    warn(f"rows {first} to {found.first_row - 1} were lost: overwritten before they could be sent")
                for line in batch_lines(found.batch):
                    print(line, flush=True)


def find_stream(connection: Connection, place: str) -> RemoteStream:
    """The stream that an address names, or the only one there is."""
    address, stream = split_stream(place)
    return connection.stream(stream or _only_stream(connection, address))


def _only_stream(connection: Connection, address: str) -> str:
    names = [stream.name for stream in connection.streams()]
    if len(names) == 1:
        return names[0]
    there = f"one of {', '.join(names)}" if names else "its stream, when it has one"
    raise typer.BadParameter(f"name {there}, as in {address}/{names[0] if names else 'STREAM'}")


__all__ = ["TlsRootFile", "TokenFile", "connected", "find_stream", "is_remote", "split_stream", "tail_remote"]
