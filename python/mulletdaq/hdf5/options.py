"""What a writer is told to do, checked; kept free of h5py, which the hardware loop's process need not load."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

LAYOUTS = ("batches",)
COMPRESSIONS = ("gzip", "lzf", None)
FSYNC = ("commit", "never")


@dataclass(frozen=True)
class RingAddress:
    """Where a ring lies and which one it must be."""

    path: str
    stream_id: int


@dataclass(frozen=True)
class EngineOptions:
    """What an engine needs to know.

    Attributes
    ----------
    path
        The file, absolute.
    rings
        The rings by stream; a file's only stream may be called ``""``.
    metadata
        As ``plain_metadata`` made it.
    journal_limit_bytes
        Size of the journal at which readers have held the file too long, and another file goes on.
    drain_timeout_s
        How long an end that nobody waits for may take to drain; None has no limit.
    lock_timeout_s
        How long to wait for another process, such as a writer that is just ending, to let go of the file.

    Raises
    ------
    ValueError
        If an option has a value that is not known.
    """

    path: str
    rings: Mapping[str, RingAddress]
    flush_interval_s: float = 1.0
    layout: str = "batches"
    compression: str | None = "gzip"
    fsync: Literal["commit", "never"] = "commit"
    creator: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    poll_interval_s: float = 0.02
    journal_limit_bytes: int = 256 << 20
    drain_timeout_s: float | None = None
    lock_timeout_s: float = 3.0

    def __post_init__(self) -> None:
        for name, known in (("layout", LAYOUTS), ("compression", COMPRESSIONS), ("fsync", FSYNC)):
            if getattr(self, name) not in known:
                listed = ", ".join(map(repr, known))
                raise ValueError(f"{name}={getattr(self, name)!r} is not known; choose from {listed}")
        for name in ("flush_interval_s", "poll_interval_s", "journal_limit_bytes"):
            number = getattr(self, name)
            if not (math.isfinite(number) and number > 0):
                raise ValueError(f"{name}={number!r} must be a positive number")
        if not self.rings:
            raise ValueError("a writer needs at least one ring")


__all__ = ["COMPRESSIONS", "FSYNC", "LAYOUTS", "EngineOptions", "RingAddress"]
