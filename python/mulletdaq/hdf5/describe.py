"""What a file holds, at a glance."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mulletdaq.errors import FileFormatError
from mulletdaq.hdf5.attributes import get_integer, get_text, read_metadata
from mulletdaq.hdf5.catalog import StreamBatches, runs_of, streams_of
from mulletdaq.hdf5.ledger import Run
from mulletdaq.hdf5.reading import open_for_reading
from mulletdaq.hdf5.storage import iso_time, one_line
from mulletdaq.schema import TIMESTAMP


@dataclass(frozen=True)
class ChannelDescription:
    """One column: name, unit, NumPy dtype in the file, shape of one row, description."""

    name: str
    unit: str
    dtype: str
    shape: tuple[int, ...]
    description: str


@dataclass(frozen=True)
class RunDescription:
    """One run: its number and stream, when and where it began, and its rows."""

    number: int
    stream: str
    start: str
    host: str
    rows: int
    lost_rows: int


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
    """A file: size, origin, metadata, streams, runs, number of annotations."""

    path: str
    size_bytes: int
    format_version: int
    creator: str
    start: str
    metadata: dict[str, Any]
    streams: tuple[StreamDescription, ...]
    runs: tuple[RunDescription, ...]
    annotations: int

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
        streams=tuple(_describe_stream(stream, runs) for stream in streams_of(file)),
        runs=tuple(_describe_run(run) for run in runs.values()),
        annotations=0 if notes is None else len(notes),
    )


def _plain(value: Any) -> Any:
    """Metadata as plain Python values, which JSON takes."""
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


def _describe_run(run: Run) -> RunDescription:
    start, host = get_text(run.group, "start"), get_text(run.group, "host")
    return RunDescription(run.number, run.stream, start, host, run.rows, run.lost_rows)


def _describe_stream(stream: StreamBatches, runs: dict[int, Run]) -> StreamDescription:
    own = [run for run in runs.values() if run.stream == stream.name]
    first_ns = last_ns = None
    channels: tuple[ChannelDescription, ...] = ()
    if stream.batches:
        first, last = stream.group[stream.batches[0]], stream.group[stream.batches[-1]]
        channels = tuple(_describe_channel(name, dataset) for name, dataset in last.items())
        if TIMESTAMP in first and TIMESTAMP in last:
            first_ns, last_ns = int(first[TIMESTAMP][0]), int(last[TIMESTAMP][-1])
    return StreamDescription(
        name=stream.name,
        batches=len(stream.batches),
        rows=sum(run.rows for run in own),
        lost_rows=sum(run.lost_rows for run in own),
        channels=channels,
        first_ns=first_ns,
        last_ns=last_ns,
    )


def _describe_channel(name: str, dataset: Any) -> ChannelDescription:
    unit, description = get_text(dataset, "units"), get_text(dataset, "description")
    return ChannelDescription(name, unit, dataset.dtype.name, dataset.shape[1:], description)


def _lines(file: FileDescription) -> Iterator[str]:
    yield f"{file.path}: {file.size_bytes:,} bytes, format version {file.format_version}, by {file.creator}"
    yield f"started {file.start}, {len(file.runs)} runs, {file.annotations} annotations"
    for key, value in file.metadata.items():
        yield f"  {key}: {value}"
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


__all__ = ["ChannelDescription", "FileDescription", "RunDescription", "StreamDescription", "describe"]
