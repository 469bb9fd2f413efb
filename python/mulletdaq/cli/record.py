"""``mullet record``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from mulletdaq.cli.interrupts import stop_on_signals
from mulletdaq.cli.options import (
    ChunkRows,
    Compression,
    Json,
    Rate,
    RotateEvery,
    RotateMb,
    RotateRows,
    check_duration,
    check_interval,
    check_layout,
    check_ring_mb,
    parse_metadata,
    read_metadata_file,
)
from mulletdaq.cli.output import print_facts, print_json, warn
from mulletdaq.cli.progress import saved, show_progress
from mulletdaq.cli.remote import TlsRootFile, TokenFile, is_remote
from mulletdaq.cli.summary import acquisition_facts, acquisition_json, next_command, shortest
from mulletdaq.extras import needs_extra
from mulletdaq.sources.registry import SOURCES, make_source

with needs_extra("cli"):
    import typer

if TYPE_CHECKING:
    from mulletdaq.acquisition import AcquisitionSummary
    from mulletdaq.recording import Recording


_OF_SOURCES = {"source": "--source", "rate": "--rate", "ring_mb": "--ring-mb"}
_OF_STREAMS = {"start": "--start", "token_file": "--token-file", "tls_root_file": "--tls-root-file"}


def _check_source(name: str | None) -> str | None:
    if name is not None and name not in SOURCES:
        raise typer.BadParameter(f"there is no source {name!r}; {_there_are()}")
    return name


def _there_are() -> str:
    return "there are: " + "; ".join(f"{entry.name} ({entry.summary})" for entry in SOURCES.values())


def _check_stream(place: str | None) -> str | None:
    if place is not None and not is_remote(place):
        raise typer.BadParameter(f"{place!r} is no address such as grpc://host:50051/STREAM")
    return place


def _check_start(start: str) -> str:
    if start not in ("oldest", "latest") and not start.isdecimal():
        raise typer.BadParameter(f"{start!r} is not oldest, latest or a row")
    return start


def _refuse(context: typer.Context, options: Mapping[str, str], because: str) -> None:
    """Options of the other kind of recording are a mistake."""
    for name, option in options.items():
        origin = context.get_parameter_source(name)
        if origin is not None and origin.name != "DEFAULT":
            raise typer.BadParameter(because, param_hint=option)


def record(
    context: typer.Context,
    stream: Annotated[
        str | None,
        typer.Argument(
            metavar="grpc://HOST:PORT/STREAM", callback=_check_stream, help="A stream of a daemon, here or elsewhere."
        ),
    ] = None,
    *,
    source: Annotated[
        str | None, typer.Option("--source", "-s", metavar="NAME", callback=_check_source, help="What to measure.")
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="May hold {start:%Y%m%dT%H%M%S} and {index}.")
    ],
    rate: Rate = 100.0,
    duration: Annotated[
        float | None,
        typer.Option("--duration", "-d", metavar="SECONDS", callback=check_duration, help="Until Ctrl-C if not given."),
    ] = None,
    append: Annotated[bool, typer.Option("--append", help="Add a new run to FILE if it exists.")] = False,
    ring_mb: Annotated[
        int, typer.Option("--ring-mb", metavar="MB", callback=check_ring_mb, help="Memory between loop and disk.")
    ] = 100,
    interval: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", callback=check_interval, help="Between writes to disk.")
    ] = 1.0,
    layout: Annotated[
        str, typer.Option("--layout", metavar="NAME", callback=check_layout, help="batches; continuous for long runs.")
    ] = "batches",
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", "-m", metavar="KEY=VALUE", help="Goes into FILE; repeatable.")
    ] = None,
    metadata_file: Annotated[
        Path | None, typer.Option("--metadata-file", metavar="FILE", help="More of it, TOML or JSON.")
    ] = None,
    compression: Compression = "gzip",
    chunk_rows: ChunkRows = None,
    rotate_rows: RotateRows = None,
    rotate_mb: RotateMb = None,
    rotate_every: RotateEvery = None,
    start: Annotated[
        str,
        typer.Option("--start", metavar="WHERE", callback=_check_start, help="Of a stream: oldest, latest, or a row."),
    ] = "oldest",
    token_file: TokenFile = None,
    tls_root_file: TlsRootFile = None,
    as_json: Json = False,
) -> None:
    """Record a source, or the stream of a daemon on another computer, into an HDF5 file here.

    Ctrl-C stops it and loses nothing. An existing file is never overwritten; a stream that is in it is gone on with.
    """
    run_metadata = read_metadata_file(metadata_file) | parse_metadata(metadata or [])
    options = {
        "flush_interval_s": interval,
        "layout": layout,
        "compression": None if compression == "none" else compression,
        "chunk_rows": chunk_rows,
        "rotate_rows": rotate_rows,
        "rotate_mb": rotate_mb,
        "rotate_s": rotate_every,
    }
    if stream is not None:
        from mulletdaq.cli.record_remote import record_remote

        _refuse(context, _OF_SOURCES, "it is for a source, not for a stream that a daemon has already")
        record_remote(
            stream,
            output,
            start=start,
            duration_s=duration,
            append=append,
            token_file=token_file,
            tls_root_file=tls_root_file,
            writer_options=options | {"metadata": run_metadata},
            as_json=as_json,
        )
        return
    _refuse(context, _OF_STREAMS, "it is for a stream; give grpc://HOST:PORT/STREAM")
    if source is None:
        raise typer.BadParameter(f"which one? {_there_are()}; or give grpc://HOST:PORT/STREAM", param_hint="--source")
    _record_source(source, output, rate, duration, append, ring_mb, options, run_metadata, as_json)


def _record_source(
    source: str,
    output: str,
    rate: float,
    duration: float | None,
    append: bool,
    ring_mb: int,
    options: dict[str, Any],
    metadata: dict[str, Any],
    as_json: bool,
) -> None:
    from mulletdaq import recording as recordings
    from mulletdaq.acquisition import acquire, opened

    instrument = make_source(source)
    with stop_on_signals() as stop, opened(instrument):
        recording = recordings.record(
            output,
            instrument.channels,
            mode="a" if append else "x",
            ring_capacity_mb=ring_mb,
            metadata={"source": source, "rate_hz": rate} | metadata,
            **options,
        )
        until = "until Ctrl-C" if duration is None else f"for {duration:g} s; Ctrl-C stops it early"
        start_line = f"recording {source} at {rate:g} Hz into {shortest(Path(recording.path))} {until}"
        with (
            recording,
            saved(recording.path, recording.close),
            show_progress(start_line, rate, duration) as on_progress,
        ):
            summary = acquire(
                instrument, recording, rate_hz=rate, duration_s=duration, on_progress=on_progress, stop=stop
            )
    _report(recording, summary, as_json)


def _report(recording: Recording, summary: AcquisitionSummary, as_json: bool) -> None:
    statistics = recording.statistics()
    if statistics.rows_lost:
        warn(f"{statistics.rows_lost} samples were overwritten before they reached the disk; try a larger --ring-mb")
    if as_json:
        answer = acquisition_json(summary, statistics.batches, statistics.rows_lost)
        print_json({"path": str(recording.path)} | answer)
        return
    print_facts(shortest(Path(recording.path)), acquisition_facts(summary, statistics.batches, statistics.rows_lost))
    print(f"next: {next_command('verify', Path(recording.path))}")
