"""The life of a running writer, in thread or process: commits in time, answers to requests, an orderly end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from mulletdaq.errors import FileWriteError
from mulletdaq.hdf5.engine import Engine
from mulletdaq.hdf5.messages import Link, Outcome, Request
from mulletdaq.hdf5.options import EngineOptions
from mulletdaq.hdf5.room import Room
from mulletdaq.hdf5.statistics import WriterStatistics
from mulletdaq.hdf5.watch import Watch

_PUBLISH_BUSY_S = 0.1
_PUBLISH_IDLE_S = 1.0
_APPLY_RETRY_S = 0.005


def run_engine(options: EngineOptions, link: Link, tell_ready: Callable[[WriterStatistics], None]) -> WriterStatistics:
    """Open an engine, run it until its end, close it on every path; returns its last counts.

    Raises
    ------
    MulletError
        If it cannot be opened.
    """
    engine = Engine(options)
    if engine.set_aside:
        link.report(f"the journal of an earlier {options.path}, which is gone, is kept as {engine.set_aside}")
    try:
        tell_ready(engine.statistics())
        return CommitLoop(engine, link).run()
    finally:
        engine.close()


class CommitLoop:
    """Runs an engine until it is stopped, terminated, or alone in the world."""

    def __init__(self, engine: Engine, link: Link) -> None:
        self._engine = engine
        self._link = link
        self._watch = Watch(link.report)
        self._room = Room(engine.options.reserve_bytes, engine.options.flush_interval_s, link.report)
        self._failing = ""
        self._rotation_failing = False
        self._reported: set[int] = set()
        self._published_at = 0.0
        self._published_commits = 0
        self._stopped = False

    def run(self) -> WriterStatistics:
        """Serve until the end, and drain before it. The caller closes the engine."""
        while True:
            for request in self._link.receive(self._patience_s()):
                self._serve(request)
            if self._stopped:
                return self._final
            if self._link.terminated or (self._link.abandoned and not self._engine.producing()):
                self._drain_unasked()
                return self._final
            self._engine.apply()
            # After a failed write the backlog only grows: the next try is at the next interval.
            if self._engine.due(by_backlog=not self._failing):
                self._commit()
            self._publish()

    def _patience_s(self) -> float:
        poll_interval_s = self._engine.options.poll_interval_s
        return min(_APPLY_RETRY_S, poll_interval_s) if self._engine.pending else poll_interval_s

    def _serve(self, request: Request) -> None:
        if request.kind == "annotate":
            assert request.note is not None
            self._engine.annotate(request.note)
            return
        failure: Exception | None = None
        self._look_at_fill()
        try:
            self._drain(request)
        except Exception as error:
            failure = error
        self._watch.look_at_sources(self._engine.sources)
        self._final = self._statistics()
        outcome: Outcome = failure or self._final
        if request.kind == "stop":
            self._stopped = True
            outcome = self._close(outcome, ended=failure is None)
        self._link.answer(request.number, outcome)

    def _drain(self, request: Request) -> None:
        """Only the last drain may take what is to be left free: there is no other place for the rows."""
        if request.kind != "stop" and not self._room.has_room(self._engine.path):
            raise FileWriteError(self._room.shortage)
        self._engine.drain(request.rows, tell=self._publish)
        if request.kind == "rotate":
            self._engine.rotate()

    def _close(self, outcome: Outcome, *, ended: bool) -> Outcome:
        """Close before the answer: whoever stopped the writer may open the file at once."""
        try:
            self._engine.close(ended=ended)
        except Exception as error:
            return outcome if isinstance(outcome, Exception) else error
        reason = self._engine.journal_statistics().apply_error
        for path in self._engine.pending_paths:
            if path != self._engine.path or not reason:
                self._link.report(
                    f"another program still reads {path}; what it keeps from the file is safe in the journal beside "
                    f"it: mullet recover {path} finishes when it is closed there"
                )
            elif not isinstance(outcome, Exception):
                outcome = FileWriteError(
                    f"not everything could be brought into {path}: {reason}; "
                    f"what is missing is safe in the journal beside it: mullet recover {path} brings it in"
                )
        return outcome

    def _drain_unasked(self) -> None:
        ended = True
        try:
            # Rows elsewhere wait for the next writer, who must not wait for this one.
            self._engine.drain({}, self._engine.options.drain_timeout_s, ask=self._link.terminated)
            self._engine.settle()
        except Exception as error:
            ended = False
            self._link.report(str(error))
        self._final = self._statistics()
        outcome = self._close(self._final, ended=ended)
        if isinstance(outcome, Exception):
            self._link.report(str(outcome))

    def _commit(self) -> None:
        path = self._engine.path
        self._look_at_fill()
        if not self._room.has_room(path):
            return
        try:
            self._engine.commit()
        except FileWriteError as error:
            if not self._failing:
                self._link.report(f"{error}; trying again every {self._engine.options.flush_interval_s:g} s")
            self._failing = str(error)
        else:
            if self._failing:
                self._link.report(f"writing {self._engine.path} works again")
            self._failing = ""
            self._tell_of_rotation(path)
        for failure in self._engine.failures():
            if id(failure) not in self._reported:
                self._reported.add(id(failure))
                self._link.report(str(failure))

    def _look_at_fill(self) -> None:
        self._watch.look_at_fill(self._engine.path, self._engine.ring_fill)

    def _tell_of_rotation(self, before: str) -> None:
        if self._engine.path != before and self._engine.held:
            self._link.report(f"readers have held {before} for too long; the recording goes on in {self._engine.path}")
        error = self._engine.rotation_error
        if error and not self._rotation_failing:
            self._link.report(f"it is time for another file, and none can be begun: {error}; {before} goes on")
        self._rotation_failing = bool(error)

    def _publish(self) -> None:
        self._watch.look_at_sources(self._engine.sources)
        now = time.monotonic()
        news = self._engine.commits != self._published_commits
        if now - self._published_at >= (_PUBLISH_BUSY_S if news else _PUBLISH_IDLE_S):
            self._published_commits, self._published_at = self._engine.commits, now
            statistics = self._statistics()
            self._watch.look(statistics)
            self._link.publish(statistics)

    def _statistics(self) -> WriterStatistics:
        failures = "; ".join(map(str, self._engine.failures()))
        waits = "; ".join(source.trouble.words for source in self._engine.sources.values() if source.trouble)
        trouble = self._room.shortage or self._failing or failures or waits
        return replace(self._engine.statistics(), trouble=trouble, paused=bool(self._room.shortage))


__all__ = ["CommitLoop", "run_engine"]
