"""The daemon: starts everything, looks after it, and ends it in good order."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mulletdaq import __version__
from mulletdaq.config import Config
from mulletdaq.daemon.child import Child
from mulletdaq.daemon.conditions import Conditions
from mulletdaq.daemon.log import Log
from mulletdaq.daemon.look import (
    Losses,
    child_conditions,
    disk_conditions,
    disks_of,
    look_at_child,
    recording_conditions,
    stream_conditions,
)
from mulletdaq.daemon.notify import ServiceNotifier
from mulletdaq.daemon.places import DaemonPlace, Memory, Survivor, end_survivors, orphaned_writer, survivor
from mulletdaq.daemon.recordings import Recordings
from mulletdaq.daemon.service import FlightService
from mulletdaq.daemon.source_process import SourceOptions
from mulletdaq.daemon.streams import DaemonStream, discard_ring, open_ring, prepare_schemas, share_with_group
from mulletdaq.errors import RequestError
from mulletdaq.flight import messages
from mulletdaq.flight.messages import DiskStatus, Health, Status
from mulletdaq.ring import list_rings

_LOOK_EVERY_S = 1.0
_HELD_S = 10.0
_MAX_THREADS = 32
_SURVIVOR_PATIENCE_S = 30.0


class Daemon:
    """Rings, sources, recordings and the Flight service of one configuration.

    Parameters
    ----------
    config
        What there is to be.
    log
        Where what happens is told.

    Notes
    -----
    Everything is decided in the thread of the event loop; what may take long is done in threads that it waits for.
    """

    def __init__(self, config: Config, log: Log) -> None:
        self.config = config
        self.streams: dict[str, DaemonStream] = {}
        self.recordings = Recordings(config, self.streams, log)
        self.conditions = Conditions(log)
        self.started_ns = time.time_ns()
        self._log = log
        self._sources: list[Child] = []
        self._service = FlightService(config, self.answer, log) if config.daemon.flight else None
        self._stop = asyncio.Event()
        self._losses = Losses()
        self._looked_at = time.monotonic()
        self._judge_from = 0.0
        self._disks: list[DiskStatus] = []
        self._place: DaemonPlace | None = None

    @property
    def address(self) -> str:
        """Where clients find the daemon; empty if it does not listen."""
        return "" if self._service is None else self._service.address

    def stop(self) -> None:
        """Ask it to end."""
        self._stop.set()

    async def run(self, tell_ready: Callable[[], None]) -> bool:
        """Run until asked to end.

        Parameters
        ----------
        tell_ready
            Called once all is started.

        Returns
        -------
        bool
            Whether everything is in the files.

        Raises
        ------
        MulletError
            What keeps it from starting; what was started has ended again.
        """
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_MAX_THREADS, "mulletdaq-daemon"))
        notifier = ServiceNotifier()
        self._place = DaemonPlace()
        watching: asyncio.Task[None] | None = None
        before = self._place.recall()
        try:
            await self._begin(before)
            watching = asyncio.create_task(self._watch(self._place, notifier))
            tell_ready()
            notifier.ready(f"{len(self.streams)} streams, {self.address}")
            await asyncio.wait([watching, asyncio.create_task(self._stop.wait())], return_when="FIRST_COMPLETED")
            if watching.done():
                watching.result()
        finally:
            notifier.stopping()
            outputs, plans = self.recordings.running, self.recordings.remember(commanded=False)
            whole = await self._end()
            if watching is not None:
                watching.cancel()
            for stream in self.streams.values():
                permanent = [one for one in outputs if one.plan.permanent and stream.name in one.plan.streams]
                discard_ring(stream.ring, self._log, [one.next_row(stream.name) for one in permanent])
            # The next daemon may be luckier than one that could not start, and goes on with rings that stay.
            plans = before.recordings if watching is None else plans
            noted = plans if watching is None else self._rings_stay()
            self._place.leave(Memory([], plans) if noted else None)
        return whole

    # ---- beginning

    async def _begin(self, before: Memory) -> None:
        survivors = before.children + self._orphans()
        await asyncio.to_thread(end_survivors, survivors, _SURVIVOR_PATIENCE_S, self._log)
        if self._service is not None:
            await self._service.check_address()
        for name, config in self.config.streams.items():
            self.streams[name] = DaemonStream(name, config, open_ring(name, config, self._log))
        rings = [stream.ring for stream in self.streams.values()]
        share_with_group(rings, readable=self.config.daemon.group_readable)
        await asyncio.to_thread(prepare_schemas, self.streams.values())
        await self.recordings.begin(before.recordings)
        self._start_sources()
        if self._service is not None:
            await self._service.start()

    def _orphans(self) -> list[Survivor]:
        """Writers of our rings of which the daemon before could not tell any more."""
        ours = [info.statistics for info in list_rings() if info.name in self.config.streams]
        pids = [one.sink_pid for one in ours if one is not None]
        found = [orphaned_writer(pid) for pid in pids if pid is not None]
        return [one for one in found if one is not None]

    def _start_sources(self) -> None:
        for stream in self.streams.values():
            if stream.config.source is not None:
                child = Child(
                    stream.name,
                    "source",
                    "mulletdaq.daemon.source_process",
                    _source_line(stream),
                    lambda words, line: None,
                    self._log,
                )
                self._sources.append(child)
                child.start()

    # ---- looking after it

    async def _watch(self, place: DaemonPlace, notifier: ServiceNotifier) -> None:
        period_s = min(_LOOK_EVERY_S, (notifier.watchdog_s or 4.0) / 4)
        while True:
            try:
                self._look(place)
            except Exception as error:  # whatever it is, it must not end what is being recorded
                words = f"looking after everything failed: {type(error).__name__}: {error}"
                self._log.repeated("error", "internal", str(error), words)
            notifier.alive()
            await asyncio.sleep(period_s)

    def _look(self, place: DaemonPlace) -> None:
        stall_timeout_s = self._stall_timeout_s()
        outputs = self.recordings.running
        for stream in self.streams.values():
            stream.look()
        for output in outputs:
            output.look()
            if output.hangs_s > stall_timeout_s:
                words = f"the writer of recording {output.name} hangs, and is replaced"
                self._log.repeated("error", "writer_killed", output.name, words)
                output.writer.kill()
        for child in self.children:
            look_at_child(child, self.streams, stall_timeout_s)
        self._disks = disks_of(self._folders(), self.config.daemon.disk_reserve_mb)
        self.conditions.look(
            [
                *stream_conditions(self.streams.values(), self.conditions),
                *recording_conditions(outputs),
                *child_conditions(outputs, self.children),
                *self._losses.look(outputs),
                *disk_conditions(self._disks),
            ]
        )
        self._remember(place)

    def _remember(self, place: DaemonPlace) -> None:
        """Note for a successor who works here; without room for the note, all else goes on."""
        try:
            place.remember(Memory(self._children_now(), self.recordings.remember()))
        except OSError as error:
            words = f"what a daemon after this one needs cannot be noted in {place.folder}: {error.strerror}; make room"
            self._log.repeated("warning", "not_noted", str(error.strerror), words)

    def _stall_timeout_s(self) -> float:
        """How long a process may do nothing; for ever right after we were held ourselves, and heard nobody."""
        now = time.monotonic()
        if now - self._looked_at > _HELD_S:
            self._judge_from = now + _HELD_S
        self._looked_at = now
        return self.config.daemon.stall_timeout_s if now >= self._judge_from else math.inf

    @property
    def children(self) -> list[Child]:
        """Sources, and the Flight process."""
        return [*self._sources, *([] if self._service is None else [self._service.child])]

    def _folders(self) -> list[str]:
        folders = [os.path.dirname(output.plan.path) for output in self.recordings.running]
        data = [os.path.join(self.config.folder, one) for one in self.config.daemon.data_folders]
        return list(dict.fromkeys(map(os.path.abspath, [*folders, *data])))

    def _children_now(self) -> list[Survivor]:
        named = [(output.writer.pid, f"the writer of recording {output.name}") for output in self.recordings.running]
        named += [(child.pid, str(child)) for child in self.children]
        found = [survivor(pid, what) for pid, what in named if pid is not None]
        return [one for one in found if one is not None]

    # ---- ending

    async def _end(self) -> bool:
        """Sources first, so that nothing new comes; then clients; then the files take what is there."""
        await asyncio.gather(*(child.stop() for child in self._sources))
        if self._service is not None:
            await self._service.stop()
        return await self.recordings.end()

    def _rings_stay(self) -> bool:
        return any(os.path.exists(stream.ring.path) for stream in self.streams.values())

    # ---- answering

    async def answer(self, verb: str, asked: messages.Request) -> Any:
        """Answer a verb of :mod:`mulletdaq.flight.messages`.

        Raises
        ------
        MulletError
            If it cannot be done.
        """
        match asked:
            case messages.StartRecording():
                return await self._remembering(self.recordings.start(asked))
            case messages.StopRecording():
                return await self._remembering(self.recordings.stop(asked))
            case messages.Flush():
                return messages.Flushed(rows_persisted=await self.recordings.flush(asked))
            case messages.Rotate():
                return messages.Rotated(paths=await self.recordings.rotate(asked))
            case messages.Annotate():
                self.recordings.annotate(asked)
                return messages.Done()
        match verb:
            case "streams":
                return [stream.address() for stream in self.streams.values()]
            case "status":
                return self.status()
            case "health":
                return self.health()
            case "list_recordings":
                return self.recordings.infos()
        raise RequestError(f"there is no verb {verb!r}")

    async def _remembering(self, doing: Any) -> Any:
        try:
            return await doing
        finally:
            if self._place is not None:
                self._remember(self._place)

    def health(self) -> Health:
        """Whether all is well, and if not, why."""
        return self.conditions.health()

    def status(self) -> Status:
        """The daemon at this moment."""
        outputs = self.recordings.running
        return Status(
            version=__version__,
            pid=os.getpid(),
            started_ns=self.started_ns,
            address=self.address,
            streams=[
                stream.status(max((one.rows_lost(stream.name) for one in outputs), default=0), stream.fill)
                for stream in self.streams.values()
            ],
            recordings=self.recordings.infos(),
            children=[output.child() for output in outputs] + [child.status() for child in self.children],
            disks=self._disks,
        )


def _source_line(stream: DaemonStream) -> Callable[[], bytes]:
    source = stream.config.source
    assert source is not None
    options = SourceOptions(
        source=source.name,
        rate_hz=source.rate_hz,
        ring_path=stream.ring.path,
        stream_id=stream.ring.stream_id,
        on_full=stream.config.on_full,
    )
    return options.line


__all__ = ["Daemon"]
