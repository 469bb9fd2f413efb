"""``mullet record``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from mulletdaq.cli.progress import show_progress
from mulletdaq.cli.summary import acquisition_facts, acquisition_json, next_command, shortest
from mulletdaq.extras import needs_extra
from mulletdaq.sources.registry import SOURCES, make_source

with needs_extra("cli"):
    import typer

if TYPE_CHECKING:
    from mulletdaq.acquisition import AcquisitionSummary
    from mulletdaq.recording import Recording


def _check_source(name: str | None) -> str:
    there_are = "there are: " + "; ".join(f"{entry.name} ({entry.summary})" for entry in SOURCES.values())
    if name is None:
        raise typer.BadParameter(f"which one? {there_are}")
    if name not in SOURCES:
        raise typer.BadParameter(f"there is no source {name!r}; {there_are}")
    return name


def record(
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
    as_json: Json = False,
) -> None:
    """Record a source into an HDF5 file.

    Ctrl-C stops it and loses nothing. An existing file is never overwritten.
    """
    from mulletdaq import recording as recordings
    from mulletdaq.acquisition import acquire, opened

    assert source is not None  # _check_source saw to it
    instrument = make_source(source)
    run_metadata = {"source": source, "rate_hz": rate} | read_metadata_file(metadata_file)
    run_metadata |= parse_metadata(metadata or [])
    with stop_on_signals() as stop, opened(instrument):
        recording = recordings.record(
            output,
            instrument.channels,
            mode="a" if append else "x",
            ring_capacity_mb=ring_mb,
            flush_interval_s=interval,
            layout=layout,
            compression=None if compression == "none" else compression,
            chunk_rows=chunk_rows,
            rotate_rows=rotate_rows,
            rotate_mb=rotate_mb,
            rotate_s=rotate_every,
            metadata=run_metadata,
        )
        until = "until Ctrl-C" if duration is None else f"for {duration:g} s; Ctrl-C stops it early"
        start_line = f"recording {source} at {rate:g} Hz into {shortest(Path(recording.path))} {until}"
        with recording, show_progress(start_line, rate, duration) as on_progress:
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
