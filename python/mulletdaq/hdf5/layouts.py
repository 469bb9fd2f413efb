"""How a stream's rows lie in the file: one group a batch."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.attributes import set_attribute, set_attributes
from mulletdaq.hdf5.columns import Column
from mulletdaq.hdf5.filters import write_dataset
from mulletdaq.hdf5.ledger import Run
from mulletdaq.hdf5.naming import BATCH_PREFIX, RAW_DATA, RAW_LENGTHS, batch_name, is_batch_name
from mulletdaq.hdf5.options import Filters
from mulletdaq.hdf5.storage import make_ordered_group
from mulletdaq.schema import TIMESTAMP

with needs_extra("hdf5"):
    import h5py
    import numpy as np


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
    """

    first_row: int
    lost_rows: int
    rows: int = 0
    ring_position: int = 0
    pieces: list[Any] = field(default_factory=list)
    nbytes: int = 0


class BatchLayout:
    """One stream's batches: ``measurements/batch_000001`` and on, or under ``measurements/<stream>``.

    Parameters
    ----------
    file
        The open ``h5py.File``.
    stream
        Name of the stream; empty for a file's only one.
    filters
        How the larger datasets are stored.
    """

    def __init__(self, file: Any, stream: str, filters: Filters) -> None:
        measurements = file["measurements"]
        if not stream:
            self._group = measurements
        elif stream in measurements:
            self._group = measurements[stream]
        else:
            self._group = make_ordered_group(measurements, stream)
        self._filters: Any = filters  # columns hand it on as it is
        self.last_number = _last_number(self._group)

    def append(self, run: Run, columns: list[Column] | None, batch: Batch) -> None:
        """Write one batch; ``columns`` is None for opaque bytes."""
        group = self._group.create_group(batch_name(self.last_number + 1))
        set_attributes(
            group,
            ring_tail=np.int64(batch.ring_position),
            timestamp_ns=np.int64(time.time_ns()),
            monotonic_ns=np.int64(time.monotonic_ns()),
            run=np.int64(run.number),
            first_row=np.int64(batch.first_row),
            rows=np.int64(batch.rows),
            lost_rows=np.int64(batch.lost_rows),
        )
        if columns is None:
            self._write_messages(group, batch)
        else:
            self._write_columns(group, columns, batch)
        self.last_number += 1

    def _write_columns(self, group: Any, columns: list[Column], batch: Batch) -> None:
        for index, column in enumerate(columns):
            column.write(group, [piece.column(index) for piece in batch.pieces], self._filters)
        values = [column for column in columns if column.name != TIMESTAMP]
        if values and len(values) < len(columns):
            axes: str | list[str] = [TIMESTAMP, *("." for _ in values[0].shape)] if values[0].shape else TIMESTAMP
            set_attributes(group, NX_class="NXdata", signal=values[0].name, axes=axes)

    def _write_messages(self, group: Any, batch: Batch) -> None:
        stamps, messages = zip(*batch.pieces, strict=True)
        joined = np.frombuffer(b"".join(messages), np.uint8)
        write_dataset(group, RAW_DATA, joined, self._filters)
        lengths = np.array([len(message) for message in messages], np.uint64)
        dataset = write_dataset(group, RAW_LENGTHS, lengths, self._filters)
        set_attribute(dataset, "description", f"bytes of each message in {RAW_DATA}")
        dataset = write_dataset(group, TIMESTAMP, np.array(stamps, np.int64), self._filters)
        set_attribute(dataset, "units", "ns")
        set_attributes(group, NX_class="NXdata", signal=RAW_DATA)


def _last_number(group: Any) -> int:
    """The number of the newest batch, found from the end: a long run has 100,000 of them."""
    newest = [0]

    def look(name: bytes) -> bool | None:
        text = name.decode("utf-8", "replace")
        if not is_batch_name(text):
            return None
        newest[0] = int(text.removeprefix(BATCH_PREFIX))
        return True  # enough

    group.id.links.iterate(look, idx_type=h5py.h5.INDEX_CRT_ORDER, order=h5py.h5.ITER_DEC)
    return newest[0]


__all__ = ["Batch", "BatchLayout"]
