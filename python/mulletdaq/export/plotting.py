"""Recordings as pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mulletdaq.errors import ChannelNotFoundError
from mulletdaq.export.envelope import Envelope
from mulletdaq.export.finished import finished
from mulletdaq.export.measurements import Measurements, OnProgress, find, pick, stamps_of
from mulletdaq.export.moments import Moment
from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.row_reading import Block, ChannelFacts
from mulletdaq.hdf5.storage import iso_time
from mulletdaq.schema import TIMESTAMP

with needs_extra("hdf5"):
    import numpy as np
with needs_extra("plot"):
    from matplotlib.figure import Figure

COLUMNS = 2000
"""About as many as the picture has pixels from left to right."""

_MOST_PANELS = 100
_READ_BYTES = 8 << 20
_UNITS_S = (("d", 86_400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))


@dataclass(frozen=True)
class PlotSummary:
    """What was drawn: output, channels, rows; and the channels that are no numbers, which were not."""

    path: str
    channels: tuple[str, ...]
    rows: int
    left_out: tuple[str, ...]


def plot(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    channels: Sequence[str] | None = None,
    start: Moment = None,
    stop: Moment = None,
    stream: str | None = None,
    run: int | None = None,
    parts: bool = True,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> PlotSummary:
    """Draw a recording over time, a panel for each channel.

    Where there are more rows than pixels, the smallest and the largest value of each pixel are drawn: a spike of one
    sample stays visible. Of waveforms and images it is those of each row. What was lost is a gap in the line. Memory is
    bounded.

    Parameters
    ----------
    path, channels, start, stop, stream, run, parts
        As for :func:`mulletdaq.load`.
    output
        Ends in ``.png``, ``.svg``, ``.pdf`` or whatever else matplotlib writes.
    force
        Replace the output if it is there.
    on_progress
        Called with rows done and rows to do.

    Raises
    ------
    ValueError
        If the output's ending is not known, or there are more than 100 channels to draw.
    ChannelNotFoundError
        If there is no such channel, or nothing to draw.
    MissingExtraError
        If matplotlib is not installed.
    OutputExistsError, FileWriteError
        If the output is there, or cannot be written.
    FileError
        As for :func:`mulletdaq.load`.
    """
    ending = Path(output).suffix.lower().lstrip(".")
    if ending not in (known := Figure().canvas.get_supported_filetypes()):
        raise ValueError(f"{os.fspath(output)} ends in {ending or 'nothing'!r}; give it one of {', '.join(known)}")
    with finished(output, force=force) as unfinished:
        measurements = find(path, stream=stream, run=run, start=start, stop=stop, parts=parts)
        drawn, left_out = _drawable(measurements, channels)
        axis = _axis_of(measurements)
        envelopes = {name: Envelope(0.0, axis.length, COLUMNS) for name in drawn}
        for positions, segment, block in _positioned(measurements, list(drawn), axis, on_progress):
            for name, envelope in envelopes.items():
                if name in block.columns:
                    envelope.add(positions, *_extremes(block, name), segment)
        figure = _draw(measurements, drawn, envelopes, axis)
        figure.savefig(unfinished, format=ending, dpi=150)
    return PlotSummary(os.fspath(output), tuple(drawn), measurements.rows, tuple(left_out))


@dataclass(frozen=True)
class _Axis:
    """The axis from left to right: over times, or over rows where there are none."""

    label: str
    start_ns: int | None
    length: float
    unit_s: float = 1.0


def _drawable(measurements: Measurements, wanted: Sequence[str] | None) -> tuple[dict[str, ChannelFacts], list[str]]:
    picked = pick(measurements, wanted)
    facts = {
        one.name: one
        for one in measurements.channels
        if one.name != TIMESTAMP and (picked is None or one.name in picked)
    }
    drawn = {name: one for name, one in facts.items() if _is_number(one)}
    if not drawn:
        raise ChannelNotFoundError(f"{measurements.path} has no numbers to draw among {', '.join(facts) or 'nothing'}")
    if len(drawn) > _MOST_PANELS:
        raise ValueError(f"{len(drawn)} channels are too many for a picture; choose at most {_MOST_PANELS}")
    return drawn, [name for name in facts if name not in drawn]


def _is_number(channel: ChannelFacts) -> bool:
    kind = channel.arrow_type
    is_else = "binary" in kind or "uuid" in kind or kind.startswith(("timestamp", "date"))
    return channel.dtype.kind in "iuf" and not is_else


def _axis_of(measurements: Measurements) -> _Axis:
    try:
        ends = [(some.min(), some.max()) for some in stamps_of(measurements) if len(some)]
    except ChannelNotFoundError:
        return _Axis("row", None, float(measurements.rows))
    if not ends:
        return _Axis("time", 0, 1.0)
    first = int(min(low for low, _ in ends))
    length_s = (int(max(high for _, high in ends)) - first) / 1e9
    unit, unit_s = next((one for one in _UNITS_S if length_s >= 2 * one[1]), _UNITS_S[-1])
    return _Axis(f"time since {_clock(first)} ({unit})", first, length_s / unit_s, unit_s)


def _clock(stamp_ns: int) -> str:
    try:
        return iso_time(stamp_ns)
    except (OverflowError, ValueError, OSError):
        return f"{stamp_ns} ns"


def _positioned(
    measurements: Measurements, names: list[str], axis: _Axis, on_progress: OnProgress | None
) -> Iterator[tuple[Any, int, Block]]:
    """The blocks, with the position of each row and the number of the piece without gaps that they belong to."""
    columns = names if axis.start_ns is None else [TIMESTAMP, *names]
    segment, done, expected = 0, 0, (-1, -1)
    factor = measurements.stamp_ns
    for block in measurements.blocks(columns, _READ_BYTES, on_progress):
        segment += (block.run, block.first_row) != expected
        expected = (block.run, block.first_row + block.rows)
        if axis.start_ns is None:
            positions = np.arange(done, done + block.rows, dtype=np.float64)
        else:
            since = block.columns[TIMESTAMP] * factor - axis.start_ns
            positions = since / (1e9 * axis.unit_s)
        done += block.rows
        yield positions, segment, block


def _extremes(block: Block, name: str) -> tuple[Any, Any]:
    """Smallest and largest finite value of each row; NaN where there is none."""
    values = block.columns[name].astype(np.float64)
    there = np.isfinite(values)
    if name in block.valid:
        there &= block.valid[name]
    values = np.where(there, values, np.nan).reshape(len(values), -1)
    return np.fmin.reduce(values, axis=1), np.fmax.reduce(values, axis=1)


def _draw(
    measurements: Measurements, channels: dict[str, ChannelFacts], envelopes: dict[str, Envelope], axis: _Axis
) -> Any:
    figure = Figure(figsize=(13, 1.2 + 1.8 * len(channels)), layout="constrained")
    panels = figure.subplots(len(channels), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (name, channel) in zip(panels, channels.items(), strict=True):
        panel.plot(*envelopes[name].line(), linewidth=0.8, marker="." if measurements.rows < 100 else "")
        panel.set_ylabel(_plain(f"{name} ({channel.unit})" if channel.unit else name))
        panel.grid(alpha=0.3)
        panel.margins(x=0.01)
    panels[-1].set_xlabel(axis.label)
    lost = sum(run.lost_rows for run in measurements.runs)
    title = f"{os.path.basename(measurements.path)} {measurements.stream}".rstrip()
    figure.suptitle(_plain(title + (f", {lost:,} rows lost" if lost else "")))
    return figure


def _plain(text: str) -> str:
    """Text that matplotlib does not take for a formula."""
    return text.replace("$", r"\$")


__all__ = ["COLUMNS", "PlotSummary", "plot"]
