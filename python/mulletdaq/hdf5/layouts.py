"""How a stream's rows lie in the file: what every layout does, and the one with a group a batch."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mulletdaq.errors import SchemaError
from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.attributes import get_text, set_attributes
from mulletdaq.hdf5.columns import Column, write_part
from mulletdaq.hdf5.ledger import Run
from mulletdaq.hdf5.naming import BATCH_PREFIX, RAW_DATA, RAW_LENGTHS, batch_name, is_batch_name
from mulletdaq.hdf5.nexus import plot_by_default
from mulletdaq.hdf5.options import Filters
from mulletdaq.hdf5.parts import Part
from mulletdaq.hdf5.storage import make_ordered_group
from mulletdaq.schema import TIMESTAMP

with needs_extra("hdf5"):
    import h5py
    import numpy as np

_NEWEST = 64


@dataclass
class Batch:
    """Rows of one stream that follow one another without a gap, read from the ring and not yet written.

    Attributes
    ----------
    first_row, rows
        Absolute index of the first row, and how many there are.
    lost_rows
        Rows lost between the batch before and this one.
    ring_position
        Where in the ring the row after the last one starts.
    pieces
        ``pyarrow.RecordBatch``es, or ``(timestamp_ns, bytes)`` messages of an opaque ring.
    written_ns
        UTC and monotonic time at which it was written, if that is past.
    """

    first_row: int
    lost_rows: int
    rows: int = 0
    ring_position: int = 0
    pieces: list[Any] = field(default_factory=list)
    nbytes: int = 0
    written_ns: tuple[int, int] | None = None

    def times(self) -> tuple[int, int]:
        """UTC and monotonic time to give as those of writing, ns."""
        return self.written_ns or (time.time_ns(), time.monotonic_ns())

    def parts(self, columns: list[Column] | None) -> list[Part]:
        """What the rows become; ``columns`` is None for opaque bytes."""
        if columns is None:
            return _message_parts(self.pieces)
        pieces = [[piece.column(index) for piece in self.pieces] for index in range(len(columns))]
        return [part for column, own in zip(columns, pieces, strict=True) for part in column.parts(own)]


class Layout(ABC):
    """Where one stream's rows go."""

    @property
    @abstractmethod
    def batches(self) -> int:
        """How many batches of the stream there are, of all its runs."""

    @abstractmethod
    def append(self, run: Run, batch: Batch) -> None:
        """Write one batch.

        Raises
        ------
        OSError, RuntimeError
            Whatever HDF5 raises; the layout is of no use then, and is made anew when the file is opened again.
        """

    def rows_now(self, available: int) -> int:
        """How many of the rows that are there a commit should take; the others wait for the next."""
        return available


class BatchLayout(Layout):
    """One stream's batches: ``measurements/batch_000001`` and on, or under ``measurements/<stream>``.

    Parameters
    ----------
    file
        The open ``h5py.File``.
    stream
        Name of the stream; empty for a file's only one.
    columns
        Of the stream; None for opaque bytes.
    filters
        How the larger datasets are stored.
    """

    def __init__(self, file: Any, stream: str, columns: list[Column] | None, filters: Filters) -> None:
        self._file, self._stream = file, stream
        self._group = stream_group(file, stream)
        self._columns = columns
        self._linked = False
        self._filters = filters
        self._last_number = _last_number(self._group)

    @property
    def batches(self) -> int:
        """See :class:`Layout`."""
        return self._last_number

    def append(self, run: Run, batch: Batch) -> None:
        """See :class:`Layout`."""
        group = self._group.create_group(batch_name(self._last_number + 1))
        timestamp_ns, monotonic_ns = batch.times()
        set_attributes(
            group,
            ring_tail=np.int64(batch.ring_position),
            timestamp_ns=np.int64(timestamp_ns),
            monotonic_ns=np.int64(monotonic_ns),
            run=np.int64(run.number),
            first_row=np.int64(batch.first_row),
            rows=np.int64(batch.rows),
            lost_rows=np.int64(batch.lost_rows),
        )
        for part in batch.parts(self._columns):
            write_part(group, part, self._filters)
        plot_by_default(self._file, self._stream, group, plot_of(self._columns), linked=self._linked)
        self._linked = True
        self._last_number += 1


def stream_group(file: Any, stream: str) -> Any:
    """The group of a stream, made if it is missing.

    Raises
    ------
    SchemaError
        If a column of an unnamed stream has its place.
    """
    measurements = file["measurements"]
    if not stream:
        return measurements
    check_place(file, stream)
    return measurements[stream] if stream in measurements else make_ordered_group(measurements, stream)


def check_place(file: Any, stream: str) -> None:
    """Raise SchemaError if a column of an unnamed stream lies where a stream's group would."""
    measurements = file["measurements"]
    if stream in measurements and not _has_run(file, stream):
        raise SchemaError(f"stream {stream!r} cannot lie beside a column of that name; rename it, or use another file")


def _has_run(file: Any, stream: str) -> bool:
    return any(get_text(run, "stream") == stream for run in file["runs"].values())


def _message_parts(pieces: Sequence[tuple[int, bytes]]) -> list[Part]:
    stamps, messages = zip(*pieces, strict=True)
    lengths = np.array([len(message) for message in messages], np.uint64)
    text = f"bytes of each message in {RAW_DATA}"
    return [
        Part(RAW_DATA, "values", RAW_LENGTHS, np.frombuffer(b"".join(messages), np.uint8), {}),
        Part(RAW_LENGTHS, "values", "", lengths, {"description": text}),
        Part(TIMESTAMP, "values", "", np.array(stamps, np.int64), {"units": "ns"}),
    ]


def _last_number(group: Any) -> int:
    """The number of the newest batch, found from the end: a long run has 100,000 of them.

    In the index's own order: to go through it backwards HDF5 first makes a list of everything, in 0.3 s.
    """
    numbers = [0]

    def look(name: bytes) -> None:
        text = name.decode("utf-8", "replace")
        if is_batch_name(text):
            numbers.append(int(text.removeprefix(BATCH_PREFIX)))

    for first in (max(0, len(group) - _NEWEST), 0):
        group.id.links.iterate(look, idx_type=h5py.h5.INDEX_CRT_ORDER, order=h5py.h5.ITER_NATIVE, idx=first)
        if len(numbers) > 1 and batch_name(max(numbers) + 1) not in group:
            break
    return max(numbers)


def plot_of(columns: list[Column] | None) -> dict[str, str | list[str]]:
    """NXdata attributes: the first column of numbers over time; none where one of the two is missing."""
    if columns is None:
        return {"NX_class": "NXdata", "signal": RAW_DATA}
    plottable = {column.name: column for column in columns if column.plottable}
    stamps = plottable.pop(TIMESTAMP, None)
    signal = next(iter(plottable.values()), None)
    if signal is None or stamps is None or stamps.shape:
        return {}
    axes: str | list[str] = [TIMESTAMP, *("." for _ in signal.shape)] if signal.shape else TIMESTAMP
    return {"NX_class": "NXdata", "signal": signal.name, "axes": axes}


__all__ = ["Batch", "BatchLayout", "Layout", "check_place", "plot_of", "stream_group"]
