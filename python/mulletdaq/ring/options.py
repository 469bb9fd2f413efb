"""Checks of what rings are created and written with."""

from __future__ import annotations

import math
import operator
from typing import Literal, TypeAlias

from mulletdaq import _core
from mulletdaq.errors import RingCapacityError, RingPositionError

OnFull: TypeAlias = Literal["overwrite", "block", "error"]
"""What a write does when the ring is full of rows that the persisting sink has not committed."""

_MEGABYTE = 1_048_576


def check_policy(on_full: str, timeout_s: float | None) -> None:
    """Refuse a policy that there is not."""
    if on_full not in ("overwrite", "block", "error"):
        raise ValueError(f'on_full takes "overwrite", "block" or "error", got {on_full!r}')
    if timeout_s is not None and not timeout_s >= 0:
        raise ValueError(f"timeout_s must be at least 0, got {timeout_s!r}")


def rounded_capacity(capacity_mb: float, capacity_bytes: int | None) -> int:
    """Bytes of the data region, in whole cache lines.

    Raises
    ------
    RingCapacityError
        If no ring could have that size.
    """
    asked = f"{capacity_mb!r} MB" if capacity_bytes is None else f"{capacity_bytes!r} bytes"
    try:
        wanted = float(capacity_mb) * _MEGABYTE if capacity_bytes is None else float(capacity_bytes)
    except OverflowError:
        wanted = math.inf
    if not math.isfinite(wanted) or wanted <= 0 or wanted > _core.MAX_CAPACITY:
        raise RingCapacityError(f"a ring of {asked[:60]} cannot be; 10 to 10000 MB are usual")
    return max(-(-math.ceil(wanted) // 64) * 64, _core.MIN_CAPACITY)


def index_of(what: str, number: object) -> int:
    """A position or row as an int, also from NumPy.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        index = operator.index(number)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(f'{what} takes a position or row, start "oldest" and "latest" too; got {number!r}') from None
    if not 0 <= index < 2**64:
        raise RingPositionError(f"{what}={index} lies outside every ring; a position is at least 0")
    return index
