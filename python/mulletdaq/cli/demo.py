"""``mullet demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from mulletdaq.cli.interrupts import stop_on_signals
from mulletdaq.cli.options import Json, Rate, check_duration
from mulletdaq.cli.output import print_facts, print_json
from mulletdaq.cli.progress import show_progress
from mulletdaq.cli.summary import acquisition_facts, acquisition_json, next_command
from mulletdaq.extras import needs_extra

with needs_extra("cli"):
    import typer


def demo(
    duration: Annotated[
        float, typer.Option("--duration", "-d", metavar="SECONDS", callback=check_duration, help="How long.")
    ] = 5.0,
    rate: Rate = 100.0,
    directory: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where the two files go.")] = Path(),
    as_json: Json = False,
) -> None:
    """Record a simulated voltage and some opaque bytes into two HDF5 files, and show how it went.

    The files of an earlier demo are replaced, no others. Ctrl-C ends it early; what was measured is kept.
    """
    from mulletdaq.demo import OUTPUT_NAME, RAW_NAME, check_outputs, run_demo

    check_outputs(directory)
    start_line = f"recording a simulated voltage at {rate:g} Hz for {duration:g} s into {directory / OUTPUT_NAME}"
    with stop_on_signals() as stop, show_progress(start_line, rate, duration) as on_progress:
        summary = run_demo(directory, duration_s=duration, rate_hz=rate, on_progress=on_progress, stop=stop)
    if as_json:
        voltage = {"path": str(summary.output)} | acquisition_json(summary.acquisition, summary.batches, summary.lost)
        raw = {"messages": summary.raw_messages, "batches": summary.raw_batches, "lost": summary.raw_lost}
        print_json(voltage | {"raw": {"path": str(summary.raw)} | raw})
        return
    print_facts(OUTPUT_NAME, acquisition_facts(summary.acquisition, summary.batches, summary.lost))
    print_facts(
        RAW_NAME,
        [
            ("messages", str(summary.raw_messages)),
            ("batches", str(summary.raw_batches)),
            ("lost", str(summary.raw_lost)),
        ],
    )
    print(f"next: {next_command('verify', summary.output)}")
