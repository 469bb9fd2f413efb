"""The owner's side of a writer that runs in its own process, and that is started again when it dies."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

from mulletdaq.errors import MulletError, WriterError
from mulletdaq.hdf5.journal.recovery import recover
from mulletdaq.hdf5.messages import Note, Request, decode_event, encode_request
from mulletdaq.hdf5.options import EngineOptions
from mulletdaq.hdf5.service import Service, print_report
from mulletdaq.hdf5.spawn import WriterProcess
from mulletdaq.hdf5.statistics import WriterStatistics

_QUICK_DEATH_S = 2.0
_FIRST_DELAY_S = 0.25
_LONGEST_DELAY_S = 30.0
_PATIENCE_DEATHS = 3
_LOOK_INTERVAL_S = 0.25


class ProcessService(Service):
    """A writer in a process of its own, so that neither h5py's lock nor a crash reaches the hardware loop.

    A process that dies is replaced at once: its journal is brought into the file here, the new one goes on where the
    file says, and gets again what the old one had not answered. If this process dies, the writer drains and ends.

    Raises
    ------
    MulletError
        What kept the process from opening file or rings, by its own class.
    WriterError
        If the process ended before it was ready.
    """

    def __init__(self, options: EngineOptions, report: Callable[[str], None] = print_report) -> None:
        super().__init__(report)
        self._options = options
        self._unanswered: dict[int, Request] = {}
        self._unsaved_notes: list[Note] = []
        self._note_number = 0
        self._first_ready: Future[WriterStatistics] = Future()
        self._ready_at = 0.0
        self._failure: BaseException | None = None
        self._ended = False
        self._let_go = threading.Event()
        self._process = self._start_process()
        # A daemon: it owns no file, and must not keep the interpreter from ending.
        threading.Thread(target=self._supervise, name="mulletdaq-hdf5-events", daemon=True).start()
        try:
            self.statistics = self._first_ready.result()
        except BaseException:
            self._process.terminate()  # our producers still live, so that it would not end by itself
            self.join()
            raise

    @property
    def alive(self) -> bool:
        """Whether a process runs, or is about to."""
        return self._end is None

    @property
    def pid(self) -> int | None:
        """The process's id; another one after a death."""
        return self._process.pid

    @property
    def restarting(self) -> bool:
        """Whether one that died is being replaced, and is not ready yet."""
        return not self._ready_at

    def kill(self) -> None:
        """Kill the process; another one takes its place."""
        self._process.kill()

    def join(self) -> None:
        """Close the pipe to the process, and wait for its end unless it still drains."""
        self._let_go.set()
        self._process.let_go()
        if not self._waiting:
            self._process.wait()

    def annotate(self, note: Note) -> None:
        """Hand the writer a note, without waiting; kept here until it is in the file."""
        with self._lock:
            if self._end is not None:
                raise self._end
            self._note_number += 1
            note = replace(note, number=self._note_number)
            self._unsaved_notes.append(note)
        self._send(Request(0, "annotate", note=note))

    def _send(self, request: Request) -> None:
        if request.number:
            with self._lock:
                self._unanswered[request.number] = request
        self._process.send(encode_request(request))

    def _ended_well(self) -> bool:
        return self._ended

    def _start_process(self) -> WriterProcess:
        process = WriterProcess(self._options)
        patience_s = self._options.start_patience_s
        if patience_s is not None:
            threading.Thread(target=self._watch_start, args=(process, patience_s), daemon=True).start()
        return process

    def _watch_start(self, process: WriterProcess, patience_s: float) -> None:
        """Kill a process that does nothing at all before it is ready; one with a large journal may take long."""
        ran_ns, still_since = process.ran_ns, time.monotonic()
        while not self._let_go.wait(_LOOK_INTERVAL_S) and process.alive and not self._ready_at:
            now, now_ran_ns = time.monotonic(), process.ran_ns
            if now_ran_ns != ran_ns:
                ran_ns, still_since = now_ran_ns, now
            elif now - still_since > patience_s:
                self._report(
                    f"the HDF5 writer of {self._options.path} (process {process.pid}) has done nothing for "
                    f"{patience_s:g} s before it was ready, and is killed; a disk that hangs is the usual reason"
                )
                process.kill()
                return

    # ---- in the thread of events

    def _supervise(self) -> None:
        deaths = 0
        while True:
            for line in self._process.lines():
                self._take(line)
            self._process.let_go()
            if self._ended or self._let_go.is_set() or not self._first_ready.done() or self._first_ready.exception():
                break
            lived_s = time.monotonic() - self._ready_at if self._ready_at else 0.0
            deaths = 0 if lived_s > _QUICK_DEATH_S else deaths + 1
            self._ready_at = 0.0
            self._tell_of_death(deaths)
            self._replay_journal()
            again = deaths - _PATIENCE_DEATHS
            delay_s = 0.0 if again <= 0 else min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2**again)
            if self._let_go.wait(delay_s):
                break
            self._process = self._start_process()
            self.restarts += 1
        end = WriterError(self._end_message())
        if not self._first_ready.done():
            self._first_ready.set_exception(self._failure or end)
        elif not self._let_go.is_set() and self._first_ready.exception() is None:
            self._report(str(end))  # nobody may ask for hours, and the ring fills meanwhile
        self._finish(end)

    def _tell_of_death(self, deaths: int) -> None:
        failure, self._failure = self._failure, None
        path, pid = self._options.path, self._process.pid
        self.last_death = self._process.end() if failure is None else str(failure)
        if failure is not None:
            self._report(f"the HDF5 writer could not be started again: {failure}; trying on, the ring keeps the rows")
        else:
            self._report(
                f"the HDF5 writer of {path} (process {pid}) {self._process.end()}; "
                "the ring keeps the rows, a new one is being started"
            )
        if failure is not None or deaths >= _PATIENCE_DEATHS:
            with self._lock:
                given_up = list(self._unanswered)
            for number in given_up:
                self._resolve(number, failure or WriterError(self._end_message()))

    def _replay_journal(self) -> None:
        """Finish what the dead writer had begun, so that others can read the file at once."""
        try:
            recover(self.statistics.path or self._options.path)
        except (MulletError, OSError) as error:
            self._report(f"the journal of {self._options.path} waits for the new writer: {error}")

    def _take(self, line: bytes) -> None:
        event, number, outcome = decode_event(line)
        self.heard_at = time.monotonic()
        if event == "report":
            self._report(str(outcome))
        elif event == "answer" and not isinstance(outcome, str):
            self._resolve(number, outcome)
        elif event == "failed" and isinstance(outcome, BaseException):
            self._failure = outcome
        elif isinstance(outcome, WriterStatistics):
            self._learn(outcome)
            self._ended = event == "ended"
            if event == "ready":
                self._begin(outcome)

    def _begin(self, statistics: WriterStatistics) -> None:
        """A process is ready: it gets what the one before left undone."""
        self._ready_at = time.monotonic()
        if not self._first_ready.done():
            self._first_ready.set_result(statistics)
            return
        with self._lock:
            notes, requests = list(self._unsaved_notes), list(self._unanswered.values())
        for note in notes:
            self._process.send(encode_request(Request(0, "annotate", note=replace(note, again=True))))
        for request in requests:
            self._process.send(encode_request(request))

    def _resolve(self, number: int, outcome: WriterStatistics | BaseException) -> None:
        with self._lock:
            self._unanswered.pop(number, None)
        super()._resolve(number, outcome)

    def _learn(self, statistics: WriterStatistics) -> None:
        super()._learn(statistics)
        with self._lock:
            self._unsaved_notes = [note for note in self._unsaved_notes if note.number > statistics.last_note]

    def _end_message(self) -> str:
        how = "ended by itself" if self._ended else self._process.end()
        return (
            f"the HDF5 writer of {self._options.path} (process {self._process.pid}) {how}; "
            "the ring still holds the rows that are not in the file: start a new writer on both"
        )


__all__ = ["ProcessService"]
