"""Rows of a ring as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mulletdaq.schema import TIMESTAMP, field_unit

if TYPE_CHECKING:
    import pyarrow as pa

_TIME_WIDTH = 30
_CELL_WIDTH = 12
_SHOWN_BYTES = 16
_SHOWN_VALUES = 4


def heading(schema: pa.Schema) -> str:
    """The columns' names and units, as wide as the rows below."""
    names = [_name(field) for field in schema]
    return "  ".join(f"{name:>{width}}" for name, width in zip(names, _widths(schema), strict=True))


def batch_lines(batch: pa.RecordBatch) -> Iterator[str]:
    """One line a row."""
    widths = _widths(batch.schema)
    columns = [_cells(field.name, column) for field, column in zip(batch.schema, batch.columns, strict=True)]
    for row in zip(*columns, strict=True):
        yield "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))


def message_line(message: bytes, timestamp_ns: int) -> str:
    """One opaque message: when, how long, and its first bytes."""
    shown = message[:_SHOWN_BYTES].hex(" ")
    more = " …" if len(message) > _SHOWN_BYTES else ""
    return f"{utc(timestamp_ns)}  {len(message):>8} B  {shown}{more}"


def utc(timestamp_ns: int) -> str:
    """Nanoseconds since 1970 as a date and time, all nine digits kept."""
    seconds, nanoseconds = divmod(timestamp_ns, 1_000_000_000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{timestamp_ns} ns"
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def _name(field: pa.Field) -> str:
    unit = field_unit(field)
    return field.name if field.name == TIMESTAMP or not unit else f"{field.name} [{unit}]"


def _widths(schema: pa.Schema) -> list[int]:
    return [_TIME_WIDTH if field.name == TIMESTAMP else max(_CELL_WIDTH, len(_name(field))) for field in schema]


def _cells(name: str, column: Any) -> list[str]:
    values = getattr(column, "storage", column).to_pylist()
    if name == TIMESTAMP:
        return [utc(value) if isinstance(value, int) else str(value) for value in values]
    return [_cell(value) for value in values]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        shown = " ".join(_cell(entry) for entry in value[:_SHOWN_VALUES])
        return f"[{shown} … {len(value)} values]" if len(value) > _SHOWN_VALUES else f"[{shown}]"
    if isinstance(value, bytes):
        return value[:_SHOWN_BYTES].hex(" ")
    return str(value)


__all__ = ["batch_lines", "heading", "message_line", "utc"]
