"""The rings and streams that a writer is given, as its engine finds them, and checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal, Protocol, TypeAlias

from mulletdaq.hdf5.naming import check_stream_name
from mulletdaq.hdf5.options import RemoteAddress, RingAddress
from mulletdaq.ring import RingBuffer

Start: TypeAlias = Literal["oldest", "latest"] | int | None
"""Where a ring that is not in a file yet begins."""


class StreamElsewhere(Protocol):
    """What is given to a writer in place of a ring on this computer."""

    @property
    def name(self) -> str:
        """Its name there."""
        ...

    @property
    def content(self) -> str:
        """``"arrow"``, ``"opaque"``, or ``"none"`` while nobody has written into it."""
        ...

    @property
    def schema(self) -> Any:
        """Its columns."""
        ...

    def address(self, start: Start = None) -> RemoteAddress:
        """Where a writer finds it, and begins."""
        ...


Recordable: TypeAlias = RingBuffer | StreamElsewhere


def stream_of(rings: Mapping[str, Recordable]) -> str | None:
    """What ``{stream}`` stands for: the only stream's name, or that of a bare ring's file."""
    if len(rings) != 1:
        return None
    [(name, ring)] = rings.items()
    return name or ring.name


def address_of(ring: Recordable, start: Start, since_ns: int | None, persist: bool) -> RingAddress | RemoteAddress:
    """A ring, or a stream elsewhere, as its writer finds it, wherever that runs.

    Raises
    ------
    ValueError
        If the row is not one that was written, or the next one; if ``since_ns`` is given for a stream elsewhere.
    """
    if not isinstance(ring, RingBuffer):
        if since_ns is not None:
            raise ValueError("since_ns is for rings on this computer; give start")
        return ring.address(start)
    if start == "latest":
        start = ring.newest_row  # once and for all: a writer that is replaced begins there too
    elif isinstance(start, int) and not 0 <= start <= ring.newest_row:
        raise ValueError(f"start={start} is no row of {ring.path}, which has {ring.newest_row}")
    elif isinstance(start, str) and start != "oldest":
        raise ValueError(f'start takes "oldest", "latest" or a row, got {start!r}')
    return RingAddress(os.path.abspath(ring.path), ring.stream_id, start, since_ns, persist)


def check_names(rings: Mapping[str, Recordable], *, named: bool) -> None:
    """Refuse names that cannot be in a file."""
    for name in rings if named else ():
        check_stream_name(name)


def check_schemas_of(rings: Mapping[str, Recordable]) -> None:
    """Refuse what cannot be stored where the writer is made, not where it runs."""
    from mulletdaq.hdf5.columns import columns_of

    for ring in rings.values():
        if ring.content == "arrow":
            columns_of(ring.schema)


__all__ = ["Recordable", "Start", "address_of", "check_names", "check_schemas_of", "stream_of"]
