"""The bookkeeping beside the measurements: runs with their cursors, losses, annotations."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.attributes import (
    MAX_ATTRIBUTE_BYTES,
    get_integer,
    get_text,
    set_attribute,
    set_attributes,
)
from mulletdaq.hdf5.messages import Note
from mulletdaq.hdf5.metadata import write_metadata
from mulletdaq.hdf5.naming import run_name
from mulletdaq.hdf5.storage import iso_time

with needs_extra("hdf5"):
    import h5py
    import numpy as np
    import pyarrow as pa

if TYPE_CHECKING:
    from mulletdaq.ring import Loss

DATA = "data"
"""Attribute of a run: the group of its datasets, if they grow."""

_TABLE_CHUNK_ROWS = 128
_NEWEST_NOTES = 1000
_TEXT_BYTES = 64
_TEXT_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Place:
    """How far a file has a ring: the next row, the frame that holds it, and where the rows came from."""

    row: int
    position: int
    sequence: int
    origin: str = ""


@dataclass
class Run:
    """One run of one stream: a group under ``runs`` whose attributes hold the cursor of the last commit.

    Attributes
    ----------
    number
        From 1, over all streams of the file.
    next_row, ring_position, ring_sequence
        Where the stream goes on after the last commit: its row, and the frame of the ring that holds it, -1 where the
        ring is on another computer.
    rows, lost_rows
        Rows in the file, rows lost; together ``next_row - first_row``.
    origin
        Address of the stream, if it is another computer's.
    data
        The group in which its datasets grow, which it may share with earlier runs; empty for one of batches.
    """

    group: Any
    number: int
    stream: str
    stream_id: int
    first_row: int
    next_row: int
    ring_position: int
    ring_sequence: int
    rows: int
    lost_rows: int
    origin: str = ""
    data: str = ""

    @property
    def place(self) -> Place:
        """How far it is."""
        return Place(self.next_row, self.ring_position, self.ring_sequence, self.origin)

    def store_cursor(self) -> None:
        """Put the cursor and the present time into the file; they count from the next commit on."""
        now_ns = time.time_ns()
        set_attributes(
            self.group,
            next_row=np.int64(self.next_row),
            ring_position=np.int64(self.ring_position),
            ring_sequence=np.int64(self.ring_sequence),
            rows=np.int64(self.rows),
            lost_rows=np.int64(self.lost_rows),
            end=iso_time(now_ns),
            end_ns=np.int64(now_ns),
        )


def load_run(group: Any) -> Run:
    """The run that a group under ``runs`` describes."""
    names = ("first_row", "next_row", "ring_position", "ring_sequence", "rows", "lost_rows")
    return Run(
        group=group,
        number=int(group.name.rpartition("_")[2]),
        stream=get_text(group, "stream"),
        stream_id=get_integer(group, "stream_id"),
        origin=get_text(group, "origin"),
        data=get_text(group, DATA),
        **{name: get_integer(group, name) for name in names},
    )


def schema_of(run: Run) -> Any:
    """The ``pyarrow.Schema`` of a run; None for opaque bytes."""
    if "schema" not in run.group:
        return None
    return pa.ipc.read_schema(pa.py_buffer(run.group["schema"][:].tobytes()))


def is_opaque(run: Run) -> bool:
    """Whether the run holds opaque bytes."""
    return get_text(run.group, "content") == "opaque"


def newest_runs(file: Any) -> dict[int, Run]:
    """The newest run of each ring there is, by stream id."""
    return Runs(file).newest()


class Runs:
    """The runs of an open file, in their order, read once: with hundreds of streams each asks for those of all.

    A run's counts are what its stream last wrote. After a failed commit these are of no use.

    Parameters
    ----------
    file
        The ``h5py.File``.
    """

    def __init__(self, file: Any) -> None:
        self._runs = [load_run(group) for group in file["runs"].values()]
        self._newest = {run.stream_id: run for run in self._runs}

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def __reversed__(self) -> Iterator[Run]:
        return reversed(self._runs)

    def find(self, stream_id: int) -> Run | None:
        """The newest run of the ring with this stream id, or None."""
        return self._newest.get(stream_id)

    def newest(self) -> dict[int, Run]:
        """The newest run of each ring there is, by stream id."""
        return dict(self._newest)

    @property
    def next_number(self) -> int:
        """The number that the next run gets."""
        return 1 + max((run.number for run in self._runs), default=0)

    def add(self, run: Run) -> None:
        """Take a run that was begun."""
        self._runs.append(run)
        self._newest[run.stream_id] = run


def begin_run(
    file: Any,
    stream: str,
    stream_id: int,
    *,
    number: int,
    schema: Any,
    start: Place,
    start_ns: int,
    metadata: Mapping[str, Any],
    attributes: Mapping[str, Any] | None = None,
) -> Run:
    """Make the next run's group.

    Parameters
    ----------
    number
        :attr:`Runs.next_number`.
    schema
        A ``pyarrow.Schema``, stored as Arrow IPC bytes and as text; None for opaque bytes.
    start
        Where the run begins.
    attributes
        More to say of it.
    """
    group = file["runs"].create_group(run_name(number))
    run = Run(
        group=group,
        number=number,
        stream=stream,
        stream_id=stream_id,
        first_row=start.row,
        next_row=start.row,
        ring_position=start.position,
        ring_sequence=start.sequence,
        rows=0,
        lost_rows=0,
        origin=start.origin,
        data=str((attributes or {}).get(DATA, "")),
    )
    set_attributes(
        group,
        stream=stream,
        stream_id=np.uint64(stream_id),
        content="opaque" if schema is None else "arrow",
        start=iso_time(start_ns),
        start_ns=np.int64(start_ns),
        host=socket.gethostname(),
        first_row=np.int64(run.first_row),
        **({"origin": run.origin} if run.origin else {}),
        **(attributes or {}),
    )
    if schema is not None:
        group.create_dataset("schema", data=np.frombuffer(schema.serialize(), np.uint8))
        set_attribute(group["schema"], "description", "Arrow schema as an IPC message")
        text = np.array([f"{field.name}: {field.type}".encode() for field in schema])
        if text.nbytes <= MAX_ATTRIBUTE_BYTES:
            set_attribute(group, "schema_text", [line.decode() for line in text.tolist()])
        else:
            group.create_dataset("schema_text", data=text)
    write_metadata(group, metadata)
    run.store_cursor()
    return run


class Table:
    """Datasets of one length that grow together in one group."""

    def __init__(self, group: Any, columns: Mapping[str, Any]) -> None:
        self._columns = {name: _growing_dataset(group, name, dtype) for name, dtype in columns.items()}
        self._rows = min(len(column) for column in self._columns.values())

    def append(self, rows: list[Mapping[str, Any]]) -> None:
        """Add rows; every row has every column."""
        end = self._rows + len(rows)
        for name, column in self._columns.items():
            column.resize((end,))
            column[self._rows :] = np.array([row[name] for row in rows], dtype=column.dtype)
        self._rows = end


class Losses:
    """The ledger of rows that the ring lost before they could be written."""

    def __init__(self, file: Any) -> None:
        numbers = dict.fromkeys(("run", "first_row", "rows", "first_sequence", "frames"), np.int64)
        self._table = Table(file["losses"], {**numbers, "cause": "S16", "timestamp_ns": np.int64})

    def append(self, run: int, losses: Iterable[Loss]) -> None:
        """Enter losses of one run."""
        self._table.append(
            [
                {
                    "run": run,
                    "first_row": loss.first_row,
                    "rows": loss.rows,
                    "first_sequence": loss.first_sequence,
                    "frames": loss.frames,
                    "cause": loss.cause.encode(),
                    "timestamp_ns": loss.timestamp_ns,
                }
                for loss in losses
            ]
        )


class Annotations:
    """Notes, one line for each stream whose row is known; run and row are 0 and -1 when none is.

    Their texts are of a fixed length, in a dataset that is made anew for a longer one, or the first beyond ASCII.
    Octave loads nothing of a file in which a dataset has texts of any length, or of UTF-8.
    """

    def __init__(self, file: Any) -> None:
        self._group = file.require_group("annotations")
        self._table = Table(self._group, dict.fromkeys(("timestamp_ns", "run", "row"), np.int64))
        if "text" not in self._group:
            self._make_texts(_TEXT_BYTES, "ascii", 0)

    def has(self, note: Note) -> bool:
        """Whether a note with this text and time is among the newest."""
        stamps = self._group["timestamp_ns"][-_NEWEST_NOTES:]
        texts = self._group["text"][-_NEWEST_NOTES:]
        return (note.timestamp_ns, _stored_text(note)) in zip(stamps.tolist(), texts, strict=True)

    def append(self, note: Note, runs: Mapping[str, int]) -> None:
        """Enter a note; ``runs`` gives each stream's run number."""
        rows = [(runs[stream], row) for stream, row in note.rows.items() if runs.get(stream)] or [(0, -1)]
        self._append_text(_stored_text(note), len(rows))
        self._table.append([{"timestamp_ns": note.timestamp_ns, "run": run, "row": row} for run, row in rows])

    def _append_text(self, text: bytes, count: int) -> None:
        texts = self._group["text"]
        before, kind = len(texts), h5py.check_string_dtype(texts.dtype)
        charset = kind.encoding if text.isascii() else "utf-8"
        if kind.length is not None and (len(text) > kind.length or charset != kind.encoding):
            found = texts[:]
            del self._group["text"]
            width = max(kind.length, 1 << max(len(text) - 1, 0).bit_length())
            texts = self._make_texts(width, charset, before)
            texts[:] = np.array(found.tolist(), dtype=texts.dtype)
        texts.resize((before + count,))
        texts[before:] = np.array([text] * count, dtype=texts.dtype)

    def _make_texts(self, width: int, charset: str, count: int) -> Any:
        rows = max(1, min(_TABLE_CHUNK_ROWS, _TEXT_CHUNK_BYTES // width))
        return self._group.create_dataset(
            "text",
            shape=(count,),
            maxshape=(None,),
            chunks=(rows,),
            dtype=h5py.string_dtype(charset, width),
            compression="gzip",
        )


def _stored_text(note: Note) -> bytes:
    """What reads back: what is no Unicode as its escapes, and no zeros at the end, which fixed-length texts drop."""
    return note.text.encode("utf-8", "backslashreplace").rstrip(b"\0")


def _growing_dataset(group: Any, name: str, dtype: Any) -> Any:
    if name in group:
        return group[name]
    return group.create_dataset(name, shape=(0,), maxshape=(None,), chunks=(_TABLE_CHUNK_ROWS,), dtype=dtype)


__all__ = [
    "Annotations",
    "Losses",
    "Place",
    "Run",
    "Runs",
    "Table",
    "begin_run",
    "is_opaque",
    "load_run",
    "newest_runs",
    "schema_of",
]
