"""Rows of a recording as an ``xarray.Dataset``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mulletdaq.errors import SchemaMismatchError
from mulletdaq.export.arrow_rows import ROW, RUN, Losses, free_name
from mulletdaq.export.measurements import Measurements, pick
from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.row_reading import Block, ChannelFacts
from mulletdaq.schema import TIMESTAMP

with needs_extra("hdf5"):
    import numpy as np
with needs_extra("xarray"):
    import xarray as xr

_READ_BYTES = 16 << 20
_EXACT_IN_FLOAT = 1 << 53
_UNITS = {"s": "s", "ms": "ms", "us": "us", "ns": "ns", "d": "s"}  # xarray has no days
_DAY_S = 86_400


@dataclass(frozen=True)
class _Piece:
    """Some rows of a channel: values and mask, or neither where it has none."""

    rows: int
    values: Any = None
    valid: Any = None


def dataset_of(measurements: Measurements, channels: Sequence[str] | None, losses: Losses) -> Any:
    """Read rows into a Dataset; parameters and errors are those of :func:`mulletdaq.load`."""
    picked = pick(measurements, channels)
    facts = {one.name: one for one in measurements.channels if picked is None or one.name in picked}
    _check_alike(measurements, facts)
    numbers, pieces = _read(measurements, facts, losses)
    row = free_name(ROW, facts)
    variables = {}
    for name, channel in facts.items():
        values = _joined(channel, pieces.pop(name))
        axes = [free_name(f"{name}_{axis}", facts) for axis in range(1, values.ndim)]
        # fastpath: pandas would make NaN of a text that is None
        variables[name] = xr.Variable((row, *axes), values, _attributes(channel, values), fastpath=True)
    coordinates: dict[str, Any] = {row: (row, _flat([rows for _, rows in numbers]))}
    if TIMESTAMP in variables:
        coordinates[TIMESTAMP] = variables.pop(TIMESTAMP)
    if len({run for run, _ in numbers}) > 1:
        runs = [np.full(len(rows), run) for run, rows in numbers]
        coordinates[free_name(RUN, facts)] = (row, _flat(runs))
    return xr.Dataset(variables, coordinates, _told(measurements))


def _check_alike(measurements: Measurements, facts: Mapping[str, ChannelFacts]) -> None:
    for run in measurements.runs:
        for channel in run.channels:
            known = facts.get(channel.name)
            if known is not None and _kind(known) != _kind(channel):
                raise SchemaMismatchError(
                    f"channel {channel.name!r} is {_kind(channel)} in run {run.number} and {_kind(known)} later; "
                    "take one run at a time, with run="
                )


def _kind(channel: ChannelFacts) -> str:
    unit = f" in {channel.unit}" if _is_time(channel) else ""
    shape = f" {channel.shape}" if channel.shape else ""
    return f"{channel.arrow_type or channel.dtype}{shape}{unit}"


def _read(
    measurements: Measurements, facts: Mapping[str, ChannelFacts], losses: Losses
) -> tuple[list[tuple[int, Any]], dict[str, list[_Piece]]]:
    numbers: list[tuple[int, Any]] = []
    pieces: dict[str, list[_Piece]] = {name: [] for name in facts}
    for block in _filled(measurements, list(facts), losses):
        numbers.append((block.run, np.arange(block.first_row, block.first_row + block.rows)))
        for name, own in pieces.items():
            own.append(_Piece(block.rows, block.columns.get(name), block.valid.get(name)))
    return numbers, pieces


def _filled(measurements: Measurements, names: Sequence[str], losses: Losses) -> Iterator[Block]:
    """The blocks, and where asked for one without columns in each gap."""
    next_row = {run.number: run.first_row for run in reversed(measurements.runs)} if not measurements.first else {}
    for block in measurements.blocks(names, _READ_BYTES, None):
        expected = next_row.get(block.run, block.first_row)
        if losses == "nan" and expected < block.first_row:
            yield Block(block.run, expected, block.first_row - expected, {}, {})
        next_row[block.run] = block.first_row + block.rows
        yield block


def _joined(channel: ChannelFacts, pieces: list[_Piece]) -> Any:
    """One array of all pieces, of a dtype that has a place for what is missing."""
    filled = [_Piece(piece.rows, _blank(channel, piece.rows)) if piece.values is None else piece for piece in pieces]
    values = np.concatenate([piece.values for piece in filled]) if filled else _blank(channel, 0)
    missing = None
    if any(piece.values is None or piece.valid is not None for piece in pieces):
        missing = np.concatenate([_missing(piece, values) for piece in pieces])
    return _with_missing(_meant(channel, values), missing)


def _blank(channel: ChannelFacts, rows: int) -> Any:
    return np.zeros((rows, *channel.shape), channel.dtype)


def _missing(piece: _Piece, like: Any) -> Any:
    shape = (piece.rows, *like.shape[1:])
    if piece.values is None:
        return np.ones(shape, bool)
    if piece.valid is None:
        return np.zeros(shape, bool)
    axes = len(shape) - piece.valid.ndim  # binary of fixed length has one more than its mask
    return np.broadcast_to(~piece.valid.reshape(*piece.valid.shape, *(1 for _ in range(axes))), shape)


def _meant(channel: ChannelFacts, values: Any) -> Any:
    """Integers as the times or truths that they stand for."""
    if channel.arrow_type in ("bool", "extension<arrow.bool8>"):
        return values.astype(bool)
    if not _is_time(channel):
        return values
    unit = _UNITS[channel.unit]
    ticks = values.astype(np.int64) * (_DAY_S if channel.unit == "d" else 1)
    is_span = channel.arrow_type.startswith(("duration", "time32", "time64"))
    return ticks.view(f"timedelta64[{unit}]" if is_span else f"datetime64[{unit}]")


def _is_time(channel: ChannelFacts) -> bool:
    if channel.unit not in _UNITS or channel.dtype.kind != "i":
        return False
    declared = channel.arrow_type.startswith(("timestamp", "date", "time", "duration"))
    return declared or (channel.name == TIMESTAMP and channel.dtype == np.int64 and not channel.shape)


def _with_missing(values: Any, missing: Any) -> Any:
    if missing is None or not missing.any():
        return values
    kind = values.dtype.kind
    if kind in "mM":
        return np.where(missing, np.array("NaT", values.dtype), values)
    if kind == "f":
        return np.where(missing, values.dtype.type(np.nan), values)
    if kind in "iu" and not _too_long(values):
        return np.where(missing, np.nan, values.astype(np.float64))
    return np.where(missing, None, values.astype(object))


def _too_long(values: Any) -> bool:
    """Whether there are integers that a float64 does not hold."""
    if values.dtype.itemsize < 8 or not values.size:
        return False
    return int(values.max()) > _EXACT_IN_FLOAT or int(values.min()) < -_EXACT_IN_FLOAT


def _attributes(channel: ChannelFacts, values: Any) -> dict[str, str]:
    """Units and descriptions as xarray's plots take them; a time has its unit in its dtype."""
    unit = "" if values.dtype.kind in "mM" else channel.unit
    texts = {"units": unit, "long_name": channel.description, "description": channel.description}
    return {name: text for name, text in texts.items() if text}


def _told(measurements: Measurements) -> dict[str, Any]:
    """What the file tells of the whole: its origin, the metadata with nested names joined by dots, losses and notes."""
    told: dict[str, Any] = {**measurements.origin, "source": measurements.path}
    if measurements.stream:
        told["stream"] = measurements.stream
    told["lost_rows"] = sum(run.lost_rows for run in measurements.runs)
    if measurements.notes:
        told["annotations"] = [note.text for note in measurements.notes]
    return told | dict(_flattened(measurements.metadata))


def _flattened(metadata: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in metadata.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _flat(arrays: list[Any]) -> Any:
    return np.concatenate(arrays) if arrays else np.zeros(0, np.int64)


__all__ = ["dataset_of"]
