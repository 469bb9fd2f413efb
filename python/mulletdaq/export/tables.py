"""Recordings as Parquet, Arrow and CSV files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mulletdaq.errors import UnsupportedTypeError
from mulletdaq.export.arrow_rows import ArrowRows, Losses
from mulletdaq.export.finished import finished
from mulletdaq.export.measurements import OnProgress, find
from mulletdaq.export.moments import Moment
from mulletdaq.extras import needs_extra

with needs_extra("hdf5"):
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

READ_BYTES = 8 << 20
GROUP_BYTES = 32 << 20
"""What is read at once, and what is written at once: together they bound the memory."""


@dataclass(frozen=True)
class ExportSummary:
    """What was written.

    Attributes
    ----------
    path
        The output.
    rows, columns, size_bytes
        How much is in it.
    lost_rows
        How many rows of the recording were lost; they are left out, or without values.
    left_out
        What of the recording this kind of file cannot hold.
    """

    path: str
    rows: int
    columns: int
    size_bytes: int
    lost_rows: int
    left_out: str


def export(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    channels: Sequence[str] | None = None,
    start: Moment = None,
    stop: Moment = None,
    stream: str | None = None,
    run: int | None = None,
    parts: bool = True,
    row_numbers: bool = False,
    losses: Losses = "gap",
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> ExportSummary:
    """Write a recording's rows into a Parquet, Arrow or CSV file, which appears when it is complete.

    Memory is bounded whatever the size: some 32 MiB of rows are held at a time.

    Parameters
    ----------
    path
        The recording; it may be under way.
    output
        Ends in ``.parquet``, ``.arrow`` (Arrow's file format, also called Feather) or ``.csv``.
    channels, start, stop, stream, run, parts, losses
        As for :func:`mulletdaq.load`.
    row_numbers
        Whether columns ``run`` and ``row`` come first, in which what was lost shows as a gap.
    force
        Replace the output if it is there.
    on_progress
        Called with rows done and rows to do.

    Raises
    ------
    ValueError
        If the output's ending is none of these.
    OutputExistsError
        If the output is there.
    UnsupportedTypeError
        If the kind of file has no place for a channel; the message names it.
    FileWriteError
        If the output cannot be written.
    FileError, ChannelNotFoundError, SchemaMismatchError
        As for :func:`mulletdaq.load`.
    """
    kind = kind_of(output)
    with finished(output, force=force) as unfinished:
        measurements = find(path, stream=stream, run=run, start=start, stop=stop, parts=parts)
        rows = ArrowRows(measurements, channels, row_numbers=row_numbers, losses=losses)
        schema = kind.schema(rows.schema)
        written = 0
        with kind.open(unfinished, schema) as writer:
            for table in _grouped(rows.batches(READ_BYTES, on_progress), rows.schema):
                writer.write_table(table if schema == rows.schema else table.cast(schema))
                written += table.num_rows
        size_bytes = unfinished.stat().st_size
    lost_rows = sum(one.lost_rows for one in measurements.runs)
    return ExportSummary(os.fspath(output), written, len(schema), size_bytes, lost_rows, kind.left_out)


@dataclass(frozen=True)
class Kind:
    """One kind of output: how to open it, what becomes of a schema, what it cannot hold."""

    open: Callable[[Path, Any], AbstractContextManager[Any]]
    schema: Callable[[Any], Any]
    left_out: str = ""


def kind_of(output: str | os.PathLike[str]) -> Kind:
    """By the ending of its name.

    Raises
    ------
    ValueError
        If it is not known.
    """
    ending = Path(output).suffix.lower()
    if ending not in KINDS:
        raise ValueError(f"{os.fspath(output)} ends in {ending or 'nothing'!r}; give it one of {', '.join(KINDS)}")
    return KINDS[ending]


def _grouped(batches: Iterator[Any], schema: Any) -> Iterator[Any]:
    """Batches together as tables that are worth a row group each; batches may be as small as a row."""
    waiting: list[Any] = []
    size = 0
    for batch in batches:
        waiting.append(batch)
        size += batch.nbytes
        if size >= GROUP_BYTES:
            yield pa.Table.from_batches(waiting, schema).combine_chunks()
            waiting, size = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting, schema).combine_chunks()


def _open_parquet(path: Path, schema: Any) -> AbstractContextManager[Any]:
    return closing(pyarrow.parquet.ParquetWriter(path, schema, compression="zstd"))


def _open_arrow(path: Path, schema: Any) -> AbstractContextManager[Any]:
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    return closing(pa.ipc.new_file(str(path), schema, options=options))


def _open_csv(path: Path, schema: Any) -> AbstractContextManager[Any]:
    return closing(pyarrow.csv.CSVWriter(path, schema))


def _as_it_is(schema: Any) -> Any:
    return schema


def _parquet_schema(schema: Any) -> Any:
    """The schema as it is: Parquet holds all but decimals that count tens.

    Raises
    ------
    UnsupportedTypeError
        If there are some; the message names the columns.
    """
    refused = [f"{field.name!r} ({field.type})" for field in schema if any(map(_counts_tens, _within(field.type)))]
    if refused:
        raise UnsupportedTypeError(f"Parquet has no place for {', '.join(refused)}; choose others, or write .arrow")
    return schema


def _within(type_: Any) -> Iterator[Any]:
    """A type, and all that it is made of."""
    yield type_
    if isinstance(type_, pa.BaseExtensionType):
        yield from _within(type_.storage_type)
    elif pa.types.is_dictionary(type_):
        yield from _within(type_.value_type)
    else:
        for index in range(type_.num_fields):
            yield from _within(type_.field(index).type)


def _counts_tens(type_: Any) -> bool:
    return bool(pa.types.is_decimal(type_) and type_.scale < 0)


def _csv_schema(schema: Any) -> Any:
    """Types that CSV has a text for.

    Raises
    ------
    UnsupportedTypeError
        If there is none for some; the message names the columns.
    """
    fields = [(field, _csv_type(field.type)) for field in schema]
    refused = [f"{field.name!r} ({field.type})" for field, type_ in fields if type_ is None]
    if refused:
        raise UnsupportedTypeError(
            f"CSV has no place for {', '.join(refused)}; choose other channels, or write .parquet or .arrow"
        )
    return pa.schema([pa.field(field.name, type_) for field, type_ in fields])


def _csv_type(type_: Any) -> Any:
    if isinstance(type_, pa.Bool8Type):
        return pa.bool_()
    if isinstance(type_, pa.BaseExtensionType):
        return _csv_type(type_.storage_type)
    if pa.types.is_dictionary(type_):
        return _csv_type(type_.value_type)
    if pa.types.is_duration(type_):
        return pa.int64()
    if pa.types.is_float16(type_):
        return pa.float32()
    if pa.types.is_nested(type_) or "binary" in str(type_):
        return None
    return type_


KINDS = {
    ".parquet": Kind(_open_parquet, _parquet_schema),
    ".arrow": Kind(_open_arrow, _as_it_is),
    ".csv": Kind(_open_csv, _csv_schema, "units, descriptions, metadata, notes and types"),
}

__all__ = ["KINDS", "ExportSummary", "export", "kind_of"]
