"""Rows of a file for one client, also while the file is recorded."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from mulletdaq.errors import RequestError, StreamNotFoundError
from mulletdaq.extras import needs_extra
from mulletdaq.flight.live import Sent
from mulletdaq.flight.messages import encode
from mulletdaq.flight.plain import plain_type
from mulletdaq.flight.tickets import BatchFacts, RecordedTicket
from mulletdaq.hdf5.catalog import StreamRows, stream_rows
from mulletdaq.hdf5.columns import columns_of
from mulletdaq.hdf5.ledger import Run, is_opaque, schema_of
from mulletdaq.hdf5.reading import open_for_reading
from mulletdaq.hdf5.row_reading import Block, BlockBuilder, ChannelFacts, ColumnReader, MessageReader, Stretch

with needs_extra("flight"):
    import numpy as np
    import pyarrow as pa

_BLOCK_BYTES = 2 << 20
_BLOCKS_AT_ONCE = 4


@dataclass(frozen=True)
class _Found:
    """Where some rows lie, remembered while the file is closed."""

    stretch: Stretch
    group: str
    lost_rows: int


class RecordedRows:
    """The rows of one stream of a file, a few at a time.

    The file is open only while it is read, never while the client is waited for: its writer needs it too.

    Parameters
    ----------
    path
        The file.
    ticket
        What the client wants.

    Raises
    ------
    FileError
        If it cannot be read.
    StreamNotFoundError
        If it has no such stream.
    RequestError
        If its runs have different columns, and none was chosen.
    """

    def __init__(self, path: str, ticket: RecordedTicket) -> None:
        self._path = path
        with open_for_reading(path) as file:
            rows = _stream(stream_rows(file), ticket.stream)
            runs = _runs(rows, ticket.run)
            numbers = {run.number for run in runs}
            self._fields = _Fields(runs[-1])
            self._found = _places([stretch for stretch in rows.stretches() if stretch.run.number in numbers], runs)
        self._ends = list(accumulate(found.stretch.rows for found in self._found))
        total = self._ends[-1] if self._ends else 0
        self.rows = total
        self._row = min(ticket.start, total)
        self._stop = total if ticket.stop is None else min(ticket.stop, total)
        self._told = -1

    @property
    def schema(self) -> pa.Schema:
        """What is sent: fields of structs as columns of their own."""
        return self._fields.schema

    def batches(self) -> Iterator[Sent]:
        """Batches with their facts."""
        while self._row < self._stop:
            for block in self._read_some():
                batch = self._fields.batch(block)
                yield batch, encode(BatchFacts(first_row=self._row, lost_rows=self._lost_before(self._row)))
                self._row += block.rows

    def _lost_before(self, row: int) -> int:
        """Rows lost between the row before and this one."""
        index = bisect_right(self._ends, row)
        first = self._ends[index] - self._found[index].stretch.rows
        return self._found[index].lost_rows if first == row else 0

    def _read_some(self) -> list[Block]:
        with open_for_reading(self._path) as file:
            return _first_of(self._blocks(file), _BLOCKS_AT_ONCE)

    def _blocks(self, file: Any) -> Iterator[Block]:
        builder = BlockBuilder(_BLOCK_BYTES)
        for index in range(bisect_right(self._ends, self._row), len(self._found)):
            found = self._found[index]
            first = self._ends[index] - found.stretch.rows
            if first >= self._stop:
                break
            stretch = replace(found.stretch, group=file[found.group])
            skipped, wanted = max(0, self._row - first), min(stretch.rows, self._stop - first)
            yield from builder.add(self._fields.reader, stretch, skipped, wanted)
        yield from builder.finish()


def _first_of(blocks: Iterator[Block], count: int) -> list[Block]:
    """So many blocks; what comes after them is not read."""
    return [block for block, _ in zip(blocks, range(count), strict=False)]


def _stream(streams: Mapping[str, StreamRows], name: str) -> StreamRows:
    if name in streams:
        return streams[name]
    if not name and len(streams) == 1:
        return next(iter(streams.values()))
    there = ", ".join(filter(None, streams)) or "no named one"
    raise StreamNotFoundError(f"the file has no stream {name!r}; there is {there}")


def _runs(rows: StreamRows, number: int | None) -> list[Run]:
    runs = [run for run in rows.runs if number in (None, run.number)]
    if not runs:
        raise RequestError(f"run {number} is not one of {', '.join(str(run.number) for run in rows.runs)}")
    kinds = {b"" if is_opaque(run) else schema_of(run).serialize().to_pybytes() for run in runs}
    if len(kinds) > 1:
        numbers = ", ".join(str(run.number) for run in runs)
        raise RequestError(f"the runs {numbers} have different columns; choose one as run")
    return runs


def _places(stretches: list[Stretch], runs: list[Run]) -> list[_Found]:
    """Stretches without the open file, and how many rows are missing before each."""
    next_rows = {run.number: run.first_row for run in runs}
    found = []
    for stretch in stretches:
        lost = stretch.first_row - next_rows[stretch.run.number]
        next_rows[stretch.run.number] = stretch.first_row + stretch.rows
        found.append(_Found(replace(stretch, group=None), stretch.group.name, lost))
    return found


class _Fields:
    """What the arrays of a run become in Arrow."""

    def __init__(self, run: Run) -> None:
        opaque = is_opaque(run)
        own = pa.schema([]) if opaque else schema_of(run)
        self.reader: ColumnReader | MessageReader = MessageReader() if opaque else ColumnReader(columns_of(own))
        self.schema = pa.schema([_field(channel, own) for channel in self.reader.channels])

    def batch(self, block: Block) -> pa.RecordBatch:
        """A block as a batch."""
        columns = [_array(field, block.columns[field.name], block.valid.get(field.name)) for field in self.schema]
        return pa.record_batch(columns, schema=self.schema)


def _field(channel: ChannelFacts, own: pa.Schema) -> pa.Field:
    metadata = {"unit": channel.unit, "description": channel.description}
    metadata = {name: text for name, text in metadata.items() if text}
    if channel.dtype == object:
        type_ = pa.binary() if not len(own) else _stored_type(_leaf(own, channel.name))
    else:
        type_ = _number(channel)
    return pa.field(channel.name, type_, metadata=metadata or None)


def _number(channel: ChannelFacts) -> pa.DataType:
    value = pa.from_numpy_dtype(channel.dtype)
    if channel.shape:
        return pa.fixed_shape_tensor(value, channel.shape)
    try:
        declared = pa.type_for_alias(channel.arrow_type)
    except ValueError:
        return value
    fits = pa.types.is_boolean(declared) or (pa.types.is_temporal(declared) and declared.bit_width == value.bit_width)
    return declared if fits else value


def _leaf(own: pa.Schema, path: str) -> pa.DataType:
    name, *inner = path.split("/")
    type_ = own.field(name).type
    for name in inner:
        type_ = type_.field(name).type
    return type_


def _stored_type(type_: pa.DataType) -> pa.DataType:
    """What the file holds of a type: the values of dictionaries, runs and extensions."""
    if isinstance(type_, pa.BaseExtensionType):
        return _stored_type(type_.storage_type)
    if pa.types.is_run_end_encoded(type_):
        return _stored_type(type_.value_type)
    return plain_type(type_)


def _array(field: pa.Field, values: Any, valid: Any) -> pa.Array:
    if values.dtype == object:
        entries = [_as_python(value) for value in values]
        return pa.array(entries if valid is None else _masked(entries, valid), field.type)
    if isinstance(field.type, pa.FixedShapeTensorType):
        flat = pa.array(np.ascontiguousarray(values).reshape(-1), mask=None if valid is None else ~valid.reshape(-1))
        size = values[0].size if len(values) else int(np.prod(values.shape[1:]))
        storage = pa.FixedSizeListArray.from_arrays(flat, type=pa.list_(field.type.value_type, size))
        return pa.ExtensionArray.from_storage(field.type, storage)
    array = pa.array(values, mask=None if valid is None else ~valid)
    if pa.types.is_boolean(field.type):
        return array.cast(pa.bool_())
    return array if array.type == field.type else array.view(field.type)


def _masked(entries: list[Any], valid: Any) -> list[Any]:
    return [entry if there else None for entry, there in zip(entries, valid.tolist(), strict=True)]


def _as_python(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


__all__ = ["RecordedRows"]
