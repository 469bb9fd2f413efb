"""Where to begin and where to end: rows or times.

A whole number is a row, counted over all that are in the file; a negative one counts from the end, as in a slice. A
time is a ``datetime``, a ``numpy.datetime64`` or ISO 8601 text such as ``"2024-05-01T12:00:00.5"``; without an offset
it is UTC.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from typing import Any, TypeAlias

from mulletdaq.extras import needs_extra

with needs_extra("hdf5"):
    import numpy as np

Moment: TypeAlias = Any
"""An int, a time, or None for the very beginning or end."""

_FRACTION = re.compile(r"(?<=:\d\d)[.,](\d+)")


def span_of(start: Moment, stop: Moment, rows: int, stamps: Callable[[], Iterable[Any]]) -> tuple[int, int]:
    """From which row to before which.

    Parameters
    ----------
    start, stop
        Rows or times. Of times, the first row at or after ``start``, and the one behind the last before ``stop``: where
        stamps go back, all that lie between these two are in.
    rows
        How many there are.
    stamps
        Gives their times in int64 nanoseconds since 1970, array by array; called only for times.

    Raises
    ------
    ValueError
        If one of them is no moment.
    """
    first = _row_of("start", start, rows)
    end = _row_of("stop", stop, rows)
    start_ns = None if first is not None else _ns_of("start", start)
    stop_ns = None if end is not None else _ns_of("stop", stop)
    if start_ns is None and stop_ns is None:
        return first or 0, rows if end is None else end
    found_first, found_end = _search(start_ns, stop_ns, rows, stamps())
    return found_first if first is None else first, found_end if end is None else end


def _row_of(which: str, moment: Moment, rows: int) -> int | None:
    """The row that a moment names; None for a time."""
    if moment is None:
        return 0 if which == "start" else rows
    if isinstance(moment, (int, np.integer)) and not isinstance(moment, bool):
        return min(max(0, int(moment) + rows if moment < 0 else int(moment)), rows)
    return None


def _ns_of(which: str, moment: Moment) -> int:
    """A time in nanoseconds since 1970."""
    if isinstance(moment, np.datetime64) and not np.isnat(moment):
        return int(moment.astype("datetime64[ns]").astype(np.int64))
    if isinstance(moment, datetime):
        return _datetime_ns(moment)
    if isinstance(moment, date):
        return _datetime_ns(datetime(moment.year, moment.month, moment.day))
    if isinstance(moment, str):
        fraction = _FRACTION.search(moment)
        try:
            whole = datetime.fromisoformat(_FRACTION.sub("", moment))
        except ValueError:
            raise ValueError(f"{which}={moment!r} is no ISO 8601 time, such as 2024-05-01T12:00:00.5") from None
        return _datetime_ns(whole) + (int(f"{fraction[1]:0<9}"[:9]) if fraction else 0)
    raise ValueError(f"{which}={moment!r} is neither a row nor a time; use a whole number or ISO 8601 text")


def _datetime_ns(moment: datetime) -> int:
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000


def _search(start_ns: int | None, stop_ns: int | None, rows: int, stamps: Iterable[Any]) -> tuple[int, int]:
    first, end, row = None, 0, 0
    for some in stamps:
        inside = np.ones(len(some), bool)
        if start_ns is not None:
            inside &= some >= start_ns
        if stop_ns is not None:
            inside &= some < stop_ns
        if inside.any():
            first = row + int(inside.argmax()) if first is None else first
            end = row + len(some) - int(inside[::-1].argmax())
        row += len(some)
    return (rows if first is None else first), end


__all__ = ["Moment", "span_of"]
