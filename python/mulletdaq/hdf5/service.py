"""A running writer as its owner sees it, and the one that runs in a thread of the owner's process."""

from __future__ import annotations

import itertools
import queue
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Future

from mulletdaq.errors import WriterError
from mulletdaq.hdf5.messages import Note, Outcome, Request
from mulletdaq.hdf5.options import EngineOptions
from mulletdaq.hdf5.statistics import WriterStatistics


def print_report(message: str) -> None:
    """Tell the user of a problem: one line on stderr."""
    print(f"mulletdaq: {message}", file=sys.stderr, flush=True)


class Service(ABC):
    """A running writer: answers requests, tells its counts.

    Parameters
    ----------
    report
        Takes each problem, on one line; called from any thread.

    Notes
    -----
    Safe for use by several threads.
    """

    restarts = 0
    """How often a process that died was replaced."""

    last_death = ""
    """How the last of them ended, in words."""

    def __init__(self, report: Callable[[str], None] = print_report) -> None:
        self._report = report
        self.statistics = WriterStatistics()
        self.heard_at = time.monotonic()
        """When it said something last, on the monotonic clock."""
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[WriterStatistics]] = {}
        self._end: WriterError | None = None

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether the writer runs."""

    @property
    @abstractmethod
    def pid(self) -> int | None:
        """The process it runs in."""

    @property
    def restarting(self) -> bool:
        """Whether one that died is being replaced."""
        return False

    def kill(self) -> None:
        """Kill a process that does nothing any more; another one takes its place."""
        raise WriterError("a writer in a thread cannot be killed")

    @abstractmethod
    def join(self) -> None:
        """Let go of a writer that was told to stop, and wait for its end unless it did not answer in time."""

    @abstractmethod
    def _send(self, request: Request) -> None: ...

    def request(self, kind: str, rows: Mapping[str, int], timeout_s: float | None = None) -> WriterStatistics:
        """Have the writer drain to ``rows``, and then end or rotate if ``kind`` is ``stop`` or ``rotate``.

        Raises
        ------
        WriterError
            If the writer ended before, or does not answer in time.
        MulletError
            What kept it from draining.
        """
        future: Future[WriterStatistics] = Future()
        with self._lock:
            if self._end is not None:
                return self._settled(rows)
            number = next(self._numbers)
            self._waiting[number] = future
        self._send(Request(number, kind, dict(rows)))
        try:
            return future.result(timeout_s)
        except TimeoutError:
            if future.done():
                raise
            raise WriterError(
                f"the HDF5 writer did not bring everything into the file within {timeout_s:g} s; "
                "it goes on by itself, and the ring holds the rows"
            ) from None

    def annotate(self, note: Note) -> None:
        """Hand the writer a note, without waiting.

        Raises
        ------
        WriterError
            If the writer ended before.
        """
        with self._lock:
            if self._end is not None:
                raise self._end
        self._send(Request(0, "annotate", note=note))

    def _resolve(self, number: int, outcome: Outcome) -> None:
        with self._lock:
            future = self._waiting.pop(number, None)
        if isinstance(outcome, WriterStatistics):
            self._learn(outcome)
        if future is None:
            return
        if isinstance(outcome, WriterStatistics):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)

    def _learn(self, statistics: WriterStatistics) -> None:
        """Take the newest counts."""
        self.statistics = statistics
        self.heard_at = time.monotonic()

    def _finish(self, end: WriterError) -> None:
        with self._lock:
            self._end = end
            left, self._waiting = self._waiting, {}
        for future in left.values():
            future.set_exception(end)

    def _settled(self, rows: Mapping[str, int]) -> WriterStatistics:
        """A writer that ended in good order by itself has done what is asked if it has the rows."""
        assert self._end is not None
        streams = self.statistics.streams
        if not self._ended_well() or any(name not in streams or streams[name].next_row < rows[name] for name in rows):
            raise self._end
        return self.statistics

    @abstractmethod
    def _ended_well(self) -> bool: ...


class ThreadService(Service):
    """A writer in a thread of this process, which shares h5py's one lock with everything else here.

    The thread is no daemon: it drains and closes its file when the main thread ends.

    Raises
    ------
    MulletError
        What kept the engine from opening file or rings.
    """

    def __init__(self, options: EngineOptions, report: Callable[[str], None] = print_report) -> None:
        super().__init__(report)
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._ready: Future[WriterStatistics] = Future()
        self._failed = False
        self._thread = threading.Thread(target=self._run, args=(options,), name="mulletdaq-hdf5-writer", daemon=False)
        self._thread.start()
        self.statistics = self._ready.result()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def pid(self) -> int | None:
        """None: it has no process of its own."""
        return None

    def join(self) -> None:
        """Wait for the thread's end, unless it still drains."""
        if not self._waiting:
            self._thread.join()

    def receive(self, timeout_s: float) -> list[Request]:
        """See :class:`~mulletdaq.hdf5.messages.Link`."""
        try:
            return [self._requests.get(timeout=timeout_s)]
        except queue.Empty:
            return []

    def answer(self, number: int, outcome: Outcome) -> None:
        """See :class:`~mulletdaq.hdf5.messages.Link`."""
        self._resolve(number, outcome)

    def publish(self, statistics: WriterStatistics) -> None:
        """See :class:`~mulletdaq.hdf5.messages.Link`."""
        self._learn(statistics)

    def report(self, message: str) -> None:
        """See :class:`~mulletdaq.hdf5.messages.Link`."""
        self._report(message)

    @property
    def abandoned(self) -> bool:
        """The interpreter waits for this thread once its main thread has ended."""
        return not threading.main_thread().is_alive()

    @property
    def terminated(self) -> bool:
        """Signals are the owner's affair here."""
        return self.abandoned

    def _send(self, request: Request) -> None:
        self._requests.put(request)

    def _ended_well(self) -> bool:
        return not self._failed

    def _run(self, options: EngineOptions) -> None:
        try:
            from mulletdaq.hdf5.loop import run_engine

            run_engine(options, self, self._ready.set_result)
            end = "the HDF5 writer has ended"
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
                return
            self._failed = True
            end = f"the HDF5 writer failed: {error}; the ring holds what is not in the file"
            self.report(end)
        self._finish(WriterError(end))


__all__ = ["Service", "ThreadService", "print_report"]
