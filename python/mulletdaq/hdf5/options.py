"""What a writer is told to do, checked; kept free of h5py, which the hardware loop's process need not load."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

from mulletdaq.extras import needs_extra

LAYOUTS = ("batches", "continuous")
COMPRESSIONS = ("gzip", "lzf", "zstd", None)
FSYNC = ("commit", "never")


@dataclass(frozen=True)
class Filters:
    """How the larger datasets of a file are stored.

    Attributes
    ----------
    compression
        ``"gzip"``, ``"lzf"`` or ``"zstd"``, each with the shuffle filter, or None.
    chunk_rows
        Rows a chunk; chosen from the size of a row when None.

    Raises
    ------
    ValueError
        If one of them is not possible.
    MissingExtraError
        If the compression needs a package that is not installed.
    """

    compression: str | None = "gzip"
    chunk_rows: int | None = None

    def __post_init__(self) -> None:
        _check_known("compression", self.compression, COMPRESSIONS)
        rows = self.chunk_rows
        if rows is not None and (isinstance(rows, bool) or not isinstance(rows, int) or rows < 1):
            raise ValueError(f"chunk_rows={rows!r} must be a positive whole number of rows, or None")
        if self.compression == "zstd":
            with needs_extra("zstd"):  # looked for, not loaded: it would bring h5py with it
                if find_spec("hdf5plugin") is None:
                    raise ModuleNotFoundError("No module named 'hdf5plugin'", name="hdf5plugin")


def _check_known(name: str, value: str | None, known: tuple[str | None, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name}={value!r} is not known; choose from {', '.join(map(repr, known))}")


@dataclass(frozen=True)
class Rotation:
    """When to go on in another file; never while a file holds no rows.

    Attributes
    ----------
    rows
        Once a stream has so many rows in the file: exactly that many.
    megabytes
        Once the file has this size, in 1,048,576 bytes; it can be passed by one commit.
    seconds
        Once the file is that old.

    Raises
    ------
    ValueError
        If one of them is not above zero.
    """

    rows: int | None = None
    megabytes: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("rows", "megabytes", "seconds"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"rotate_{name}={value!r} must be a positive number, or None")
        if self.rows is not None and self.rows != int(self.rows):
            raise ValueError(f"rotate_rows={self.rows!r} must be a whole number")


@dataclass(frozen=True)
class RingAddress:
    """Where a ring lies, which one it must be, and where a new run of it begins.

    Attributes
    ----------
    start
        The row at which, or ``"oldest"``: the oldest there is. None: the very first, what is gone counted as lost.
    since_ns
        Instead, ns since the Unix epoch: at the first row with such a timestamp or a later one.
    persist
        Whether to be the ring's persisting sink, for which its producer may wait, if nobody else is.
    """

    path: str
    stream_id: int
    start: int | Literal["oldest"] | None = None
    since_ns: int | None = None
    persist: bool = True


@dataclass(frozen=True)
class RemoteAddress:
    """A stream of a daemon, perhaps on another computer, and where its first run begins.

    Attributes
    ----------
    url
        The daemon's address: ``grpc://host:port``.
    stream
        Name of the stream there.
    token_file, tls_root_file
        Files with the token, and with the certificates to trust; absolute.
    start
        The row at which, or ``"oldest"``: the oldest there is. Rings that take the place of the first begin at row 0.
    stream_id
        The ring that ``start`` is a row of.
    """

    url: str
    stream: str
    token_file: str | None = None
    tls_root_file: str | None = None
    start: int | Literal["oldest"] = "oldest"
    stream_id: int | None = None


@dataclass(frozen=True)
class EngineOptions:
    """What an engine needs to know.

    Attributes
    ----------
    path
        The file, absolute; the first of several.
    template
        What names the others, as :func:`mulletdaq.hdf5.templates.fill` made it; the path with its braces doubled when
        there is no index in it.
    rotation
        When they begin.
    rings
        The rings by stream, here or elsewhere; a file's only stream may be called ``""``.
    metadata
        As ``plain_metadata`` made it.
    journal_limit_bytes
        Size of the journal at which readers have held the file too long, and another file goes on.
    drain_timeout_s
        How long an end that nobody waits for may take to drain; None has no limit.
    lock_timeout_s
        How long to wait for another process, such as a writer that is just ending, to let go of the file.
    reserve_bytes
        Room on the disk that is left to others: with less, nothing is committed but by a last drain.
    start_patience_s
        How long a process may do nothing at all before it is ready.

    Raises
    ------
    ValueError
        If an option has a value that is not known.
    MissingExtraError
        If the compression needs a package that is not installed.
    """

    path: str
    rings: Mapping[str, RingAddress | RemoteAddress]
    flush_interval_s: float = 1.0
    layout: str = "batches"
    compression: str | None = "gzip"
    chunk_rows: int | None = None
    fsync: Literal["commit", "never"] = "commit"
    creator: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    poll_interval_s: float = 0.02
    journal_limit_bytes: int = 256 << 20
    drain_timeout_s: float | None = None
    lock_timeout_s: float = 3.0
    template: str = ""
    rotation: Rotation = field(default_factory=Rotation)
    reserve_bytes: int = 0
    start_patience_s: float | None = None

    def __post_init__(self) -> None:
        _check_known("layout", self.layout, LAYOUTS)
        _check_known("fsync", self.fsync, FSYNC)
        Filters(self.compression, self.chunk_rows)
        for name in ("flush_interval_s", "poll_interval_s", "journal_limit_bytes"):
            number = getattr(self, name)
            if not (math.isfinite(number) and number > 0):
                raise ValueError(f"{name}={number!r} must be a positive number")
        if not self.rings:
            raise ValueError("a writer needs at least one ring")

    @property
    def filters(self) -> Filters:
        """How the larger datasets are stored."""
        return Filters(self.compression, self.chunk_rows)


__all__ = ["COMPRESSIONS", "FSYNC", "LAYOUTS", "EngineOptions", "Filters", "RemoteAddress", "RingAddress", "Rotation"]
