"""What is where in a file of ours, for those who read it.

:func:`stream_rows` is the way to the measurements: it reads both layouts alike. The rest tells how the file is made up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.attributes import get_integer, get_text
from mulletdaq.hdf5.batch_table import batch_rows
from mulletdaq.hdf5.columns import Column, columns_of
from mulletdaq.hdf5.ledger import Run, is_opaque, load_run, schema_of
from mulletdaq.hdf5.naming import BATCH_PREFIX, RAW_DATA, RAW_LENGTHS, is_batch_name, is_run_name
from mulletdaq.hdf5.row_reading import Block, BlockBuilder, ChannelFacts, ColumnReader, MessageReader, Stretch
from mulletdaq.schema import TIMESTAMP

with needs_extra("hdf5"):
    import h5py
    import numpy as np

BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class StreamBatches:
    """One stream's group and the names of its batches, in the order of their numbers."""

    name: str
    group: Any
    batches: tuple[str, ...]

    def __iter__(self) -> Iterator[Any]:
        return (self.group[name] for name in self.batches)


@dataclass(frozen=True)
class GrownData:
    """Datasets that grow: the stream's name, their group (None if it is not there), the runs that share them."""

    name: str
    path: str
    group: Any
    runs: tuple[Run, ...]

    @property
    def columns(self) -> list[Column] | None:
        """What they are stored as; None for opaque bytes."""
        run = self.runs[0]
        return None if is_opaque(run) else columns_of(schema_of(run), growing=True)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns in the group; it may hold other groups too."""
        columns = self.columns
        return (RAW_DATA, RAW_LENGTHS, TIMESTAMP) if columns is None else tuple(column.name for column in columns)


@dataclass(frozen=True)
class Gap:
    """Rows of a run that were lost before they could be written.

    Attributes
    ----------
    run, first_row, rows
        Which run, the absolute index of the first of them, and how many.
    cause
        ``"overwritten"`` or ``"corrupt"``.
    timestamp_ns
        When the loss was noticed, ns since the Unix epoch.
    """

    run: int
    first_row: int
    rows: int
    cause: str
    timestamp_ns: int


@dataclass(frozen=True)
class StreamRows:
    """One stream's rows over all its runs, in the order in which they were written, whatever the layout.

    Attributes
    ----------
    name
        The stream's name; empty for a file's only one.
    runs
        Its runs, in order. Each may have another schema.
    gaps
        What was lost, as the ledger has it.

    Notes
    -----
    To be used while the file is open, by one thread. Where something is damaged, reading raises what h5py raises.
    """

    name: str
    runs: tuple[Run, ...]
    gaps: tuple[Gap, ...]
    _file: Any

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(run.rows for run in self.runs)

    @property
    def lost_rows(self) -> int:
        """How many were lost."""
        return sum(run.lost_rows for run in self.runs)

    @property
    def channels(self) -> tuple[ChannelFacts, ...]:
        """The channels of the newest run, in the order of its schema."""
        return self.channels_of(self.runs[-1]) if self.runs else ()

    def channels_of(self, run: Run) -> tuple[ChannelFacts, ...]:
        """The channels of one run."""
        return _reader(run).channels

    def stretches(self) -> Iterator[Stretch]:
        """Where the rows lie; of a run with both layouts in its stream, batches come first. Reads no measurements."""
        own = {run.number: run for run in self.runs}
        yield from _joined(chain(self._batches(own), self._grown(own)))

    def blocks(
        self,
        start: int = 0,
        stop: int | None = None,
        *,
        names: Sequence[str] | None = None,
        max_bytes: int = BLOCK_BYTES,
    ) -> Iterator[Block]:
        """Read rows, a bounded number at a time.

        Parameters
        ----------
        start, stop
            From which row to before which, counted over all that are in the file, 0 to :attr:`rows`.
        names
            Which channels; all by default. A run that has none of them is passed over.
        max_bytes
            About how much of the file a block holds; one row at least.

        Yields
        ------
        Block
            Never over a gap or from two runs.
        """
        stop = self.rows if stop is None else min(stop, self.rows)
        readers: dict[int, ColumnReader | MessageReader] = {}
        first = 0
        builder = BlockBuilder(max_bytes)
        for stretch in self.stretches():
            skipped, wanted = max(0, start - first), min(stretch.rows, stop - first)
            first += stretch.rows
            if skipped < wanted:
                reader = readers.setdefault(stretch.run.number, _reader(stretch.run, names))
                yield from builder.add(reader, stretch, skipped, wanted)
            if first >= stop:
                break
        yield from builder.finish()

    def _batches(self, own: Mapping[int, Run]) -> Iterator[Stretch]:
        group = self._file["measurements"]
        group = group.get(self.name) if self.name else group
        if not isinstance(group, h5py.Group):
            return
        for batch in _stream(self.name, group):
            run = own.get(get_integer(batch, "run"))
            if run is not None:
                yield Stretch(run, get_integer(batch, "first_row"), get_integer(batch, "rows"), batch)

    def _grown(self, own: Mapping[int, Run]) -> Iterator[Stretch]:
        groups = {number: self._file[path] for number, run in own.items() if (path := run.data)}
        for row in batch_rows(self._file):
            if row.run in groups:
                yield Stretch(own[row.run], row.first_row, row.rows, groups[row.run], row.dataset_row)


def stream_rows(file: Any) -> dict[str, StreamRows]:
    """The streams of a file of ours by name, in the order in which they began; the way to read measurements.

    Parameters
    ----------
    file
        An open ``h5py.File``, as ``mullet.open`` or :func:`~mulletdaq.hdf5.reading.open_for_reading` gives it.

    Examples
    --------
    >>> with mullet.open("experiment_data.h5") as file:
    ...     for block in stream_rows(file)[""].blocks():
    ...         print(block.first_row, block.columns["voltage"].mean())
    """
    runs = runs_of(file)
    gaps = _gaps_of(file)
    names = dict.fromkeys(run.stream for run in runs.values())
    own = {name: tuple(run for run in runs.values() if run.stream == name) for name in names}
    return {
        name: StreamRows(name, own[name], tuple(gap for run in own[name] for gap in gaps.get(run.number, [])), file)
        for name in names
    }


def streams_of(file: Any) -> list[StreamBatches]:
    """The streams of a file that have batches: the unnamed one, then the named ones; one without where none has."""
    measurements = file["measurements"]
    runs = runs_of(file).values()
    named = {run.stream for run in runs if run.stream and not run.data}
    found = [_stream("", measurements)]
    for name in measurements:
        group = None if is_batch_name(name) or is_run_name(name) else measurements.get(name)
        if isinstance(group, h5py.Group) and (name in named or any(map(is_batch_name, group))):
            found.append(_stream(name, group))
    needed = len(found) == 1 and not any(run.data for run in runs)
    return found if found[0].batches or needed else found[1:]


def grown_of(file: Any) -> list[GrownData]:
    """The growing datasets of a file, in the order in which they began."""
    shared: dict[str, list[Run]] = {}
    for run in runs_of(file).values():
        if path := run.data:
            shared.setdefault(path, []).append(run)
    groups = {path: file.get(path) for path in shared}
    return [
        GrownData(runs[0].stream, path, groups[path] if isinstance(groups[path], h5py.Group) else None, tuple(runs))
        for path, runs in shared.items()
    ]


def runs_of(file: Any) -> dict[int, Run]:
    """The runs of a file by number."""
    runs = [load_run(group) for group in file["runs"].values()]
    return {run.number: run for run in runs}


def holds_stamps(batch: Any) -> bool:
    """Whether the batch's timestamps are what ours are: int64 nanoseconds, one a row."""
    stamps = batch.get(TIMESTAMP)
    if not isinstance(stamps, h5py.Dataset) or stamps.dtype != np.int64 or stamps.ndim != 1:
        return False
    return get_text(stamps, "units", "ns") == "ns"


