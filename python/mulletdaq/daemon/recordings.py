"""All that is recorded: outputs of the configuration, recordings by command, and those that have ended."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from mulletdaq.config import Config
from mulletdaq.daemon.log import Level, Log
from mulletdaq.daemon.output import TRANSIENT, Output, OutputPlan
from mulletdaq.daemon.plans import check_name, commanded_plan, gone_on_with, permanent_plans
from mulletdaq.daemon.streams import DaemonStream
from mulletdaq.errors import MulletError, RecordingError, StreamNotFoundError
from mulletdaq.flight.messages import Annotate, Flush, RecordingInfo, Rotate, StartRecording, StopRecording

_REMEMBERED = 100
_MOST_AT_ONCE = 64


class Recordings:
    """Starts, stops and keeps count of recordings.

    Parameters
    ----------
    config
        The daemon's.
    streams
        The daemon's, by name.
    log
        Where what happens is told.

    Notes
    -----
    For the thread of the event loop.
    """

    def __init__(self, config: Config, streams: Mapping[str, DaemonStream], log: Log) -> None:
        self._config = config
        self._streams = streams
        self._log = log
        self._running: dict[str, Output] = {}
        self._ended: list[Output] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> list[Output]:
        """Those that run, or try to."""
        return list(self._running.values())

    # ---- start and end of the daemon

    async def begin(self, remembered: list[dict[str, Any]]) -> None:
        """Start the outputs of the configuration, and go on with the recordings of a daemon that was killed.

        Parameters
        ----------
        remembered
            What :meth:`remember` of the daemon before gave.

        Raises
        ------
        MulletError
            What keeps an output from starting, unless it may go away by itself.
        """
        before = list(_plans(remembered))
        plans = [gone_on_with(self._with_ids(plan), before) for plan in permanent_plans(self._config)]
        outputs = [self._make(plan) for plan in plans]
        refused: list[BaseException] = []
        for output, error in zip(outputs, await self._start_all(outputs), strict=True):
            if isinstance(error, TRANSIENT):
                self._start_later(output, error)
            elif error is not None:
                del self._running[output.name]
                refused.append(error)
        if refused:
            raise refused[0]
        for plan in before:
            if not plan.permanent:
                await self._resume(plan)

    async def _start_all(self, outputs: list[Output]) -> list[BaseException | None]:
        return await asyncio.gather(*(output.start() for output in outputs), return_exceptions=True)

    async def _resume(self, plan: OutputPlan) -> None:
        if not set(plan.streams) <= set(self._streams) or self._with_ids(plan) != plan or plan.name in self._running:
            what = "its streams are not the same any more"
            self._log.say("warning", "recording_lost", f"recording {plan.name} of the daemon before has ended: {what}")
            return
        self._log.say("info", "recording_resumed", f"recording {plan.name} goes on in {plan.path}", recording=plan.name)
        output = self._make(plan)
        try:
            await output.start()
        except MulletError as error:
            self._start_later(output, error)

    def _with_ids(self, plan: OutputPlan) -> OutputPlan:
        return dataclasses.replace(plan, stream_ids={name: self._streams[name].ring.stream_id for name in plan.streams})

    async def end(self) -> bool:
        """Stop all; whether everything written so far is in their files."""
        outputs = self.running
        results = await asyncio.gather(*(self._end_one(output) for output in outputs), return_exceptions=True)
        return not any(isinstance(result, BaseException) for result in results)

    def remember(self, *, commanded: bool = True) -> list[dict[str, Any]]:
        """What a successor needs to go on, with recordings by command or without."""
        return [dataclasses.asdict(one.plan) for one in self.running if commanded or one.plan.permanent]

    # ---- what clients ask for

    async def start(self, asked: StartRecording) -> RecordingInfo:
        """Start a recording.

        Raises
        ------
        RecordingError, RequestError, FileError, RingError, SchemaError
            If that is not possible; nothing is left behind.
        """
        check_name(asked.name, self._running)
        if len(self._running) >= _MOST_AT_ONCE:
            raise RecordingError(f"{len(self._running)} recordings run already, each in a process; stop one first")
        rows = {name: stream.ring.newest_row for name, stream in self._streams.items()}
        output = self._make(self._with_ids(commanded_plan(self._config, asked, rows)))
        try:
            await output.start()
        except BaseException:
            self._running.pop(asked.name, None)
            raise
        words = f"recording {asked.name} of {', '.join(output.plan.streams)} into {output.plan.path}"
        self._log.say("info", "recording_started", words, recording=asked.name, path=output.plan.path)
        return output.info()

    async def stop(self, asked: StopRecording) -> RecordingInfo:
        """Stop a recording, everything written so far in its file.

        Raises
        ------
        RecordingError
            If it is an output of the configuration.
        StreamNotFoundError
            If none of that name runs.
        FileError
            If it did not take everything.
        """
        output = self._named(asked.name)
        if output.plan.permanent:
            raise RecordingError(
                f"{asked.name} is an output of the configuration; it ends with the daemon, or when taken out there"
            )
        await self._end_one(output)
        return output.info()

    async def _end_one(self, output: Output) -> None:
        try:
            await output.stop()
        finally:
            if self._running.get(output.name) is output:
                del self._running[output.name]
                self._ended = [*self._ended, output][-_REMEMBERED:]
                info = output.info()
                words = f"recording {output.name} has ended with {info.rows_persisted} rows in {info.path}"
                level: Level = "info" if info.reason is None else "error"
                reason = "" if info.reason is None else f": {info.reason}"
                event = "recording_stopped" if info.reason is None else "not_saved"
                self._log.say(level, event, words + reason, recording=output.name, path=info.path)

    def infos(self) -> list[RecordingInfo]:
        """All recordings, those that have ended first."""
        return [output.info() for output in (*self._ended, *self._running.values())]

    async def flush(self, asked: Flush) -> dict[str, int]:
        """Bring everything written so far into files; rows there, by recording."""
        outputs = self._chosen(asked.name, of_stream=True)
        return dict(zip((one.name for one in outputs), await _each(one.flush() for one in outputs), strict=True))

    async def rotate(self, asked: Rotate) -> list[str]:
        """Go on in other files; their paths."""
        return await _each(one.rotate() for one in self._chosen(asked.name))

    def annotate(self, asked: Annotate) -> None:
        """Store a note in one recording, or in all that run."""
        timestamp_ns = time.time_ns() if asked.timestamp_ns is None else asked.timestamp_ns
        for output in self._chosen(asked.recording):
            output.annotate(asked.text, timestamp_ns)

    def _chosen(self, name: str | None, *, of_stream: bool = False) -> list[Output]:
        if name is None:
            return [output for output in self.running if output.running]
        if of_stream and name in self._streams and name not in self._running:
            return [output for output in self.running if output.running and name in output.plan.streams]
        return [self._named(name)]

    def _named(self, name: str) -> Output:
        output = self._running.get(name)
        if output is None:
            there = ", ".join(self._running) or "none"
            raise StreamNotFoundError(f"no recording {name!r} runs; there are: {there}")
        return output

    def _make(self, plan: OutputPlan) -> Output:
        rings = {name: self._streams[name].ring for name in plan.streams}
        daemon = self._config.daemon
        output = Output(
            plan,
            rings,
            reserve_mb=daemon.disk_reserve_mb,
            drain_timeout_s=daemon.drain_timeout_s,
            start_patience_s=daemon.stall_timeout_s,
            log=self._log,
        )
        self._running[plan.name] = output
        return output

    def _start_later(self, output: Output, error: MulletError) -> None:
        output.tell_why_not(error)
        task = asyncio.get_running_loop().create_task(output.start_in_the_end())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _plans(remembered: list[dict[str, Any]]) -> Iterator[OutputPlan]:
    for one in remembered:
        with suppress(TypeError):  # of another version
            yield OutputPlan(**one)


async def _each(asked: Iterable[Any]) -> list[Any]:
    """Ask all at once; the first failure is raised when all have answered."""
    results = await asyncio.gather(*asked, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return list(results)


__all__ = ["Recordings"]
