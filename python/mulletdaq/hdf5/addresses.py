"""The rings that a writer is given, as its engine finds them, and checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal, TypeAlias

from mulletdaq.hdf5.naming import check_stream_name
from mulletdaq.hdf5.options import RingAddress
from mulletdaq.ring import RingBuffer

Start: TypeAlias = Literal["oldest", "latest"] | int | None
"""Where a ring that is not in a file yet begins."""


def stream_of(rings: Mapping[str, RingBuffer]) -> str | None:
    """What ``{stream}`` stands for: the only stream's name, or that of a bare ring's file."""
    if len(rings) != 1:
        return None
    [(name, ring)] = rings.items()
    return name or os.path.basename(ring.path).removesuffix(".ring")


def address_of(ring: RingBuffer, start: Start, since_ns: int | None, persist: bool) -> RingAddress:
    """A ring as its writer finds it, wherever that runs.

    Raises
    ------
    ValueError
        If the row is not one that was written, or the next one.
    """
    if start == "latest":
        start = ring.newest_row  # once and for all: a writer that is replaced begins there too
    elif isinstance(start, int) and not 0 <= start <= ring.newest_row:
        raise ValueError(f"start={start} is no row of {ring.path}, which has {ring.newest_row}")
    elif isinstance(start, str) and start != "oldest":
        raise ValueError(f'start takes "oldest", "latest" or a row, got {start!r}')
    return RingAddress(os.path.abspath(ring.path), ring.stream_id, start, since_ns, persist)


def check_names(rings: Mapping[str, RingBuffer], *, named: bool) -> None:
    """Refuse names that cannot be in a file."""
    for name in rings if named else ():
        check_stream_name(name)


def check_schemas_of(rings: Mapping[str, RingBuffer]) -> None:
    """Refuse what cannot be stored where the writer is made, not where it runs."""
    from mulletdaq.hdf5.columns import columns_of

    for ring in rings.values():
        if ring.content == "arrow":
            columns_of(ring.schema)


__all__ = ["Start", "address_of", "check_names", "check_schemas_of", "stream_of"]