def _stream(name: str, group: Any) -> StreamBatches:
    numbers = sorted(int(member.removeprefix(BATCH_PREFIX)) for member in group if is_batch_name(member))
    return StreamBatches(name, group, tuple(f"{BATCH_PREFIX}{number:06d}" for number in numbers))


def _reader(run: Run, names: Sequence[str] | None = None) -> ColumnReader | MessageReader:
    return MessageReader(names) if is_opaque(run) else ColumnReader(columns_of(schema_of(run)), names)


def _joined(stretches: Iterator[Stretch]) -> Iterator[Stretch]:
    """Stretches that go on where the one before ends, in the same datasets, as one."""
    last: Stretch | None = None
    for stretch in stretches:
        if last is not None and _goes_on(last, stretch):
            last = Stretch(last.run, last.first_row, last.rows + stretch.rows, last.group, last.start)
            continue
        if last is not None:
            yield last
        last = stretch
    if last is not None:
        yield last


def _goes_on(before: Stretch, after: Stretch) -> bool:
    return (
        before.group is after.group
        and before.run is after.run
        and before.first_row + before.rows == after.first_row
        and before.start + before.rows == after.start
    )


def _gaps_of(file: Any) -> dict[int, list[Gap]]:
    losses = file["losses"]
    if not len(losses):
        return {}
    names = ("run", "first_row", "rows", "cause", "timestamp_ns")
    gaps: dict[int, list[Gap]] = {}
    for run, first_row, rows, cause, timestamp_ns in zip(*(losses[name][:].tolist() for name in names), strict=True):
        gaps.setdefault(run, []).append(Gap(run, first_row, rows, cause.decode(), timestamp_ns))
    return gaps


__all__ = [
    "BLOCK_BYTES",
    "Block",
    "Gap",
    "GrownData",
    "StreamBatches",
    "StreamRows",
    "Stretch",
    "grown_of",
    "holds_stamps",
    "is_opaque",
    "runs_of",
    "schema_of",
    "stream_rows",
    "streams_of",
]
