"""Whether a file of batches would come to hold too many objects; light, for the daemon asks, too."""

from __future__ import annotations

from collections.abc import Iterable

_DAY_S = 86_400.0
_MOST_A_DAY = 1e6


def many_objects(flush_interval_s: float, columns: Iterable[int]) -> str:
    """What is to be said where a group for each flush, and a dataset for each of its columns, are too many for a day.

    Parameters
    ----------
    flush_interval_s
        Seconds from one flush to the next.
    columns
        How many columns each stream has, ``timestamp`` among them.

    Returns
    -------
    str
        One line; empty where they are not too many.
    """
    objects = sum(1 + count for count in columns)
    a_day = _DAY_S / flush_interval_s * objects if flush_interval_s > 0 else 0
    if a_day <= _MOST_A_DAY:
        return ""
    return (
        f"{objects} groups and datasets every {flush_interval_s:g} s are {a_day / 1e6:.2f} million a day, "
        'which makes a file slow to open and to copy; for long runs use layout="continuous", '
        "or a longer flush interval"
    )


__all__ = ["many_objects"]
