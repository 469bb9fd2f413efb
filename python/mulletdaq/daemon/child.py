"""A child process that is kept alive: spoken to in JSON lines, started anew when it dies, killed when it hangs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

from mulletdaq.children import how_it_ended, interrupts_blocked, module_command, module_environment
from mulletdaq.daemon.log import Log
from mulletdaq.flight.messages import ChildStatus

_FIRST_DELAY_S = 0.25
_LONGEST_DELAY_S = 30.0
_LONG_LIFE_S = 10.0
_END_PATIENCE_S = 10.0
_LINE_LIMIT = 1 << 24


class Child:
    """One child and those that replace it.

    Parameters
    ----------
    name, kind
        What it is called in the log and in the status.
    module
        What it runs.
    first_line
        Gives what each new process is told first.
    take_line
        Takes each line that it says, parsed and as it came.
    log
        Where deaths are told.

    Notes
    -----
    For the thread of the event loop.
    """

    def __init__(
        self,
        name: str,
        kind: Literal["source", "flight"],
        module: str,
        first_line: Callable[[], bytes],
        take_line: Callable[[dict[str, Any], bytes], None],
        log: Log,
    ) -> None:
        self.name = name
        self.kind = kind
        self.restarts = 0
        self.last_death: str | None = None
        self.stalled = False
        self.heard_at = time.monotonic()
        self.ready_at: float | None = None
        self.failed: dict[str, Any] | None = None
        self.has_begun = asyncio.Event()
        """Set once the first process is ready, or has ended without."""
        self._module = module
        self._first_line = first_line
        self._take_line = take_line
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start it, and go on doing so."""
        self._task = asyncio.get_running_loop().create_task(self._keep_alive())

    @property
    def pid(self) -> int | None:
        """The living process."""
        return None if self._process is None else self._process.pid

    def status(self) -> ChildStatus:
        """As the daemon's status has it."""
        state: Literal["running", "restarting", "stalled"] = "running"
        if self.ready_at is None:
            state = "restarting"
        elif self.stalled:
            state = "stalled"
        return ChildStatus(
            name=self.name,
            kind=self.kind,
            state=state,
            pid=self.pid,
            restarts=self.restarts,
            last_death=self.last_death,
        )

    def send(self, line: bytes) -> None:
        """Say something to it; into nothing while it is dead."""
        process = self._process
        if process is not None and process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write(line)

    def kill(self) -> None:
        """End the present process as it is; another one takes its place."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def stop(self) -> None:
        """Have it end, and stay so."""
        self._stopping.set()
        process = self._process
        if process is not None and process.stdin is not None:
            process.stdin.close()
        if self._task is not None:
            _, late = await asyncio.wait([self._task], timeout=_END_PATIENCE_S)
            if late:
                self._log.say("warning", "child_killed", f"{self} did not end when told to, and was killed")
                self.kill()
            await self._task

    def __str__(self) -> str:
        return "the Flight service" if self.kind == "flight" else f"the source of stream {self.name}"

    async def _keep_alive(self) -> None:
        quick_deaths = 0
        while not self._stopping.is_set():
            began_at = time.monotonic()
            how = await self._live_once()
            self._process, was_ready, self.ready_at = None, self.ready_at is not None, None
            self.has_begun.set()
            if self._stopping.is_set():
                break
            long_life = was_ready and time.monotonic() - began_at > _LONG_LIFE_S
            quick_deaths = 0 if long_life else quick_deaths + 1
            self.last_death = how
            self._log.repeated(
                "error",
                "child_died",
                f"{self.kind} {self.name} {how}",
                f"{self} {how}; it is started again",
                child=self.name,
            )
            delay_s = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** min(quick_deaths, 10)) if quick_deaths else 0.0
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_s)
            if not self._stopping.is_set():
                self.restarts += 1

    async def _live_once(self) -> str:
        """Run one process to its end; how that was, in words."""
        self.failed, self.stalled = None, False
        try:
            with interrupts_blocked():
                process = await asyncio.create_subprocess_exec(
                    *module_command(self._module),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    env=module_environment(),
                    limit=_LINE_LIMIT,
                )
        except OSError as error:
            return f"could not be started: {error.strerror or error}"
        self._process, self.heard_at = process, time.monotonic()
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        with suppress(OSError):
            process.stdin.write(self._first_line())
        if self._stopping.is_set():
            process.stdin.close()
        errors = asyncio.create_task(self._log_errors(process.stderr))
        await self._listen(process.stdout)
        code = await process.wait()
        with suppress(TimeoutError):
            await asyncio.wait_for(errors, 1.0)
        if self.failed is not None:
            return f"failed: {self.failed.get('type', 'error')}: {self.failed.get('message', 'no reason given')}"
        return how_it_ended(code)

    async def _listen(self, output: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await output.readline()
            except ValueError:  # longer than any line it should say
                self.kill()
                return
            if not line:
                return
            self.heard_at = time.monotonic()
            try:
                words = json.loads(line)
            except ValueError:
                continue
            if isinstance(words, dict):
                self._take(words, line)

    def _take(self, words: dict[str, Any], line: bytes) -> None:
        if words.get("event") == "ready":
            self.ready_at = time.monotonic()
        elif words.get("event") == "failed":
            self.failed = {**words, **(words["error"] if isinstance(words.get("error"), dict) else {})}
        self._take_line(words, line)
        if self.ready_at is not None:
            self.has_begun.set()

    async def _log_errors(self, output: asyncio.StreamReader) -> None:
        """Pass on what it says, but not without end: a client may be what makes it talk."""
        while line := await _line(output):
            said = line.decode(errors="replace")
            self._log.repeated("warning", "child_said", f"{self.name} {said}", f"{self}: {said}", child=self.name)


async def _line(output: asyncio.StreamReader) -> bytes:
    """The next line; one that is too long in pieces."""
    try:
        return await output.readline()
    except ValueError:
        return b"a line too long for any log"


__all__ = ["Child"]
