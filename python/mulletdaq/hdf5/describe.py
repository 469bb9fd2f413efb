"""What a file holds, at a glance."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mulletdaq.errors import FileFormatError
from mulletdaq.hdf5.attributes import get_integer, get_text
from mulletdaq.hdf5.batch_table import count_batches
from mulletdaq.hdf5.catalog import GrownData, StreamBatches, grown_of, holds_stamps, runs_of, streams_of
from mulletdaq.hdf5.ledger import Run
from mulletdaq.hdf5.metadata import read_metadata
from mulletdaq.hdf5.reading import open_for_reading
from mulletdaq.hdf5.storage import iso_time, one_line
from mulletdaq.schema import TIMESTAMP

NOTES_SHOWN = 20
LONGEST_SHOWN = 200


@dataclass(frozen=True)
class ChannelDescription:
    """One dataset: path in a batch, unit, NumPy dtype, shape of one row, description.

    The path is the column's name, or for structs and lists goes on below it: ``position/x``, ``peaks/values``.
    """

    name: str
    unit: str
    dtype: str
    shape: tuple[int, ...]
    description: str


@dataclass(frozen=True)
class RunDescription:
    """One run: its number and stream, when and where it began, its rows, when the last came, and its own metadata."""

    number: int
    stream: str
    start: str
    host: str
    rows: int
    lost_rows: int
    end: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class NoteDescription:
    """A note: its time, its text, and the run and row at which it was made; 0 and -1 before any."""

    timestamp_ns: int
    text: str
    run: int
    row: int


@dataclass(frozen=True)
class StreamDescription:
    """One stream over all its runs; ``first_ns`` and ``last_ns`` are None without rows or a timestamp column."""

    name: str
    batches: int
    rows: int
    lost_rows: int
    channels: tuple[ChannelDescription, ...]
    first_ns: int | None
    last_ns: int | None


@dataclass(frozen=True)
class FileDescription:
    """A file: size, origin, metadata, streams, runs, number of annotations and the newest of them.

    ``end`` is the time of the last commit; ``ended`` says that it was that of an end in good order.
    """

    path: str
    size_bytes: int
    format_version: int
    creator: str
    start: str
    metadata: dict[str, Any]
    streams: tuple[StreamDescription, ...]
    runs: tuple[RunDescription, ...]
    annotations: int
    notes: tuple[NoteDescription, ...]
    end: str
    ended: bool

    def lines(self) -> list[str]:
        """The description, ready to print."""
        return list(_lines(self))


def describe(path: str | os.PathLike[str]) -> FileDescription:
    """Describe a file of ours without reading its measurements.

    Raises
    ------
    FileMissingError, FileFormatError, FileVersionError, FileLockedError
        If it is not there, damaged or not one of ours, too new, or being written.
    """
    name = os.fspath(path)
    with open_for_reading(name) as file:
        try:
            return _describe(name, file)
        except Exception as error:  # a damaged file can make h5py raise anything
            raise FileFormatError(f"{name} is damaged: {one_line(error)}; mullet verify says more") from error


def _describe(path: str, file: Any) -> FileDescription:
    runs = runs_of(file)
    notes = file.get("annotations/timestamp_ns")
    return FileDescription(
        path=path,
        size_bytes=os.stat(path).st_size,
        format_version=get_integer(file, "format_version"),
        creator=get_text(file, "creator"),
        start=get_text(file, "start"),
        metadata=_plain(read_metadata(file)),
        streams=tuple(_describe_streams(file, runs)),
        runs=tuple(_describe_run(run) for run in runs.values()),
        annotations=0 if notes is None else len(notes),
        notes=tuple(_newest_notes(file)),
        end=get_text(file, "end"),
        ended=bool(get_integer(file, "ended")),
    )


def _plain(value: Any) -> Any:
    """Metadata as plain Python values, which JSON takes."""
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


def _describe_run(run: Run) -> RunDescription:
    start, host = get_text(run.group, "start"), get_text(run.group, "host")
    end, metadata = get_text(run.group, "end"), _plain(read_metadata(run.group))
    return RunDescription(run.number, run.stream, start, host, run.rows, run.lost_rows, end, metadata)


def _newest_notes(file: Any) -> Iterator[NoteDescription]:
    if "annotations/timestamp_ns" in file:
        columns = [file["annotations"][name][-NOTES_SHOWN:] for name in ("timestamp_ns", "text", "run", "row")]
        for stamp, text, run, row in zip(*(column.tolist() for column in columns), strict=True):
            yield NoteDescription(stamp, text.decode("utf-8", "replace"), run, row)


def _describe_streams(file: Any, runs: dict[int, Run]) -> Iterator[StreamDescription]:
    """Each stream once, though some of its runs may be batches and others datasets that grow."""
    batches = {stream.name: stream for stream in streams_of(file)}
    grown: dict[str, list[GrownData]] = {}
    for data in grown_of(file):
        grown.setdefault(data.name, []).append(data)
    for name in dict.fromkeys([*batches, *grown]):
        own = [run for run in runs.values() if run.stream == name]
        count = count_batches(file, {run.number for run in own})
        members = [*_members(batches.get(name))] + [(data.group, data.names) for data in grown.get(name, [])]
        yield _describe_stream(name, own, count + len(batches[name].batches if name in batches else ()), members)


def _members(stream: StreamBatches | None) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """The first batch and the last, with the names of what is in them."""
    if stream is not None and stream.batches:
        for name in (stream.batches[0], stream.batches[-1]):
            yield stream.group[name], tuple(stream.group[name])


def _describe_stream(
    name: str, runs: list[Run], batches: int, members: list[tuple[Any, tuple[str, ...]]]
) -> StreamDescription:
    first_ns = last_ns = None
    channels: tuple[ChannelDescription, ...] = ()
    members = [(group, names) for group, names in members if any(one in group for one in names)]
    if members:
        first, last = members[0][0], members[-1][0]
        channels = tuple(_describe_channel(path, dataset) for path, dataset in _channels(*members[-1]))
        if holds_stamps(first) and holds_stamps(last):
            first_ns, last_ns = int(first[TIMESTAMP][0]), int(last[TIMESTAMP][-1])
    return StreamDescription(
        name=name,
        batches=batches,
        rows=sum(run.rows for run in runs),
        lost_rows=sum(run.lost_rows for run in runs),
        channels=channels,
        first_ns=first_ns,
        last_ns=last_ns,
    )


def _channels(group: Any, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """The datasets of a batch, in its subgroups too, by path; masks and offsets belong to them and are left out."""
    members = {name: group[name] for name in names if name in group}
    helpers = {get_text(member, role) for member in members.values() for role in ("valid", "offsets")}
    for name, member in members.items():
        if name in helpers:
            continue
        if hasattr(member, "keys"):
            yield from ((f"{name}/{path}", dataset) for path, dataset in _channels(member, member))
        else:
            yield name, member


def _describe_channel(path: str, dataset: Any) -> ChannelDescription:
    unit, description = get_text(dataset, "units"), get_text(dataset, "description")
    dtype = dataset.dtype.str.lstrip("|") if dataset.dtype.kind == "S" else dataset.dtype.name
    return ChannelDescription(path, unit, dtype, dataset.shape[1:], description)


def _lines(file: FileDescription) -> Iterator[str]:
    yield f"{file.path}: {file.size_bytes:,} bytes, format version {file.format_version}, by {file.creator}"
    yield f"started {file.start}, {len(file.runs)} runs, {file.annotations} annotations"
    if file.end:
        yield f"{'ended' if file.ended else 'not ended in good order; last written'} {file.end}"
    yield from _metadata_lines(file.metadata)
    for stream in file.streams:
        counts = f"{stream.rows:,} rows in {stream.batches:,} batches, {stream.lost_rows:,} lost"
        yield f"stream {stream.name or '(unnamed)'}: {counts}"
        if stream.first_ns is not None and stream.last_ns is not None:
            span_s = (stream.last_ns - stream.first_ns) / 1e9
            yield f"  {iso_time(stream.first_ns)} to {iso_time(stream.last_ns)} ({span_s:,.3f} s)"
        for channel in stream.channels:
            shape = f" {channel.shape}" if channel.shape else ""
            unit = f" [{channel.unit}]" if channel.unit else ""
            yield f"  {channel.name}{unit} {channel.dtype}{shape} {channel.description}".rstrip()
    for run in file.runs:
        yield f"run {run.number}: {run.stream or '(unnamed)'} on {run.host} since {run.start}: {run.rows:,} rows"
        yield from _metadata_lines(run.metadata)
    if file.annotations > len(file.notes):
        yield f"... {file.annotations - len(file.notes)} earlier notes, not listed ..."
    for note in file.notes:
        place = f", run {note.run}, row {note.row}" if note.run else ""
        yield f"note {iso_time(note.timestamp_ns)}{place}: {note.text}"


def _metadata_lines(metadata: dict[str, Any], where: str = "") -> Iterator[str]:
    for key, value in metadata.items():
        if isinstance(value, dict):
            yield from _metadata_lines(value, f"{where}{key}/")
        else:
            text = " ".join(str(value).split())
            yield f"  {where}{key}: {text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + '…'}"


__all__ = ["ChannelDescription", "FileDescription", "RunDescription", "StreamDescription", "describe"]
