"""``mullet.load``: a recording as an ``xarray.Dataset`` or an Arrow table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

from mulletdaq.export.arrow_rows import ArrowRows, Losses
from mulletdaq.export.measurements import find
from mulletdaq.export.moments import Moment
from mulletdaq.extras import needs_extra

with needs_extra("hdf5"):
    import pyarrow as pa

_READ_BYTES = 16 << 20


def load(
    path: str | os.PathLike[str],
    channels: Sequence[str] | None = None,
    start: Moment = None,
    stop: Moment = None,
    *,
    stream: str | None = None,
    run: int | None = None,
    as_: Literal["xarray", "arrow"] = "xarray",
    losses: Losses = "gap",
    parts: bool = True,
) -> Any:
    """Read a recording into memory, whatever its layout, as of its newest commit while it is recorded.

    Parameters
    ----------
    path
        The file; where the recording went on in others, they are read too.
    channels
        Names of channels, all by default; of a struct, its own or those of fields, as ``position/x``. ``timestamp``
        always comes along.
    start, stop
        From which row to before which, counted over the rows that are there (a negative number from the end), or from
        which time to before which: a ``datetime``, ``numpy.datetime64`` or ISO 8601 text, in UTC without an offset.
    stream
        Name of the stream, needed where a file holds several.
    run
        Number of one run; all of them by default.
    as_
        ``"xarray"``: a ``Dataset`` (needs ``mulletdaq[xarray]``). ``"arrow"``: a ``pyarrow.Table``.
    losses
        ``"gap"`` leaves lost rows out: the coordinate ``row``, or the column of that name, jumps. ``"nan"`` puts rows
        without values in their place.
    parts
        False for this one file alone.

    Returns
    -------
    xarray.Dataset or pyarrow.Table
        A Dataset has the dimension ``row``, with the number of each row in its run, and the coordinates ``timestamp``
        (UTC) and, over several runs, ``run``. Where something is missing, numbers are float64 with NaN (64-bit integers
        that this would change are objects, and ``None`` is missing), times NaT, text ``None``. Units, descriptions and
        metadata are attributes. A table has the columns ``run`` and ``row``, the declared types, and nulls.

    Raises
    ------
    FileMissingError, FileFormatError, FileLockedError
        If a file is not there, damaged or not one of ours, or open for writing in another program.
    ChannelNotFoundError
        If there is no such channel, stream or run; the message names the nearest ones.
    SchemaMismatchError
        If a channel has another type in another run.
    ValueError
        If ``start`` or ``stop`` is no row and no time.
    MissingExtraError
        If xarray is needed and not installed.

    Examples
    --------
    >>> data = mullet.load("experiment_data.h5", channels=["voltage"], start="2024-05-01T12:00:00")
    >>> data.voltage.plot(x="timestamp")
    """
    if as_ not in ("xarray", "arrow") or losses not in ("gap", "nan"):
        raise ValueError(f"as_={as_!r}, losses={losses!r}: as_ is 'xarray' or 'arrow', losses 'gap' or 'nan'")
    if as_ == "xarray":
        from mulletdaq.export.dataset import dataset_of  # before any reading: xarray may be missing

        return dataset_of(find(path, stream=stream, run=run, start=start, stop=stop, parts=parts), channels, losses)
    measurements = find(path, stream=stream, run=run, start=start, stop=stop, parts=parts)
    rows = ArrowRows(measurements, channels, row_numbers=True, losses=losses)
    return pa.Table.from_batches(list(rows.batches(_READ_BYTES)), rows.schema)


__all__ = ["load"]
