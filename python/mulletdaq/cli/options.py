"""Options that several commands share, and the checks of their values."""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path
from typing import Annotated, Any

from mulletdaq.errors import MissingExtraError
from mulletdaq.extras import needs_extra
from mulletdaq.pacing import MAX_DURATION_S, MAX_RATE_HZ, MIN_RATE_HZ

with needs_extra("cli"):
    import typer

MAX_RING_MB = 65_536
MAX_INTERVAL_S = 3600.0


def check_rate(rate_hz: float) -> float:
    """A rate that a loop can be paced at, else wrong usage."""
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise typer.BadParameter(f"{rate_hz:g} Hz is not from {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g}")
    return rate_hz


def check_duration(duration_s: float | None) -> float | None:
    """A duration above zero, or none, else wrong usage."""
    if duration_s is not None and not 0 < duration_s <= MAX_DURATION_S:
        raise typer.BadParameter(f"{duration_s:g} s is not above 0 and at most ten years")
    return duration_s


def check_interval(interval_s: float) -> float:
    """A flush interval, else wrong usage."""
    if not 0 < interval_s <= MAX_INTERVAL_S:
        raise typer.BadParameter(f"{interval_s:g} s is not above 0 and at most {MAX_INTERVAL_S:g}")
    return interval_s


def check_layout(layout: str) -> str:
    """A layout of the file, else wrong usage."""
    from mulletdaq.hdf5.options import LAYOUTS  # here, since it loads NumPy, for which --help does not wait

    if layout not in LAYOUTS:
        raise typer.BadParameter(f"there is no layout {layout!r}; there are: {', '.join(LAYOUTS)}")
    return layout


def check_ring_mb(ring_mb: int) -> int:
    """A ring's capacity in MiB, else wrong usage."""
    if not 1 <= ring_mb <= MAX_RING_MB:
        raise typer.BadParameter(f"{ring_mb} MB is not from 1 to {MAX_RING_MB}")
    return ring_mb


def check_above_zero(number: float | None) -> float | None:
    """A number above zero, or none, else wrong usage."""
    if number is not None and not (math.isfinite(number) and number > 0):
        raise typer.BadParameter(f"{number:g} is not above 0")
    return number


def check_compression(name: str) -> str:
    """A compression that can be used here, or ``none``, else wrong usage."""
    from mulletdaq.hdf5.options import Filters

    try:
        Filters(None if name == "none" else name)
    except MissingExtraError as error:
        raise typer.BadParameter(str(error)) from error
    except ValueError:
        raise typer.BadParameter(f"there is no {name!r}; choose from gzip, lzf, zstd, none") from None
    return name


def read_metadata_file(path: Path | None) -> dict[str, Any]:
    """What a TOML or JSON file says, by its name's end; nothing of none.

    Raises
    ------
    typer.BadParameter
        If it cannot be read, or is neither.
    """
    if path is None:
        return {}
    try:
        if path.suffix.lower() == ".toml":
            return tomllib.loads(path.read_text("utf-8"))
        if path.suffix.lower() != ".json":
            raise typer.BadParameter(f"{path} is neither .toml nor .json", param_hint="--metadata-file")
        read = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:  # both readers raise ValueErrors
        raise typer.BadParameter(f"{path}: {' '.join(str(error).split())}", param_hint="--metadata-file") from error
    if not isinstance(read, dict):
        raise typer.BadParameter(f"{path} holds no names with values", param_hint="--metadata-file")
    return read


def parse_metadata(pairs: list[str]) -> dict[str, str]:
    """``key=value`` words as a dict.

    Raises
    ------
    typer.BadParameter
        If a word has no ``=`` or no key, or a key comes twice.
    """
    metadata: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key.strip():
            raise typer.BadParameter(f"{pair!r} is not key=value", param_hint="--metadata")
        if key in metadata:
            raise typer.BadParameter(f"{key!r} is given twice", param_hint="--metadata")
        metadata[key] = value
    return metadata


Rate = Annotated[float, typer.Option("--rate", "-r", metavar="HZ", callback=check_rate, help="Samples a second.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for a script.")]
Compression = Annotated[
    str,
    typer.Option("--compression", metavar="NAME", callback=check_compression, help="gzip, lzf, zstd or none."),
]
ChunkRows = Annotated[
    int | None,
    typer.Option("--chunk-rows", metavar="ROWS", callback=check_above_zero, help="A chunk; about 1 MiB by default."),
]
RotateRows = Annotated[
    int | None,
    typer.Option("--rotate-rows", metavar="ROWS", callback=check_above_zero, help="Another file after that many."),
]
RotateMb = Annotated[
    float | None,
    typer.Option("--rotate-mb", metavar="MB", callback=check_above_zero, help="Another file once one is that large."),
]
RotateEvery = Annotated[
    float | None,
    typer.Option("--rotate-every", metavar="SECONDS", callback=check_above_zero, help="Another file that often."),
]
