"""``mullet ctl`` and ``mullet health``: what is asked of a running daemon."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from mulletdaq.cli.options import Json, parse_metadata
from mulletdaq.cli.output import print_json, print_table, size
from mulletdaq.cli.remote import TlsRootFile, TokenFile, connected
from mulletdaq.cli.rows import utc
from mulletdaq.extras import needs_extra

with needs_extra("cli"):
    import typer

if TYPE_CHECKING:
    from mulletdaq.flight.messages import RecordingInfo

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|)")
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}

ctl = typer.Typer(name="ctl", help="Start and stop recordings of a running daemon.", no_args_is_help=True)

Address = Annotated[str, typer.Option("--address", "-a", metavar="URL", envvar="MULLET_ADDRESS", help="Of the daemon.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the recording.")]
DEFAULT_ADDRESS = "grpc://127.0.0.1:50051"


def seconds(text: str | None) -> float | None:
    """``30``, ``30s``, ``5m`` or ``1h`` in seconds, else wrong usage."""
    if text is None:
        return None
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no time; write 30s, 5m or 1h")
    return float(found[1]) * _SECONDS[found[2]]


@ctl.command()
def start(
    name: Name,
    stream: Annotated[
        list[str] | None, typer.Option("--stream", "-s", metavar="STREAM", help="Repeatable; all if not given.")
    ] = None,
    path: Annotated[
        str | None, typer.Option("--path", "-o", metavar="FILE", help="Below the daemon's folder; may hold {start:…}.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Begin in the past, such as 30s, 5m or 1h.")
    ] = None,
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", "-m", metavar="KEY=VALUE", help="Goes into FILE; repeatable.")
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    token_file: TokenFile = None,
    tls_root_file: TlsRootFile = None,
    as_json: Json = False,
) -> None:
    """Start a recording, from now, or from the past as far as the rings reach back."""
    since_s, facts = seconds(since), parse_metadata(metadata or [])
    with connected(address, token_file, tls_root_file) as daemon:
        info = daemon.start_recording(name, streams=stream, path=path, metadata=facts, since_s=since_s)
    _print_info(info, f"recording {info.name} ({', '.join(info.streams)}) into {info.path}", as_json)


@ctl.command()
def stop(
    name: Name,
    address: Address = DEFAULT_ADDRESS,
    token_file: TokenFile = None,
    tls_root_file: TlsRootFile = None,
    as_json: Json = False,
) -> None:
    """Stop a recording; all that was written until now is in its file then."""
    with connected(address, token_file, tls_root_file) as daemon:
        info = daemon.stop_recording(name)
    _print_info(info, f"{info.path}: {info.rows_persisted} rows, {info.rows_lost} lost", as_json)


@ctl.command("list")
def list_recordings(
    address: Address = DEFAULT_ADDRESS,
    token_file: TokenFile = None,
    tls_root_file: TlsRootFile = None,
    as_json: Json = False,
) -> None:
    """List recordings, running and ended."""
    with connected(address, token_file, tls_root_file) as daemon:
        infos = daemon.recordings()
    if as_json:
        print_json([_plain(info) for info in infos])
        return
    headings = ("recording", "state", "streams", "rows", "lost", "size", "started", "file")
    rows = [
        (
            info.name,
            info.state,
            ", ".join(info.streams),
            str(info.rows_persisted),
            str(info.rows_lost),
            size(info.file_bytes),
            utc(info.started_ns),
            info.path,
        )
        for info in infos
    ]
    print_table(headings, rows)


@ctl.command()
def flush(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A recording or stream; all if not given.")
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    token_file: TokenFile = None,
    tls_root_file: TlsRootFile = None,
    as_json: Json = False,
) -> None:
    """Bring everything written so far into the files."""
    with connected(address, token_file, tls_root_file) as daemon:
        rows = daemon.flush(name)
    if as_json:
        print_json({"rows_persisted": rows})
        return
    for recording, count in rows.items():
        print(f"{recording}: {count} rows are in its file")


@ctl.command()
def annotate(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The note.")],
    recording: Annotated[
        str | None, typer.Option("--recording", "-r", metavar="NAME", help="All that run if not given.")
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    token_file: TokenFile = None,
    tls_root_file: TlsRootFile = None,
) -> None:
    """Store a note, with the time and each stream's row."""
    with connected(address, token_file, tls_root_file) as daemon:
        daemon.annotate(text, recording=recording)


@ctl.command()
def rotate(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A recording; all that run if not given.")
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    token_file: TokenFile = None,
    tls_root_file: TlsRootFile = None,
    as_json: Json = False,
) -> None:
    """Go on in new files."""
    with connected(address, token_file, tls_root_file) as daemon:
        paths = daemon.rotate(name)
    if as_json:
        print_json({"paths": paths})
        return
    for path in paths:
        print(f"goes on in {path}")


def health(
    address: Address = DEFAULT_ADDRESS,
    token_file: TokenFile = None,
    tls_root_file: TlsRootFile = None,
    as_json: Json = False,
) -> None:
    """Say whether a daemon is well, and if not, why and what to do.

    Exit code 1 unless it is.
    """
    with connected(address, token_file, tls_root_file) as daemon:
        found = daemon.health()
    if as_json:
        print_json(_plain(found))
    else:
        print(found.state)
        for reason in found.reasons:
            print(f"  {reason.what}")
            print(f"    since {utc(reason.since_ns)}; {reason.advice}")
    if found.state != "ok":
        raise typer.Exit(1)


def _print_info(info: RecordingInfo, words: str, as_json: bool) -> None:
    if as_json:
        print_json(_plain(info))
    else:
        print(words)


def _plain(message: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(message)
