"""One file, or files that continue one another, that streams are recorded to: permanently, or by command."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from mulletdaq.daemon.log import Log
from mulletdaq.errors import FileLockedError, FileWriteError, MulletError, RecordingError, RingError, WriterError
from mulletdaq.flight.messages import ChildStatus, RecordingInfo, RecordingState
from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.hdf5.many_objects import many_objects
from mulletdaq.hdf5.statistics import StreamStatistics, WriterStatistics
from mulletdaq.ring import RingBuffer

_Result = TypeVar("_Result")

_FIRST_DELAY_S = 1.0
_LONGEST_DELAY_S = 30.0
_FASTEST_MB_PER_S = 400.0
_LONGEST_POLL_S = 0.25
_SHORTEST_POLL_S = 0.1
TRANSIENT = (FileLockedError, FileWriteError, WriterError)
"""What may go away by itself: somebody holds the file, the disk is full, not mounted or hangs, a writer was killed."""


@dataclass(frozen=True)
class OutputPlan:
    """What is to be recorded where, and how; plain, so that a successor can go on with it.

    Attributes
    ----------
    name
        Of the recording.
    streams
        What is recorded.
    path, template
        The first file, and what names those that follow.
    options
        For :class:`mulletdaq.HDF5Writer`.
    permanent
        Whether it is in the configuration.
    persist
        Of which streams it moves the ring's tail.
    start, since_ns
        Where a new run begins; see :class:`mulletdaq.HDF5Writer`.
    started_ns
        When it was first started.
    origin
        The path as it stands in the configuration.
    stream_ids
        Of the rings, by stream: with others it is another recording.
    """

    name: str
    streams: list[str]
    path: str
    template: str
    options: dict[str, Any]
    permanent: bool = False
    persist: list[str] = field(default_factory=list)
    start: dict[str, int] = field(default_factory=dict)
    since_ns: int | None = None
    started_ns: int = 0
    origin: str = ""
    stream_ids: dict[str, int] = field(default_factory=dict)


class Output:
    """A recording: its writer, started until it runs, and what became of it.

    Parameters
    ----------
    plan
        What is to be done.
    rings
        The rings of its streams, by name.
    reserve_mb, drain_timeout_s, start_patience_s
        See :class:`mulletdaq.HDF5Writer`.
    log
        Where problems are told.

    Notes
    -----
    For the thread of the event loop; what may take long is done in threads that it waits for.
    """

    def __init__(
        self,
        plan: OutputPlan,
        rings: Mapping[str, RingBuffer],
        *,
        reserve_mb: float,
        drain_timeout_s: float,
        start_patience_s: float,
        log: Log,
    ) -> None:
        self.plan = plan
        self.stalled_since: float | None = None
        """Since when its cursor stands still though rows wait, on the monotonic clock."""
        self.stopped_ns: int | None = None
        self.reason: str | None = None
        self._log = log
        self._rings = rings
        self._flush_interval_s = float(plan.options.get("flush_interval_s", 1.0))
        self._objects_counted = False
        self._busy = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._started = False
        self._final: WriterStatistics | None = None
        self._progress: tuple[Any, ...] = ()
        self._moved_at = time.monotonic()
        self._names = {"" if len(plan.streams) == 1 else name: name for name in plan.streams}
        self._writer_options = {
            "first_path": plan.path,
            "start": {inner: plan.start.get(name) for inner, name in self._names.items()},
            "since_ns": plan.since_ns,
            "persist": [inner for inner, name in self._names.items() if name in plan.persist],
            "reserve_mb": reserve_mb,
            "drain_timeout_s": drain_timeout_s,
            "start_patience_s": start_patience_s,
            "poll_interval_s": min(_poll_interval_s(rings[name] for name in plan.streams), self._flush_interval_s / 4),
            "check_schemas": False,
            "report": self._report,
            **plan.options,
        }
        self._earlier_restarts = 0
        self._earlier_death = ""
        self._revival: asyncio.Task[None] | None = None
        self.writer = self._make_writer()

    def _make_writer(self) -> HDF5Writer:
        streams = self.plan.streams
        rings = self._rings[streams[0]] if len(streams) == 1 else dict(self._rings)
        return HDF5Writer(self.plan.template, rings, **self._writer_options)

    @property
    def name(self) -> str:
        """Of the recording."""
        return self.plan.name

    @property
    def running(self) -> bool:
        """Whether it records."""
        return self._started and self.stopped_ns is None

    # ---- start and end

    async def start(self) -> None:
        """Start writing, unless it is to end already; MulletError if that is not possible."""
        async with self._busy:
            if self._stopping.is_set():
                return
            await asyncio.to_thread(self.writer.start)
            self._started, self.reason, self._moved_at = True, None, time.monotonic()

    async def start_in_the_end(self) -> None:
        """Start writing, as soon as what keeps it from that has gone away."""
        delay_s = _FIRST_DELAY_S
        while not self._stopping.is_set():
            try:
                await self.start()
                return
            except MulletError as error:
                self.tell_why_not(error)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_s)
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)

    def tell_why_not(self, error: MulletError) -> None:
        """Log why it did not start; it is tried again."""
        self.reason = str(error)
        words = f"recording {self.name} cannot start: {error}; trying again"
        self._log.repeated("error", "recording_failed", f"{self.name} {error}", words, recording=self.name)

    async def stop(self) -> None:
        """Bring everything written so far into the file, and end.

        Raises
        ------
        MulletError
            If it did not take everything; the ring has the rest.
        """
        self._stopping.set()
        async with self._busy:
            if self.stopped_ns is not None:
                return
            try:
                if not self._started:
                    await asyncio.to_thread(self._start_at_last)
                self._final = await asyncio.to_thread(self._stop_writer)
            except MulletError as error:
                self._final = self.writer.statistics()
                self.reason = str(error)
                raise
            finally:
                self.stopped_ns = time.time_ns()

    def _start_at_last(self) -> None:
        """Start a writer that was still to be: rows may wait for it."""
        try:
            self.writer.start()
        except MulletError as error:
            raise RecordingError(f"recording {self.name} could not start: {error}") from error

    def _stop_writer(self) -> WriterStatistics:
        """Stop the writer; one that was told to end by others, as a whole group may be, has not seen the last rows."""
        try:
            return self.writer.stop()
        except WriterError as error:
            self.writer = self._make_writer()
            try:
                self.writer.start()
            except FileLockedError:
                raise error from None  # it lives, and has not finished in time
            return self.writer.stop()

    async def _revive(self) -> None:
        """Replace a writer that was told to end by others."""
        self._earlier_restarts, self._earlier_death = self.restarts + 1, "was told to end"
        self._log.say("warning", "writer_ended", f"the writer of recording {self.name} was told to end by others")
        self._started = False
        self.writer = self._make_writer()
        await self.start_in_the_end()

    @property
    def restarts(self) -> int:
        """How often its process was replaced."""
        return self._earlier_restarts + self.writer.restarts

    # ---- what can be asked of it

    async def flush(self) -> int:
        """Bring everything written so far into the file; how many rows are there."""
        return (await self._ask(self.writer.flush)).rows_persisted

    async def rotate(self) -> str:
        """Go on in another file; its path."""
        return await self._ask(self.writer.rotate)

    def annotate(self, text: str, timestamp_ns: int) -> None:
        """Store a note with its time and each stream's row."""
        self._check_running()
        if self._stopping.is_set():
            raise RecordingError(f"recording {self.name} is ending")
        rows = {inner: self._rings[name].newest_row for inner, name in self._names.items()}
        self.writer.annotate(text, timestamp_ns, rows)

    async def _ask(self, what: Callable[[], _Result]) -> _Result:
        self._check_running()
        return await asyncio.to_thread(what)

    def _check_running(self) -> None:
        if not self.running:
            raise RecordingError(f"recording {self.name} does not run" + (f": {self.reason}" if self.reason else ""))

    # ---- what is seen of it

    def look(self) -> None:
        """See whether its cursors move while rows wait."""
        now = time.monotonic()
        if self.running and not self.writer.alive and not self._busy.locked():
            self._revival = asyncio.get_running_loop().create_task(self._revive())
            self._started = False
        if not self.running:
            self.stalled_since = None
            return
        if not self._objects_counted:
            self._count_objects()
        statistics = self.statistics()
        counts = statistics.streams
        progress = tuple(counts[inner].next_row if inner in counts else 0 for inner in self._names)
        waiting = any(
            self._rings[name].newest_row > done for name, done in zip(self._names.values(), progress, strict=True)
        )
        if progress != self._progress or not waiting:
            self._progress, self._moved_at = progress, now
        still_s = max(now - self._moved_at, self.writer.silent_s)
        if still_s <= self.patience_s:
            self.stalled_since = None
        elif self.stalled_since is None:
            self.stalled_since = now - still_s

    def _count_objects(self) -> None:
        """Warn once, as soon as the columns are known, where batches would be too many objects."""
        columns: list[int] = []
        with suppress(RingError):  # writer and readers tell of a damaged ring
            columns = [len(self._rings[name].columns) for name in self.plan.streams]
        if not columns or not all(columns):
            return  # nobody has said yet what is measured
        self._objects_counted = True
        words = many_objects(self._flush_interval_s, columns) if self.plan.options.get("layout") == "batches" else ""
        if words:
            self._log.say("warning", "many_objects", f"recording {self.name}: {words}", recording=self.name)

    @property
    def patience_s(self) -> float:
        """How long it may take from one commit to the next."""
        return max(3 * self._flush_interval_s, 3.0)

    @property
    def hangs_s(self) -> float:
        """How long its process has done nothing at all, though there is work; 0 for one that tries in vain."""
        if self.stalled_since is None or self.writer.restarting:
            return 0.0
        return min(time.monotonic() - self.stalled_since, self.writer.silent_s)

    def statistics(self) -> WriterStatistics:
        """Counts as of the last commit, the final ones of an ended one."""
        return self.writer.statistics() if self._final is None else self._final

    def rows_lost(self, stream: str) -> int:
        """Rows of a stream that were overwritten before they were here."""
        return self._counts(stream).rows_lost

    def next_row(self, stream: str) -> int:
        """The row up to which a stream is here, or lost."""
        return self._counts(stream).next_row

    def _counts(self, stream: str) -> StreamStatistics:
        inner = next((inner for inner, name in self._names.items() if name == stream), stream)
        return self.statistics().streams.get(inner, StreamStatistics())

    def info(self) -> RecordingInfo:
        """As clients see it."""
        statistics = self.statistics()
        state, reason = self._state(statistics)
        return RecordingInfo(
            name=self.name,
            path=statistics.path or self.plan.path,
            streams=list(self.plan.streams),
            state=state,
            started_ns=self.plan.started_ns,
            stopped_ns=self.stopped_ns,
            rows_persisted=statistics.rows_persisted,
            rows_lost=statistics.rows_lost,
            file_bytes=statistics.file_bytes,
            lag_s=round(statistics.lag_s, 3) if self.running else 0.0,
            permanent=self.plan.permanent,
            reason=reason,
        )

    def _state(self, statistics: WriterStatistics) -> tuple[RecordingState, str | None]:
        if self.stopped_ns is not None:
            return ("failed" if self.reason else "stopped"), self.reason
        if not self._started:
            return ("failed" if self.reason else "recording"), self.reason
        if statistics.paused:
            return "paused", statistics.trouble
        return ("failed" if statistics.trouble else "recording"), statistics.trouble or None

    def child(self) -> ChildStatus:
        """Its process."""
        state: Literal["running", "restarting", "stalled"] = "running"
        if self.writer.restarting or not self._started:
            state = "restarting"
        elif self.stalled_since is not None:
            state = "stalled"
        return ChildStatus(
            name=self.name,
            kind="writer",
            state=state,
            pid=self.writer.pid,
            restarts=self.restarts,
            last_death=self.writer.last_death or self._earlier_death or None,
        )

    def _report(self, message: str) -> None:
        self._log.repeated("warning", "writer", f"{self.name} {message}", message, recording=self.name)


def _poll_interval_s(rings: Iterable[RingBuffer]) -> float:
    """How often a writer is to look whether a ring fills early: each look costs, and a large ring takes its time."""
    fills_in_s = min(ring.capacity_bytes for ring in rings) / (_FASTEST_MB_PER_S * 1e6)
    return min(max(fills_in_s, _SHORTEST_POLL_S), _LONGEST_POLL_S)


__all__ = ["TRANSIENT", "Output", "OutputPlan"]
