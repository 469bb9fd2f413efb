"""What a writer is told to do, checked; kept free of h5py, which the hardware loop's process need not load."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
    fsync: str = "commit"
    creator: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    poll_interval_s: float = 0.02
    lock_timeout_s: float = 3.0

    def __post_init__(self) -> None:
        for name, known in (("layout", LAYOUTS), ("compression", COMPRESSIONS), ("fsync", FSYNC)):
            if getattr(self, name) not in known:
                listed = ", ".join(map(repr, known))
                raise ValueError(f"{name}={getattr(self, name)!r} is not known; choose from {listed}")
        for name in ("flush_interval_s", "poll_interval_s"):
            seconds = getattr(self, name)
            if not (math.isfinite(seconds) and seconds > 0):
                raise ValueError(f"{name}={seconds!r} must be a positive number of seconds")
        if not self.rings:
            raise ValueError("a writer needs at least one ring")


__all__ = ["COMPRESSIONS", "FSYNC", "LAYOUTS", "EngineOptions", "RingAddress"]
