"""The HDF5 writer, as its user sees it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

from mulletdaq.errors import RingError, WriterError
from mulletdaq.hdf5.addresses import Recordable, Start, address_of, check_names, check_schemas_of, stream_of
from mulletdaq.hdf5.messages import Note
from mulletdaq.hdf5.options import EngineOptions, Rotation
from mulletdaq.hdf5.service import Service, ThreadService, print_report
from mulletdaq.hdf5.statistics import WriterStatistics
from mulletdaq.hdf5.templates import at, fill
from mulletdaq.ring import RingBuffer

_ALIVE_POLL_S = 0.05


class HDF5Writer:
    """Brings one ring or several into an HDF5 file, while they are written and after.

    A missing file is made. A file of ours is gone on with: where it already holds a run of the same ring, from that
    run's cursor, so that every row is there once; any other ring begins a new run. Any other file is refused.

    Parameters
    ----------
    path
        The file; may hold ``{start:%Y%m%dT%H%M%S}`` (UTC), ``{stream}`` and ``{index}``, where the first of several
        files has index 1.
    ring
        A ring, or rings by stream name; with names the batches of each stream lie in a group of that name. In place of
        a ring also a stream of a daemon, ``mullet.connect("grpc://host").stream("scope")``.
        Statistics and ``rows`` call the stream of a bare ring ``""``.
    flush_interval_s
        Time between commits; a backlog of a quarter ring is committed at once.
    layout
        ``"batches"``: one group a commit. ``"continuous"``: one dataset a channel, which grows, for runs of days. A run
        that the file has already keeps its own.
    compression
        ``"gzip"`` (every reader has it), ``"lzf"``, ``"zstd"`` (readers need hdf5plugin or the like), each after the
        shuffle filter, or None.
    chunk_rows
        Rows a chunk of the larger datasets; about 1 MiB by default.
    fsync
        ``"commit"`` puts each commit on the disk, ``"never"`` leaves that to the operating system.
    run_in
        ``"process"``: its own process, which outlives this one until all is written; ``"thread"``: a thread here.
    metadata
        Text, numbers, arrays, times, and nested dicts of these, stored with the file, or with the run if the file
        was there.
    drain_timeout_s
        How long :meth:`stop` and :meth:`flush` wait; None waits to the end.
    poll_interval_s
        Time between looks at the rings.
    journal_limit_mb
        How much may wait in the journal, in 1,048,576 bytes, while readers hold the file and never let go; beyond it
        the writer goes on in another file, ``NAME_part2.h5``, and says so.
    rotate_rows, rotate_mb, rotate_s
        Go on in another file once this one has so many rows of a stream (exactly), so many times 1,048,576 bytes, or
        is so many seconds old: the next ``{index}``, or ``NAME_part2.h5``. No row is lost or doubled at the seam.
    first_path
        Path of the first file, if ``path`` names only those that follow.
    creator
        Text of a new file's ``creator`` attribute, ``mulletdaq`` and its version by default.
    start
        Where a ring that is not in the file yet begins: ``"oldest"``, ``"latest"`` (what is written from now on), a
        row, or these by stream. None: from its first row, what is gone counted as lost. A row that is gone gives the
        oldest that is there.
    since_ns
        Instead, ns since the Unix epoch: at the first row with such a timestamp or a later one, for stamps that grow.
    persist
        Whether to be the rings' persisting sink, whom producers with ``on_full="block"`` wait for, or of which streams.
        Of several writers on one ring one should be.
    reserve_mb
        Room on the disk, in 1,048,576 bytes, that is left to others: with less, writing pauses, and resumes by itself.
        Only :meth:`stop` uses it up. With 0 writing goes on until the disk is full.
    start_patience_s
        Kill a writer's process that does nothing at all for so long before it is ready; None: wait for ever.
    check_schemas
        Look here at whether the rings can be stored, which loads pyarrow; the writer itself does in any case.
    report
        Takes problems, one line each, from any thread; by default they go to stderr.

    Raises
    ------
    UnsupportedTypeError
        If a ring's schema, as far as it is known, or the metadata cannot be stored.
    SchemaError, ValueError
        If a stream's name or an option is not possible.
    MissingExtraError
        If ``compression="zstd"`` and hdf5plugin is not installed.

    Notes
    -----
    Safe for use by several threads. The rings are opened again by path, so closing yours does not disturb it.
    A writer that is not started writes in the calling thread, on :meth:`flush` and :meth:`stop`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        ring: Recordable | Mapping[str, Recordable],
        *,
        flush_interval_s: float = 1.0,
        layout: str = "batches",
        compression: str | None = "gzip",
        chunk_rows: int | None = None,
        fsync: Literal["commit", "never"] = "commit",
        run_in: Literal["process", "thread"] = "process",
        metadata: Mapping[str, Any] | None = None,
        drain_timeout_s: float | None = None,
        poll_interval_s: float = 0.02,
        journal_limit_mb: float = 256,
        rotate_rows: int | None = None,
        rotate_mb: float | None = None,
        rotate_s: float | None = None,
        first_path: str | os.PathLike[str] | None = None,
        creator: str | None = None,
        start: Start | Mapping[str, Start] = None,
        since_ns: int | None = None,
        persist: bool | Collection[str] = True,
        reserve_mb: float = 0,
        start_patience_s: float | None = None,
        check_schemas: bool = True,
        report: Callable[[str], None] = print_report,
    ) -> None:
        if run_in not in ("process", "thread"):
            raise ValueError(f"run_in={run_in!r} is not known; choose 'process' or 'thread'")
        self._rings: dict[str, Recordable] = dict(ring) if isinstance(ring, Mapping) else {"": ring}
        check_names(self._rings, named=isinstance(ring, Mapping))
        if check_schemas:
            check_schemas_of(self._rings)
        persisted = persist if isinstance(persist, Collection) else self._rings if persist else ()
        starts = start if isinstance(start, Mapping) else dict.fromkeys(self._rings, start)
        template = fill(os.path.abspath(os.fspath(path)), stream=stream_of(self._rings))
        self.path = at(template, 1) if first_path is None else os.path.abspath(os.fspath(first_path))
        self._options = EngineOptions(
            path=self.path,
            template=template,
            rotation=Rotation(rotate_rows, rotate_mb, rotate_s),
            rings={
                name: address_of(one, starts.get(name), since_ns, name in persisted)
                for name, one in self._rings.items()
            },
            flush_interval_s=flush_interval_s,
            layout=layout,
            compression=compression,
            chunk_rows=chunk_rows,
            fsync=fsync,
            creator=creator,
            metadata=_plain(metadata),
            poll_interval_s=poll_interval_s,
            journal_limit_bytes=int(journal_limit_mb * (1 << 20)),
            drain_timeout_s=drain_timeout_s,
            reserve_bytes=int(reserve_mb * (1 << 20)),
            start_patience_s=start_patience_s,
        )
        self._report = report
        self._run_in = run_in
        self._drain_timeout_s = drain_timeout_s
        self._lock = threading.RLock()
        self._service: Service | None = None
        self._notes: list[Note] = []
        self._latest = WriterStatistics()
        self._stopped = False

    def start(self) -> None:
        """Start writing; returns once the file is open and the rings' sinks are taken.

        Raises
        ------
        WriterError
            If it runs already, or its process ended at once.
        FileError, RingError, SchemaError
            If file or rings cannot be opened.
        """
        with self._lock:
            if self._service is not None:
                raise WriterError(f"the writer of {self.path} runs already; stop it first")
            self._service = self._make_service()
            self._stopped = False
            for note in self._notes:
                self._service.annotate(note)
            self._notes = []

    def flush(self) -> WriterStatistics:
        """Bring everything written to the rings before this call into the file.

        Raises
        ------
        FileWriteError
            If the file cannot be written now; the writer goes on trying.
        WriterError
            If the writer is dead or did not finish within ``drain_timeout_s``.
        RingError, SchemaError
            What ended the writing of a stream.
        """
        rows = self._heads()
        service = self._service
        if service is None:
            with self._lock:
                return self._drain_here(rows)
        return service.request("flush", rows, self._drain_timeout_s)

    def stop(self, rows: Mapping[str, int] | None = None) -> WriterStatistics:
        """Bring everything into the file and close it; a second call does nothing.

        Parameters
        ----------
        rows
            For a stream the number of rows to have, instead of all that are written at this call.

        Raises
        ------
        FileWriteError, WriterError, RingError, SchemaError
            As :meth:`flush`; the writer has ended, and the ring holds what is not in the file.
        """
        with self._lock:
            if self._stopped:
                return self._latest
            rows = {**self._heads(), **(rows or {})}
            service = self._service
            if service is None:
                self._drain_here(rows, ended=True)
            else:
                try:
                    service.request("stop", rows, self._drain_timeout_s)
                finally:
                    self._latest = service.statistics
                    self._service, self._stopped = None, True
                    service.join()
            self._stopped = True
            return self._latest

    def rotate(self) -> str:
        """Bring everything written before this call into the file, and go on in another one.

        Returns
        -------
        str
            The file that is written from here on; the same as before, if that has no rows yet.

        Raises
        ------
        FileWriteError, WriterError, RingError, SchemaError
            As :meth:`flush`, or if no other file can be begun.
        """
        service = self._service
        if service is None:
            raise WriterError(f"the writer of {self.path} is not started; start it first")
        return service.request("rotate", self._heads(), self._drain_timeout_s).path

    def annotate(self, text: str, timestamp_ns: int, rows: Mapping[str, int]) -> None:
        """Store a note with its time and each stream's row; it is in the file after the next commit.

        Raises
        ------
        WriterError
            If the writer is dead.
        """
        note = Note(str(text), int(timestamp_ns), {name: int(row) for name, row in rows.items()})
        with self._lock:
            if self._service is None:
                self._notes.append(note)
            else:
                self._service.annotate(note)

    def statistics(self) -> WriterStatistics:
        """Counts as of the last commit, and the present lag; never waits for the writer."""
        service = self._service
        latest = self._latest if service is None else service.statistics
        heads = self._heads()
        behind = any(row > _next_row(latest, name) for name, row in heads.items())
        lag_s = (time.time_ns() - latest.persisted_until_ns) / 1e9 if behind and latest.persisted_until_ns else 0.0
        if len(heads) < len(self._rings):  # of a stream elsewhere the writer knows more
            lag_s = max(lag_s, latest.lag_s)
        return replace(latest, lag_s=max(lag_s, 0.0))

    async def run(self) -> None:
        """Start, write until cancelled or stopped, drain. The event loop is never blocked.

        Raises
        ------
        FileError, RingError, SchemaError
            As :meth:`start` and :meth:`stop`.
        """
        import asyncio  # with all of TLS, and most processes of ours have no use for it

        starting = asyncio.ensure_future(asyncio.to_thread(self.start))
        try:
            await asyncio.shield(starting)
            while self.alive:
                await asyncio.sleep(_ALIVE_POLL_S)
        finally:
            if not starting.done():
                await asyncio.wait([starting])
            if starting.exception() is None:
                await asyncio.shield(asyncio.to_thread(self.stop))

    @property
    def alive(self) -> bool:
        """Whether it was started and still writes."""
        service = self._service
        return service is not None and service.alive

    @property
    def pid(self) -> int | None:
        """The id of its process; None when it has none."""
        service = self._service
        return None if service is None else service.pid

    @property
    def restarting(self) -> bool:
        """Whether its process died, and the next one is not ready yet."""
        service = self._service
        return service is not None and service.restarting

    @property
    def restarts(self) -> int:
        """How often its process died and was replaced."""
        service = self._service
        return 0 if service is None else service.restarts

    @property
    def last_death(self) -> str:
        """How the last of these ended, in words; empty if none did."""
        service = self._service
        return "" if service is None else service.last_death

    @property
    def silent_s(self) -> float:
        """How long ago it last said anything: at most some seconds ago, unless it hangs, or waits for a slow disk."""
        service = self._service
        return 0.0 if service is None else time.monotonic() - service.heard_at

    def kill(self) -> None:
        """Kill a process that does nothing any more; another one takes its place, and nothing is lost or doubled.

        Raises
        ------
        WriterError
            If it runs in a thread.
        """
        service = self._service
        if service is not None:
            service.kill()

    def _make_service(self) -> Service:
        make: Callable[[EngineOptions, Callable[[str], None]], Service] = ThreadService
        if self._run_in == "process":
            from mulletdaq.hdf5.remote import ProcessService

            make = ProcessService
        return make(self._options, self._report)

    def _heads(self) -> dict[str, int]:
        heads = {}
        for name, ring in self._rings.items():
            if isinstance(ring, RingBuffer):  # how far a stream elsewhere is, the writer asks itself
                with suppress(RingError):  # the writer, which has the ring open by itself, looks instead
                    heads[name] = ring.newest_row
        return heads

    def _drain_here(self, rows: Mapping[str, int], *, ended: bool = False) -> WriterStatistics:
        from mulletdaq.hdf5.engine import Engine

        engine, drained = Engine(self._options), False
        try:
            for note in self._notes:
                engine.annotate(note)
            self._notes = []
            engine.drain(rows)
            self._latest, drained = engine.statistics(), True
        finally:
            engine.close(ended=ended and drained)
        return self._latest


def _next_row(statistics: WriterStatistics, stream: str) -> int:
    counts = statistics.streams.get(stream)
    return 0 if counts is None else counts.next_row


def _plain(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    if not metadata:
        return {}
    from mulletdaq.hdf5.metadata import plain_metadata  # with NumPy, which who has none to store need not load

    return plain_metadata(metadata)


__all__ = ["HDF5Writer"]
