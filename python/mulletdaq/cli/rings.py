"""``mullet status``, and what it shares with ``info`` about rings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from mulletdaq.cli.options import Json
from mulletdaq.cli.output import note, print_facts, print_json, print_table, size
from mulletdaq.cli.remote import TlsRootFile, TokenFile, connected, is_remote, split_stream
from mulletdaq.cli.rows import utc
from mulletdaq.cli.watch import LocalRings, print_status, remote_picture, watch
from mulletdaq.extras import needs_extra
from mulletdaq.schema import TIMESTAMP, field_description, field_unit

with needs_extra("cli"):
    import typer

if TYPE_CHECKING:
    import pyarrow as pa

    from mulletdaq.ring import RingBuffer, RingInfo

_MAGIC = (0xDADADADA00000001).to_bytes(8, "little")


def status(
    ring: Annotated[
        str | None,
        typer.Argument(metavar="[RING]", help="Name or path, all of yours if not given; or grpc://HOST:PORT."),
    ] = None,
    watched: Annotated[bool, typer.Option("--watch", "-w", help="Again every second, until Ctrl-C.")] = False,
    as_json: Json = False,
    token_file: TokenFile = None,
    tls_root_file: TlsRootFile = None,
) -> None:
    """Show your rings: who writes, who saves, what is waiting.

    Of a daemon, here or on another computer: its streams, recordings, processes and disks.
    An orphan is a ring whose recording ended without cleaning up; the rows that it still holds are in no file yet.
    """
    if ring is not None and is_remote(ring):
        _remote_status(ring, watched, as_json, token_file, tls_root_file)
        return
    if watched:
        watch(LocalRings(lambda: _rings(ring)).picture)
        return
    rings = _rings(ring)
    if as_json:
        print_json([ring_json(entry) for entry in rings])
        return
    if not rings:
        print("no rings: nothing is being recorded")
        return
    headings = ("ring", "state", "rows", "lost", "waiting", "capacity", "producer", "sink")
    print_table(headings, [_row(entry) for entry in rings])
    if any(_state(entry) == "orphan" and entry.statistics and entry.statistics.fill for entry in rings):
        note("an orphan keeps what its recording could not save; recording into the same file with --append saves it")


def _remote_status(place: str, watched: bool, as_json: bool, token_file: str | None, tls_root_file: str | None) -> None:
    import msgspec

    address, _ = split_stream(place)
    with connected(address, token_file, tls_root_file) as connection:
        if as_json:
            print_json(msgspec.to_builtins(connection.status()))
        elif watched:
            watch(lambda: remote_picture(connection.status()))
        else:
            print_status(connection)


def _rings(name: str | None) -> list[RingInfo]:
    from mulletdaq.ring import attach, list_rings

    if name is None:
        return list_rings()
    with attach(name) as buffer:
        return [_entry(buffer)]


def ring_json(entry: RingInfo) -> dict[str, Any]:
    """A ring for scripts."""
    answer: dict[str, Any] = {"name": entry.name, "path": entry.path, "state": _state(entry)}
    if entry.statistics is None:
        return answer | {"error": entry.error}
    statistics = entry.statistics
    return answer | {
        "rows_written": statistics.rows_written,
        "rows_lost": statistics.rows_lost,
        "fill": statistics.fill,
        "capacity_bytes": statistics.capacity_bytes,
        "stream_id": f"{statistics.stream_id:016x}",
        "producer_pid": statistics.producer_pid,
        "sink_pid": statistics.sink_pid,
    }


def is_ring(path: str) -> bool:
    """Whether a file with a ring's first word is at this path."""
    try:
        with Path(path).open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def print_ring(name: str, as_json: bool) -> None:
    """Describe one ring, given by name or path."""
    from mulletdaq.ring import attach

    with attach(name) as ring:
        entry, statistics, schema = _entry(ring), ring.statistics(), ring.schema
    channels = [] if schema is None else [_channel(field) for field in schema if field.name != TIMESTAMP]
    if as_json:
        facts = {"kind": "ring", "content": statistics.content, "created_ns": statistics.created_ns}
        print_json(facts | {"channels": channels} | ring_json(entry))
        return
    print_facts(
        entry.name,
        [
            ("path", entry.path),
            ("state", _state(entry)),
            ("created", utc(statistics.created_ns)),
            ("stream id", f"{statistics.stream_id:016x}"),
            ("capacity", size(statistics.capacity_bytes)),
            ("content", statistics.content),
            ("channels", ", ".join(_channel_text(channel) for channel in channels) or "-"),
            ("rows", str(statistics.rows_written)),
            ("lost", _count(statistics.rows_lost)),
            ("not saved yet", f"{statistics.fill:.1%} of the ring"),
            ("producer", _pid(statistics.producer_pid)),
            ("sink", _pid(statistics.sink_pid)),
        ],
    )


def _entry(ring: RingBuffer) -> RingInfo:
    from mulletdaq.ring import RingInfo

    statistics = ring.statistics()
    return RingInfo(ring.name, ring.path, statistics, orphan=statistics.producer_pid is None)


def _channel(field: pa.Field) -> dict[str, Any]:
    value, shape = getattr(field.type, "value_type", field.type), list(getattr(field.type, "shape", ()))
    return {
        "name": field.name,
        "unit": field_unit(field),
        "type": str(value),
        "shape": shape,
        "description": field_description(field),
    }


def _channel_text(channel: dict[str, Any]) -> str:
    unit = f" [{channel['unit']}]" if channel["unit"] else ""
    shape = " × ".join(map(str, channel["shape"]))
    return f"{channel['name']}{unit} {channel['type']}{f' ({shape})' if shape else ''}"


def _row(entry: RingInfo) -> tuple[str, ...]:
    statistics = entry.statistics
    if statistics is None:
        return (entry.name, f"error: {entry.error}", "", "", "", "", "", "")
    return (
        entry.name,
        _state(entry),
        str(statistics.rows_written),
        _count(statistics.rows_lost),
        f"{statistics.fill:.1%}",
        size(statistics.capacity_bytes),
        _pid(statistics.producer_pid),
        _pid(statistics.sink_pid),
    )


def _state(entry: RingInfo) -> str:
    if entry.statistics is None:
        return "error"
    if not entry.orphan:
        return "live"
    return "orphan" if entry.statistics.sink_pid is None else "saving"


def _count(rows: int | None) -> str:
    return "unknown" if rows is None else str(rows)


def _pid(pid: int | None) -> str:
    return "-" if pid is None else f"pid {pid}"
