"""Rows of a recording as Arrow record batches, a bounded number at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from mulletdaq.errors import SchemaMismatchError
from mulletdaq.export.measurements import Measurements, OnProgress, RunFacts, pick, quietly
from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.catalog import StreamRows, is_opaque, schema_of
from mulletdaq.hdf5.columns import Column, columns_of
from mulletdaq.hdf5.encoding import arrow_array, decoded_type
from mulletdaq.hdf5.naming import RAW_DATA
from mulletdaq.hdf5.row_reading import ColumnReader, MessageReader
from mulletdaq.hdf5.stored import read_entries
from mulletdaq.schema import TIMESTAMP, field_unit

with needs_extra("hdf5"):
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

RUN, ROW = "run", "row"
"""Columns that tell where a row lay; with ``_`` behind where a channel has that name."""

Losses = Literal["gap", "nan"]
"""Lost rows are left out, or are there and have no values."""

_STAMPS = pa.timestamp("ns", "UTC")
_MOST_LISTED = 1000
_NULL_ROWS = 1 << 16


class ArrowRows:
    """Rows as record batches of one schema, over all runs.

    Parameters
    ----------
    measurements
        Which rows.
    channels
        Which channels; all by default. ``timestamp`` always comes along, and of a struct all its fields.
    row_numbers
        Whether columns ``run`` and ``row`` come first.
    losses
        What becomes of lost rows.

    Attributes
    ----------
    schema
        The declared types, but for runs and views, which are plain; ``timestamp`` in UTC. Units and descriptions are
        metadata of the fields, all else that the file tells is JSON under ``mulletdaq`` in that of the schema.

    Raises
    ------
    ChannelNotFoundError
        If there is no such channel.
    SchemaMismatchError
        If a channel has another type in another run.
    """

    def __init__(
        self,
        measurements: Measurements,
        channels: Sequence[str] | None = None,
        *,
        row_numbers: bool = False,
        losses: Losses = "gap",
    ) -> None:
        self._measurements = measurements
        self._fill = losses == "nan"
        picked = pick(measurements, channels)
        self._names = None if picked is None else {name.partition("/")[0] for name in picked}
        fields = self._fields()
        self._leading = {free_name(name, fields): name for name in (RUN, ROW)} if row_numbers else {}
        fields = {name: pa.field(name, pa.int64(), nullable=False) for name in self._leading} | fields
        told = {b"mulletdaq": json.dumps(facts_of(measurements), default=_plain).encode()}
        self.schema = pa.schema(list(fields.values()), metadata=told)
        self._dictionaries = {
            field.name: _Dictionary(field.type) for field in self.schema if pa.types.is_dictionary(field.type)
        }

    def batches(self, max_bytes: int, on_progress: OnProgress | None = None) -> Iterator[Any]:
        """Read them, each batch about ``max_bytes`` of the file at most, or one row."""
        done = 0
        next_row: dict[int, int] = {}
        for part, rows, start, stop in self._measurements.files():
            runs = {run.stored_as: run for run in part.runs}
            for stored_as, first_row, columns in quietly(self._read(rows, start, stop, max_bytes)):
                run = runs[stored_as]
                count = len(next(iter(columns.values())))
                yield from self._missing(run, next_row.get(run.number), first_row)
                next_row[run.number] = first_row + count
                yield self._conformed(run.number, first_row, count, columns)
                done += count
                if on_progress is not None:
                    on_progress(done, self._measurements.rows)

    def _fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        types: dict[str, tuple[Any, int]] = {}
        runs = self._measurements.runs
        for run in runs:
            for field in run_schema(run):
                if self._names is not None and field.name not in self._names:
                    continue
                type_, number = types.setdefault(field.name, (field.type, run.number))
                if type_ != field.type:
                    raise SchemaMismatchError(
                        f"channel {field.name!r} is {type_} in run {number} and {field.type} in run {run.number}; "
                        "take one run at a time, with run="
                    )
                fields[field.name] = field.with_nullable(True) if self._fill else field
        for name in fields:
            if any(name not in run_schema(run).names for run in runs):
                fields[name] = fields[name].with_nullable(True)
        return fields

    def _read(self, rows: StreamRows, start: int, stop: int, max_bytes: int) -> Iterator[tuple[int, int, Any]]:
        readers: dict[int, _RunReader] = {}
        first = 0
        for stretch in rows.stretches():
            row, end = max(0, start - first), min(stretch.rows, stop - first)
            first += stretch.rows
            if row < end:
                number = stretch.run.number
                if number not in readers:
                    readers[number] = _RunReader(rows, stretch.run, self._names)
                reader = readers[number]
                while row < end:
                    count = reader.count(stretch.group, stretch.start + row, stretch.start + end, max_bytes)
                    columns = reader.read(stretch.group, stretch.start + row, stretch.start + row + count)
                    if not columns:
                        break
                    yield number, stretch.first_row + row, columns
                    row += count
            if first >= stop:
                break

    def _missing(self, run: RunFacts, expected: int | None, found: int) -> Iterator[Any]:
        """Rows without values for those that were lost."""
        if expected is None:
            expected = run.first_row if not self._measurements.first else found
        while self._fill and expected < found:
            count = min(found - expected, _NULL_ROWS)
            yield self._conformed(run.number, expected, count, {})
            expected += count

    def _conformed(self, run: int, first_row: int, count: int, columns: dict[str, Any]) -> Any:
        arrays = []
        for field in self.schema:
            if field.name in self._leading:
                is_run = self._leading[field.name] == RUN
                numbers = np.full(count, run) if is_run else np.arange(first_row, first_row + count)
                arrays.append(pa.array(numbers, pa.int64()))
            elif field.name not in columns:
                arrays.append(pa.nulls(count, field.type))
            elif field.name in self._dictionaries:
                arrays.append(self._dictionaries[field.name].encode(columns[field.name]))
            else:
                arrays.append(columns[field.name])
        return pa.record_batch(arrays, schema=self.schema)


class _RunReader:
    """Reads rows of one run as arrays of the types that :func:`run_schema` tells."""

    def __init__(self, rows: StreamRows, run: Any, names: set[str] | None) -> None:
        self._messages: MessageReader | None = MessageReader() if is_opaque(run) else None
        self._names = names
        self._columns: list[tuple[Column, Any]] = []
        if self._messages is None:
            schema = schema_of(run)
            self._columns = [
                (column, _value_type(field))
                for column, field in zip(columns_of(schema), schema, strict=True)
                if names is None or column.name in names
            ]
            self._sizes = ColumnReader([column for column, _ in self._columns])

    def count(self, group: Any, start: int, stop: int, max_bytes: int) -> int:
        """How many rows to read at once."""
        reader = self._messages or self._sizes
        return int(reader.stop_within(group, start, stop, max_bytes)[0] - start)

    def read(self, group: Any, start: int, stop: int) -> dict[str, Any]:
        """Arrow arrays by column."""
        if self._messages is None:
            return {
                column.name: arrow_array(type_, column.node, read_entries(group, column.node, start, stop))
                for column, type_ in self._columns
            }
        values, _ = self._messages.read(group, start, stop)
        arrays = {TIMESTAMP: pa.array(values[TIMESTAMP]).cast(_STAMPS), RAW_DATA: pa.array(values[RAW_DATA])}
        return {name: array for name, array in arrays.items() if self._names is None or name in self._names}


class _Dictionary:
    """Grows with what comes: a file of Arrow's can add to a dictionary, and not replace it."""

    def __init__(self, type_: Any) -> None:
        self._values = pa.array([], type_.value_type)

    def encode(self, array: Any) -> Any:
        """An array of values as indices."""
        encoded = array.dictionary_encode()
        found = encoded.dictionary
        new = found.filter(pc.invert(pc.is_in(found, value_set=self._values)))
        if len(new):
            self._values = pa.concat_arrays([self._values, new])
        places = pc.index_in(found, value_set=self._values)
        return pa.DictionaryArray.from_arrays(places.take(encoded.indices), self._values)


