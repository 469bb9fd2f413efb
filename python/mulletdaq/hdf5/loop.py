"""The life of a running writer, in thread or process: commits in time, answers to requests, an orderly end."""

from __future__ import annotations

import time
from collections.abc import Callable

from mulletdaq.errors import FileWriteError
from mulletdaq.hdf5.engine import Engine
from mulletdaq.hdf5.messages import Link, Outcome, Request
from mulletdaq.hdf5.options import EngineOptions
from mulletdaq.hdf5.statistics import WriterStatistics

_PUBLISH_BUSY_S = 0.1
_PUBLISH_IDLE_S = 1.0


def run_engine(options: EngineOptions, link: Link, tell_ready: Callable[[WriterStatistics], None]) -> WriterStatistics:
    """Open an engine, run it until its end, close it on every path; returns its last counts.

    Raises
    ------
    MulletError
        If it cannot be opened.
    """
    engine = Engine(options)
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
        self._failing = False
        self._reported: set[int] = set()
        self._published_at = 0.0
        self._published_commits = 0
        self._stopped = False

    def run(self) -> WriterStatistics:
        """Serve until the end, and drain before it. The caller closes the engine."""
        while True:
            for request in self._link.receive(self._engine.options.poll_interval_s):
                self._serve(request)
            if self._stopped:
                return self._final
            if self._link.terminated or (self._link.abandoned and not self._engine.producing()):
                self._drain_unasked()
                return self._engine.statistics()
            # After a failed write the backlog only grows: the next try is at the next interval.
            if self._engine.due(by_backlog=not self._failing):
                self._commit()
            self._publish()

    def _serve(self, request: Request) -> None:
        if request.kind == "annotate":
            assert request.note is not None
            self._engine.annotate(request.note)
            return
        failure: Exception | None = None
        try:
            self._engine.drain(request.rows)
        except Exception as error:
            failure = error
        self._final = self._engine.statistics()
        outcome: Outcome = failure or self._final
        if request.kind == "stop":
            self._stopped = True
            outcome = self._close(outcome)
        self._link.answer(request.number, outcome)

    def _close(self, outcome: Outcome) -> Outcome:
        """Close before the answer: whoever stopped the writer may open the file at once."""
        try:
            self._engine.close()
        except Exception as error:
            return outcome if isinstance(outcome, Exception) else error
        return outcome

    def _drain_unasked(self) -> None:
        try:
            self._engine.drain({})
            self._engine.settle()
        except Exception as error:
            self._link.report(str(error))

    def _commit(self) -> None:
        try:
            self._engine.commit()
        except FileWriteError as error:
            if not self._failing:
                self._link.report(f"{error}; trying again every {self._engine.options.flush_interval_s:g} s")
            self._failing = True
        else:
            if self._failing:
                self._link.report(f"writing {self._engine.options.path} works again")
            self._failing = False
        for failure in self._engine.failures():
            if id(failure) not in self._reported:
                self._reported.add(id(failure))
                self._link.report(str(failure))

    def _publish(self) -> None:
        now = time.monotonic()
        news = self._engine.commits != self._published_commits
        if now - self._published_at >= (_PUBLISH_BUSY_S if news else _PUBLISH_IDLE_S):
            self._published_commits, self._published_at = self._engine.commits, now
            self._link.publish(self._engine.statistics())


__all__ = ["CommitLoop", "run_engine"]
