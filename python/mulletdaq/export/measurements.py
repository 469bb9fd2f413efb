"""Which rows of a recording are wanted, over all the files that it goes on in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from mulletdaq.errors import ChannelNotFoundError, FileFormatError, FileMissingError, MulletError
from mulletdaq.export.moments import Moment, span_of
from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.attributes import get_text
from mulletdaq.hdf5.catalog import Gap, StreamRows, is_opaque, schema_of, stream_rows
from mulletdaq.hdf5.chain import following_name
from mulletdaq.hdf5.journal.guard import undisturbed
from mulletdaq.hdf5.ledger import Run
from mulletdaq.hdf5.metadata import read_metadata
from mulletdaq.hdf5.reading import open_for_reading
from mulletdaq.hdf5.row_reading import Block, ChannelFacts
from mulletdaq.hdf5.storage import one_line
from mulletdaq.schema import TIMESTAMP

with needs_extra("hdf5"):
    import numpy as np

_FACTORS_NS = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}

OnProgress = Callable[[int, int], None]
"""Called now and then with the rows that are done, and all there are."""


@dataclass(frozen=True)
class RunFacts:
    """One run in one file.

    Attributes
    ----------
    number
        Of the run; the same in all files over which it goes on.
    stored_as
        Its number in this file.
    schema
        Its ``pyarrow.Schema``; None for opaque bytes.
    channels
        What is read of it.
    start, host
        When and where it began.
    """

    number: int
    stored_as: int
    schema: Any
    channels: tuple[ChannelFacts, ...]
    start: str
    host: str
    first_row: int
    rows: int
    lost_rows: int


@dataclass(frozen=True)
class FilePart:
    """One file, and the wanted runs in it."""

    path: str
    runs: tuple[RunFacts, ...]

    @property
    def rows(self) -> int:
        """Rows of these runs."""
        return sum(run.rows for run in self.runs)


@dataclass(frozen=True)
class Note:
    """One annotation: when it was made, at which row of which run, and what it says."""

    timestamp_ns: int
    run: int
    row: int
    text: str


@dataclass(frozen=True)
class Measurements:
    """Rows of one stream, found and not yet read.

    Attributes
    ----------
    path, stream
        First file, and name of the stream.
    parts
        The files.
    first, stop
        The wanted rows, counted over those of all parts.
    gaps, notes
        Of the wanted runs, whether or not they lie among these rows.
    origin
        ``creator``, ``start`` and ``host`` of the first file.
    metadata
        Of the first file.
    """

    path: str
    stream: str
    parts: tuple[FilePart, ...]
    first: int
    stop: int
    gaps: tuple[Gap, ...]
    notes: tuple[Note, ...]
    origin: dict[str, str]
    metadata: dict[str, Any]

    @property
    def rows(self) -> int:
        """How many rows are wanted."""
        return self.stop - self.first

    @property
    def runs(self) -> tuple[RunFacts, ...]:
        """The runs that have rows among them; one that goes on in another file is there twice."""
        spans, end = [], 0
        for run in (run for part in self.parts for run in part.runs):
            begin, end = end, end + run.rows
            if begin < self.stop and end > self.first:
                spans.append(run)
        return tuple(spans) or tuple(run for part in self.parts for run in part.runs)[-1:]

    @property
    def channels(self) -> tuple[ChannelFacts, ...]:
        """All channels of these runs, each as its newest run has it."""
        found: dict[str, ChannelFacts] = {}
        for run in self.runs:
            found |= {channel.name: channel for channel in run.channels}
        return tuple(found.values())

    @property
    def stamp_ns(self) -> int:
        """How many nanoseconds since 1970 a ``timestamp`` counts; 0 where there are none in each run."""
        factors = set()
        for run in self.runs:
            stamps = next((channel for channel in run.channels if channel.name == TIMESTAMP), None)
            is_time = stamps is not None and not stamps.shape and stamps.dtype == np.int64
            factors.add(_FACTORS_NS.get(stamps.unit or "ns", 0) if is_time and stamps is not None else 0)
        return factors.pop() if len(factors) == 1 else 0

    def files(self) -> Iterator[tuple[FilePart, StreamRows, int, int]]:
        """Each file, open, with what of its rows is wanted: from which to before which."""
        end = 0
        for part in self.parts:
            begin, end = end, end + part.rows
            start, stop = max(self.first, begin) - begin, min(self.stop, end) - begin
            if start < stop:
                with opened(part.path) as file:
                    yield part, _chosen(file, self.stream, part), start, stop

    def blocks(self, names: Sequence[str] | None, max_bytes: int, on_progress: OnProgress | None) -> Iterator[Block]:
        """The rows as :meth:`StreamRows.blocks` gives them, runs numbered over all files."""
        done = 0
        for part, rows, start, stop in self.files():
            numbers = {run.stored_as: run.number for run in part.runs}
            for block in quietly(rows.blocks(start, stop, names=names, max_bytes=max_bytes)):
                yield replace(block, run=numbers[block.run])
                done += block.rows
                if on_progress is not None:
                    on_progress(done, self.rows)


def find(
    path: str | os.PathLike[str],
    *,
    stream: str | None = None,
    run: int | None = None,
    start: Moment = None,
    stop: Moment = None,
    parts: bool = True,
) -> Measurements:
    """Find the rows that are wanted, without reading more than the times that are needed for that.

    Parameters
    ----------
    path
        A file of ours; the files that it goes on in follow.
    stream
        Its name; needed where there are several.
    run
        A run's number; all of them by default.
    start, stop
        From which row to before which, or from which time to before which; see :mod:`mulletdaq.export.moments`.
    parts
        False for this one file, whether it goes on in another or not.

    Raises
    ------
    FileMissingError, FileFormatError, FileLockedError
        If one of the files cannot be read.
    ChannelNotFoundError
        If there is no such stream or run.
    """
    name = os.fspath(path)
    with opened(name) as file:
        chosen = _stream_name(file, name, stream)
        origin = {key: get_text(file, key) for key in ("creator", "start", "host") if get_text(file, key)}
        metadata = read_metadata(file)
    found: list[FilePart] = []
    gaps: list[Gap] = []
    notes: list[Note] = []
    numbers: dict[int, int] = {}
    for one in _chain(name) if parts else [name]:
        with opened(one) as file:
            part, own_gaps, own_notes = _look(file, one, chosen, run, numbers)
            found.append(part)
            gaps += own_gaps
            notes += own_notes
    if not any(part.runs for part in found):
        raise ChannelNotFoundError(f"{name} has no run {run}; there are: {', '.join(map(str, numbers.values()))}")
    everything = sum(part.rows for part in found)
    all_rows = Measurements(name, chosen, tuple(found), 0, everything, tuple(gaps), tuple(notes), origin, metadata)
    first, end = span_of(start, stop, everything, lambda: stamps_of(all_rows))
    return replace(all_rows, first=first, stop=max(first, end))


@contextmanager
def opened(path: str) -> Iterator[Any]:
    """A file of ours, open; what is damaged in it is told as our error."""
    with open_for_reading(path) as file:
        try:
            yield file
        except (MulletError, GeneratorExit):
            raise
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the output, not of HDF5
            raise FileFormatError(f"{path} is damaged: {one_line(error)}; mullet verify says more") from error


def quietly(reads: Iterator[Any]) -> Iterator[Any]:
    """What an iterator reads, each step undisturbed: HDF5 may call into Python, where Ctrl-C would crash it."""
    while True:
        with undisturbed():
            value = next(reads, None)
        if value is None:
            return
        yield value


def pick(measurements: Measurements, channels: Sequence[str] | None) -> list[str] | None:
    """The names of what is to be read; None for all. A name stands for all that lies below it, too.

    Raises
    ------
    ChannelNotFoundError
        If there is no such channel; the message names the nearest ones.
    """
    if channels is None:
        return None
    there = [channel.name for channel in measurements.channels]
    picked: list[str] = []
    for name in [channels] if isinstance(channels, str) else channels:
        below = [one for one in there if one == name or one.startswith(f"{name}/")]
        if not below:
            near = get_close_matches(str(name), there, n=3, cutoff=0.5) or there
            raise ChannelNotFoundError(f"{measurements.path} has no channel {name!r}; there are: {_listed(near)}")
        picked += below
    stamps = [TIMESTAMP] if TIMESTAMP in there else []
    return list(dict.fromkeys([*stamps, *picked]))


def _listed(names: Sequence[str], most: int = 10) -> str:
    shown = ", ".join(map(repr, names[:most]))
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _stream_name(file: Any, path: str, wanted: str | None) -> str:
    names = list(stream_rows(file))
    if wanted is None and len(names) == 1:
        return str(names[0])
    if wanted in names:
        return str(wanted)
    if not names:
        raise FileFormatError(f"{path} holds no stream yet; nothing was recorded into it")
    problem = "has several streams, choose one with stream=" if wanted is None else f"has no stream {wanted!r}"
    raise ChannelNotFoundError(f"{path} {problem}; there are: {_listed(names)}")


def _chain(path: str) -> Iterator[str]:
    name: str | None = path
    while name is not None:
        yield name
        before, name = name, following_name(name)
        if name is not None and not os.path.exists(name):
            raise FileMissingError(f"{before} goes on in {name}, which is not there; bring it back, or set parts=False")


def _look(
    file: Any, path: str, stream: str, wanted: int | None, numbers: dict[int, int]
) -> tuple[FilePart, list[Gap], list[Note]]:
    rows = stream_rows(file).get(stream)
    if rows is None:
        return FilePart(path, ()), [], []
    for run in rows.runs:  # a run that goes on in another file has another number there
        if run.stream_id not in numbers:
            numbers[run.stream_id] = max([run.number - 1, *numbers.values()]) + 1 if numbers else run.number
    own = {run.number: numbers[run.stream_id] for run in rows.runs}
    chosen = {stored: number for stored, number in own.items() if wanted in (None, number)}
    facts = tuple(_facts(rows, run, chosen[run.number]) for run in rows.runs if run.number in chosen)
    gaps = [replace(gap, run=chosen[gap.run]) for gap in rows.gaps if gap.run in chosen]
    return FilePart(path, facts), gaps, list(_notes(file, chosen))


def _facts(rows: StreamRows, run: Run, number: int) -> RunFacts:
    return RunFacts(
        number=number,
        stored_as=run.number,
        schema=None if is_opaque(run) else schema_of(run),
        channels=rows.channels_of(run),
        start=get_text(run.group, "start"),
        host=get_text(run.group, "host"),
        first_row=run.first_row,
        rows=run.rows,
        lost_rows=run.lost_rows,
    )


def _notes(file: Any, numbers: dict[int, int]) -> Iterator[Note]:
    group = file.get("annotations", {})
    if "text" not in group:
        return
    columns = [group[name][:].tolist() for name in ("timestamp_ns", "run", "row", "text")]
    for stamp, run, row, text in zip(*columns, strict=True):
        if run in numbers or not run:
            yield Note(stamp, numbers.get(run, 0), row, text.decode("utf-8", "replace"))


def _chosen(file: Any, stream: str, part: FilePart) -> StreamRows:
    rows = stream_rows(file)[stream]
    wanted = {run.stored_as: run.rows for run in part.runs}
    runs = tuple(run for run in rows.runs if run.number in wanted)
    if any(run.rows < wanted[run.number] for run in runs):
        raise FileFormatError(f"{part.path} has lost rows since it was opened first; another program wrote it")
    return replace(rows, runs=runs)


def stamps_of(measurements: Measurements) -> Iterator[Any]:
    """The times of all rows, int64 nanoseconds since 1970, some at a time.

    Raises
    ------
    ChannelNotFoundError
        If there are none.
    """
    factor = measurements.stamp_ns
    if not factor:
        raise ChannelNotFoundError(f"{measurements.path} has no times to choose rows by; give start and stop as rows")
    for block in measurements.blocks([TIMESTAMP], 8 << 20, None):
        yield block.columns[TIMESTAMP] * factor


__all__ = [
    "FilePart",
    "Measurements",
    "Note",
    "OnProgress",
    "RunFacts",
    "find",
    "opened",
    "pick",
    "quietly",
    "stamps_of",
]