def free_name(name: str, taken: Iterable[str]) -> str:
    """The name, with ``_`` behind until nothing else has it."""
    taken = set(taken)
    while name in taken:
        name += "_"
    return name


def run_schema(run: RunFacts) -> Any:
    """The Arrow schema in which a run's rows come back."""
    if run.schema is None:
        return pa.schema([pa.field(TIMESTAMP, _STAMPS, nullable=False), pa.field(RAW_DATA, pa.binary())])
    return pa.schema([field.with_type(_column_type(field)) for field in run.schema])


def _column_type(field: Any) -> Any:
    value = _value_type(field)
    is_bytes = pa.types.is_large_binary(value) or pa.types.is_binary(value)
    if pa.types.is_dictionary(field.type) and (
        is_bytes or pa.types.is_string(value) or pa.types.is_large_string(value)
    ):
        return pa.dictionary(pa.int32(), value)
    return value


def _value_type(field: Any) -> Any:
    if field.name == TIMESTAMP and field.type == pa.int64() and field_unit(field) in ("", "ns"):
        return _STAMPS
    return decoded_type(field.type)


def facts_of(measurements: Measurements) -> dict[str, Any]:
    """What a file tells beside its rows, as JSON takes it; of gaps and notes no more than the first thousand."""
    runs = [
        {name: getattr(run, name) for name in ("number", "start", "host", "first_row", "rows", "lost_rows")}
        for run in measurements.runs
    ]
    numbers = {run.number for run in measurements.runs} | {0}
    gaps = [vars(gap) for gap in measurements.gaps if gap.run in numbers]
    notes = [vars(note) for note in measurements.notes if note.run in numbers]
    return {
        **measurements.origin,
        "stream": measurements.stream,
        "metadata": measurements.metadata,
        "runs": runs,
        "losses": gaps[:_MOST_LISTED],
        "annotations": notes[:_MOST_LISTED],
    }


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


__all__ = ["ROW", "RUN", "ArrowRows", "Losses", "facts_of", "free_name", "run_schema"]
