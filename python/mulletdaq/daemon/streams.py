"""The daemon's streams: their rings, found again or made, and what is seen of them."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from mulletdaq.config import StreamConfig
from mulletdaq.daemon.log import Log
from mulletdaq.daemon.prepare_process import prepare_rings
from mulletdaq.errors import DaemonError, RingError, RingExistsError, RingNotFoundError
from mulletdaq.flight.messages import StreamAddress, StreamStatus
from mulletdaq.ring import RingBuffer, create_ring, ring_path

_RATE_OVER_S = 5.0
_PERIODS = 3
_LEAST_SILENCE_S = 5.0
_UPLOADS = ".uploads"
"""Beside a ring: how far the uploads into it are."""


class DaemonStream:
    """One stream: its ring, and how its rows grow.

    Parameters
    ----------
    name
        Of the stream and its ring.
    config
        What it is to be.
    ring
        Its ring, open.
    """

    def __init__(self, name: str, config: StreamConfig, ring: RingBuffer) -> None:
        self.name = name
        self.config = config
        self.ring = ring
        self.rows = ring.newest_row
        self.rows_per_s = 0.0
        self.grew_at: float | None = None
        self.looked_at = self.began_at = time.monotonic()
        self._schema_text = ""

    @property
    def silent_after_s(self) -> float | None:
        """For how long no row may come before somebody should hear of it; None for ever."""
        if self.config.silent_after_s is not None or self.config.source is None:
            return self.config.silent_after_s
        return max(_PERIODS / self.config.source.rate_hz, _LEAST_SILENCE_S)

    def look(self) -> None:
        """See how far it is."""
        with suppress(RingError):
            rows, now = self.ring.newest_row, time.monotonic()
            elapsed_s = max(now - self.looked_at, 1e-3)
            share = min(1.0, elapsed_s / _RATE_OVER_S)
            self.rows_per_s += share * ((rows - self.rows) / elapsed_s - self.rows_per_s)
            if rows != self.rows:
                self.grew_at = now
            self.rows, self.looked_at = rows, now

    def silent_s(self, since: float = 0.0) -> float:
        """How long no row has come, counted from the daemon's start, or from ``since`` if that is later."""
        return time.monotonic() - max(self.grew_at or self.began_at, since)

    @property
    def fill(self) -> float:
        """Share of the ring that its persisting sink has not committed; 0 where it has none or is damaged."""
        try:
            statistics = self.ring.statistics()
        except RingError:
            return 0.0  # writer and readers tell of it; all other rings are looked after
        return statistics.fill if statistics.sink_pid is not None or self.ring.read_tail else 0.0

    def address(self) -> StreamAddress:
        """As the Flight process finds it."""
        return StreamAddress(
            name=self.name,
            ring_path=self.ring.path,
            stream_id=f"{self.ring.stream_id:016x}",
            description=self.config.description,
        )

    def status(self, rows_lost: int, ring_fill: float) -> StreamStatus:
        """As the daemon's status has it."""
        statistics = self.ring.statistics()
        source = self.config.source
        return StreamStatus(
            name=self.name,
            ring_path=self.ring.path,
            stream_id=f"{statistics.stream_id:016x}",
            schema_text=self._schema(),
            rows=statistics.rows_written,
            rows_per_s=round(self.rows_per_s, 3),
            rows_lost=rows_lost,
            ring_fill=ring_fill,
            producer_pid=statistics.producer_pid,
            source=None if source is None else source.name,
            last_row_age_s=None if self.grew_at is None else round(time.monotonic() - self.grew_at, 3),
        )

    def _schema(self) -> str:
        if not self._schema_text:
            self._schema_text = ", ".join(f"{name} {type_}" for name, type_ in self.ring.columns)
        return self._schema_text


def open_ring(name: str, config: StreamConfig, log: Log) -> RingBuffer:
    """The ring of a stream as it was left, or a new one.

    Raises
    ------
    RingError
        If there is something else at its path, or no room.
    """
    try:
        ring = RingBuffer.open(ring_path(name))
    except RingNotFoundError:
        ring = _make_ring(name, config, log)
        log.say("info", "ring_made", f"stream {name}: a new ring of {ring.capacity_bytes >> 20} MB, {ring.path}")
    else:
        rows = ring.newest_row
        log.say(
            "info", "ring_found", f"stream {name}: goes on in the ring found at {ring.path}, with {rows} rows so far"
        )
        wanted_bytes = int(config.ring_mb * (1 << 20))
        if abs(ring.capacity_bytes - wanted_bytes) > 64:
            has_mb = ring.capacity_bytes / (1 << 20)
            log.say(
                "warning",
                "ring_size",
                f"stream {name}: the ring found has {has_mb:g} MB, not {config.ring_mb:g}; "
                "stop the daemon in good order while nothing produces, and the next one makes it anew",
            )
    return ring


def _make_ring(name: str, config: StreamConfig, log: Log) -> RingBuffer:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            ring = create_ring(name, config.ring_mb, checksum=config.checksum)
        except RingExistsError:
            return RingBuffer.open(ring_path(name))
    for warning in caught:
        log.say("warning", "ring_smaller", str(warning.message))
    return ring


def share_with_group(rings: Iterable[RingBuffer], *, readable: bool) -> None:
    """Let the group read rings and their folder, or keep them to their user."""
    for ring in rings:
        os.chmod(ring.path, 0o640 if readable else 0o600)
        if readable:
            os.chmod(os.path.dirname(ring.path), 0o750)


def prepare_schemas(streams: Iterable[DaemonStream]) -> None:
    """Give the rings of streams with channels their columns.

    Raises
    ------
    DaemonError
        If a ring has other columns already, or it does not work.
    """
    wanted = [stream for stream in streams if stream.config.channels]
    if not wanted:
        return
    answers = prepare_rings((stream.ring.path, stream.config.channel_list) for stream in wanted)
    for stream, problem in zip(wanted, answers, strict=True):
        if problem:  # where another produces, it is told when its columns differ, and so are we, at the next start
            raise DaemonError(
                f"stream {stream.name}: the ring found at {stream.ring.path} is of another kind: {problem}; "
                "bring its rows into the file with the configuration that it was made with, or remove it"
            )


def discard_ring(ring: RingBuffer, log: Log, saved_rows: Iterable[int]) -> None:
    """At a good end: remove a ring whose rows are all where they are to be, and that nobody writes to.

    Parameters
    ----------
    saved_rows
        Of each of its outputs the row up to which that has everything.
    """
    with suppress(RingError):
        if ring.producer_alive:
            log.say("info", "ring_kept", f"the ring {ring.path} stays: its producer lives on, the next daemon goes on")
        elif any(row < ring.newest_row for row in saved_rows):
            log.say("warning", "ring_kept", f"the ring {ring.path} stays: it has rows that are in no file yet")
        else:
            ring.unlink()
            Path(ring.path + _UPLOADS).unlink(missing_ok=True)
    with suppress(BufferError):
        ring.close()


__all__ = ["DaemonStream", "discard_ring", "open_ring", "prepare_schemas", "share_with_group"]
