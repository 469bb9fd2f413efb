"""``mullet bench``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

from mulletdaq.cli.interrupts import stop_on_signals
from mulletdaq.cli.options import Json, check_ring_mb
from mulletdaq.cli.output import print_facts, print_json, print_lines, warn
from mulletdaq.cli.progress import show_share
from mulletdaq.extras import needs_extra

with needs_extra("cli"):
    import typer

_SHORTEST_S = 1.0
_LONGEST_S = 3600.0
_MOST_CHANNELS = 1024
_MOST_HZ = 1e9


def _check_seconds(seconds: float) -> float:
    if not _SHORTEST_S <= seconds <= _LONGEST_S:
        raise typer.BadParameter(f"{seconds:g} s is not from {_SHORTEST_S:g} to {_LONGEST_S:g}")
    return seconds


def _check_channels(channels: int) -> int:
    if not 1 <= channels <= _MOST_CHANNELS:
        raise typer.BadParameter(f"{channels} is not from 1 to {_MOST_CHANNELS}")
    return channels


def _check_wanted_rate(rate_hz: float) -> float:
    if not 0 < rate_hz <= _MOST_HZ:
        raise typer.BadParameter(f"{rate_hz:g} Hz is not above 0 and at most {_MOST_HZ:g}")
    return rate_hz


def bench(
    folder: Annotated[Path, typer.Option("--folder", "-f", metavar="DIR", help="Where recordings would go.")] = Path(),
    channels: Annotated[
        int, typer.Option("--channels", "-n", metavar="N", callback=_check_channels, help="Wanted; of float64.")
    ] = 1,
    rate: Annotated[
        float,
        typer.Option("--rate", "-r", metavar="HZ", callback=_check_wanted_rate, help="Wanted, samples a second."),
    ] = 1000.0,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="SECONDS", callback=_check_seconds, help="How long, about.")
    ] = 30.0,
    ring_mb: Annotated[
        int, typer.Option("--ring-mb", metavar="MB", callback=check_ring_mb, help="Of the ring to measure with.")
    ] = 100,
    as_json: Json = False,
) -> None:
    """Measure what this machine can record, and say what a wanted rate needs.

    It records into a hidden folder in DIR, at rising rates, and removes everything again, also after Ctrl-C. The disk's
    last 512 MB are left alone.
    """
    from mulletdaq.benchmark import Wanted, run_benchmark
    from mulletdaq.benchmark.words import advice_lines, measured_facts, warnings

    wanted = Wanted(rate, channels)
    start_line = f"recording into {folder.absolute()} for about {seconds:g} s; nothing of it stays"
    with stop_on_signals() as stop, show_share(start_line) as on_progress:
        report = run_benchmark(folder, wanted, seconds=seconds, ring_mb=ring_mb, on_progress=on_progress, stop=stop)
    found = warnings(report)
    if as_json:
        print_json(_finite(report.to_dict()) | {"warnings": found})
        return
    disk = f" on {report.filesystem}" if report.filesystem else ""
    of_channels = "1 channel" if channels == 1 else f"{channels} channels"
    print_facts(f"{report.folder}{disk}, {of_channels} of float64", measured_facts(report))
    print_lines(advice_lines(report))
    for line in found:
        warn(line)


def _finite(value: Any) -> Any:
    """JSON has no infinity."""
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
