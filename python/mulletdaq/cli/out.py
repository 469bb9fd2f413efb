"""``mullet export``, ``mullet convert`` and ``mullet plot``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from mulletdaq.cli.options import ChunkRows, Compression, Json, check_layout
from mulletdaq.cli.output import note, print_facts, print_json, size
from mulletdaq.cli.progress import show_rows
from mulletdaq.cli.summary import next_command, shortest
from mulletdaq.errors import MulletError
from mulletdaq.extras import needs_extra

with needs_extra("cli"):
    import typer


class Losses(StrEnum):
    """What becomes of lost rows."""

    gap = "gap"
    nan = "nan"


File = Annotated[str, typer.Argument(metavar="FILE", help="A recording, finished or under way.")]
Channels = Annotated[
    list[str] | None, typer.Option("--channel", "-c", metavar="NAME", help="Only this one; repeatable.")
]
_MOMENT = "row (-1000: the last thousand) or time (2024-05-01T12:00:00, UTC)"
Start = Annotated[str | None, typer.Option("--start", metavar="ROW|TIME", help=f"From this {_MOMENT}.")]
Stop = Annotated[str | None, typer.Option("--stop", metavar="ROW|TIME", help=f"Before this {_MOMENT}.")]
Stream = Annotated[str | None, typer.Option("--stream", metavar="NAME", help="Which, where FILE holds several.")]
Run = Annotated[int | None, typer.Option("--run", metavar="N", help="Only this run.")]
ThisFile = Annotated[bool, typer.Option("--this-file", help="Without the files that FILE goes on in.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the output if it is there.")]


def export(
    path: File,
    output: Annotated[str, typer.Option("--output", "-o", metavar="OUT", help="Ends in .parquet, .arrow or .csv.")],
    channels: Channels = None,
    start: Start = None,
    stop: Stop = None,
    stream: Stream = None,
    run: Run = None,
    this_file: ThisFile = False,
    row_numbers: Annotated[bool, typer.Option("--row-numbers", help="Add columns run and row.")] = False,
    losses: Annotated[
        Losses, typer.Option("--losses", help="gap: leave lost rows out; nan: put rows without values there.")
    ] = Losses.gap,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a recording's rows into a Parquet, Arrow or CSV file.

    OUT appears when it is complete. Any size of FILE takes little memory.
    """
    from mulletdaq.export.tables import export as export_table

    with _usage(), show_rows(f"exporting {path}") as on_progress:
        summary = export_table(
            path,
            output,
            channels=channels,
            start=_moment(start),
            stop=_moment(stop),
            stream=stream,
            run=run,
            parts=not this_file,
            row_numbers=row_numbers,
            losses=losses.value,
            force=force,
            on_progress=on_progress,
        )
    if as_json:
        print_json(asdict(summary))
        return
    facts = [
        ("rows", f"{summary.rows:,}"),
        ("columns", str(summary.columns)),
        ("size", size(summary.size_bytes)),
        ("lost", f"{summary.lost_rows:,}"),
    ]
    print_facts(shortest(Path(output)), facts)
    if summary.left_out:
        note(f"this kind of file cannot hold {summary.left_out}")


def convert(
    path: Annotated[str, typer.Argument(metavar="IN", help="A recording.")],
    output: Annotated[str, typer.Argument(metavar="OUT", help="The new file.")],
    layout: Annotated[
        str,
        typer.Option(
            "--layout",
            metavar="NAME",
            callback=check_layout,
            help="batches: a group for each flush; continuous: a dataset for each channel.",
        ),
    ],
    compression: Compression = "gzip",
    chunk_rows: ChunkRows = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a recording in another layout, or compressed otherwise; not a bit of its values changes.

    OUT appears when it is complete. Any size of IN takes little memory.
    """
    from mulletdaq.export.converting import convert as convert_file

    with _usage(), show_rows(f"converting {path}") as on_progress:
        summary = convert_file(
            path,
            output,
            layout=layout,
            compression=None if compression == "none" else compression,
            chunk_rows=chunk_rows,
            force=force,
            on_progress=on_progress,
        )
    if as_json:
        print_json(asdict(summary))
        return
    facts = [("rows", f"{summary.rows:,}"), ("batches", f"{summary.batches:,}"), ("size", size(summary.size_bytes))]
    print_facts(shortest(Path(output)), facts)
    if summary.continued_in:
        note(f"{path} goes on in {summary.continued_in}, which is to be converted by itself")
    print(f"next: {next_command('verify', Path(output))}")


def plot(
    path: File,
    output: Annotated[str, typer.Option("--output", "-o", metavar="OUT", help="Ends in .png, .svg or .pdf.")],
    channels: Channels = None,
    start: Start = None,
    stop: Stop = None,
    stream: Stream = None,
    run: Run = None,
    this_file: ThisFile = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Draw a recording over time, a panel for each channel; every spike is seen, and every gap.

    Needs matplotlib: pip install 'mulletdaq[plot]'.
    """
    from mulletdaq.export.plotting import plot as plot_file

    with _usage(), show_rows(f"drawing {path}") as on_progress:
        summary = plot_file(
            path,
            output,
            channels=channels,
            start=_moment(start),
            stop=_moment(stop),
            stream=stream,
            run=run,
            parts=not this_file,
            force=force,
            on_progress=on_progress,
        )
    if as_json:
        print_json(asdict(summary))
        return
    print_facts(shortest(Path(output)), [("channels", ", ".join(summary.channels)), ("rows", f"{summary.rows:,}")])
    if summary.left_out:
        note(f"not drawn, as they are no numbers: {', '.join(summary.left_out)}")


def _moment(text: str | None) -> int | str | None:
    """A row where it is a whole number, else a time."""
    return int(text) if text is not None and re.fullmatch(r"[+-]?\d+", text) else text


@contextmanager
def _usage() -> Iterator[None]:
    """A value that is not possible is wrong usage."""
    try:
        yield
    except MulletError:
        raise
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


__all__ = ["convert", "export", "plot"]
