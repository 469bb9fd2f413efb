"""A small stand-in for the daemon: starts the Flight process, answers it, and starts it again when it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from mulletdaq.errors import MulletError, RecordingError
from mulletdaq.flight.messages import (
    INTERNAL_VERBS,
    VERBS,
    ChildStatus,
    DiskStatus,
    Done,
    Flushed,
    Health,
    HealthReason,
    RecordingInfo,
    Rotated,
    StartRecording,
    Status,
    StopRecording,
    StreamAddress,
    StreamStatus,
    encode,
    error_message,
)
from mulletdaq.flight.pipe import Alive, Answer, Event, Failed, FlightOptions, Question, Ready
from mulletdaq.ring import RingBuffer
from tests import waiting
from tests.waiting import PATIENCE_S

eventually = partial(waiting.eventually, poll_s=0.005)


class Supervisor:
    """Rings, pretended recordings, and a real Flight process, kept alive."""

    def __init__(self, **options: Any) -> None:
        self.options = FlightOptions(**{"port": 0, **options})
        self.rings: dict[str, RingBuffer] = {}
        self.recordings: dict[str, RecordingInfo] = {}
        self.asked: list[tuple[str, Any]] = []
        self.starts = 0
        self.ends: list[int] = []
        self.alive = Alive(streams=0, memory_mb=0)
        self.beats = 0
        self.failure: Failed | None = None
        self.port = 0
        self._ready = threading.Event()
        self._stopping = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Supervisor:
        self._thread.start()
        self._ready.wait(PATIENCE_S)
        if self.failure is not None:
            self._thread.join()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        for ring in self.rings.values():
            ring.close()

    @property
    def address(self) -> str:
        scheme = "grpc" if self.options.tls_key_file is None else "grpc+tls"
        return f"{scheme}://{self.options.host}:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Kill the Flight process, and wait for the next one."""
        self._ready.clear()
        os.kill(self.pid, signal.SIGKILL)
        assert self._ready.wait(PATIENCE_S)

    def end_process(self) -> None:
        """Have the Flight process end in good order, and wait for the next one."""
        self._ready.clear()
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.close()
        assert self._ready.wait(PATIENCE_S)

    def wait_ready(self) -> None:
        assert self._ready.wait(PATIENCE_S)

    def wait_for_streams(self, count: int) -> None:
        """Wait until the Flight process, asked after this call, has so many streams."""
        begin = self.beats
        eventually(lambda: self.beats > begin + 1 and self.alive.streams == count, f"{count} streams")

    # ---- the process

    def _run(self) -> None:
        while not self._stopping and self.failure is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mulletdaq.flight.process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
            )
            self.starts += 1
            self._say(encode(self.options))
            assert self._process.stdout is not None
            assert self._process.stdin is not None
            for line in self._process.stdout:
                self._hear(line)
            self._ready.clear()
            self.ends.append(self._process.wait())
            self._process.stdout.close()
            with suppress(OSError):
                self._process.stdin.close()
        self._ready.set()

    def _say(self, line: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):
            self._process.stdin.write(line + b"\n")

    def _hear(self, line: bytes) -> None:
        if b'"event"' in line:
            event = msgspec.json.decode(line, type=Event)
            if isinstance(event, Ready):
                self.port = event.port
                self.options = msgspec.structs.replace(self.options, port=event.port)
                self._ready.set()
            elif isinstance(event, Alive):
                self.alive = event
                self.beats += 1
            else:
                self.failure = event
            return
        question = msgspec.json.decode(line, type=Question)
        try:
            arguments = msgspec.json.decode(
                question.arguments, type={**VERBS, **INTERNAL_VERBS}[question.verb].arguments
            )
            self.asked.append((question.verb, arguments))
            result = getattr(self, question.verb)(arguments)
            self._say(encode(Answer(id=question.id, result=msgspec.Raw(encode(result)))))
        except MulletError as error:
            self._say(encode(Answer(id=question.id, error=error_message(error))))

    # ---- the verbs

    def streams(self, _: Any) -> list[StreamAddress]:
        return [
            StreamAddress(name=name, ring_path=ring.path, stream_id=f"{ring.stream_id:016x}")
            for name, ring in self.rings.items()
        ]

    def status(self, _: Any) -> Status:
        streams = [
            StreamStatus(
                name=name, ring_path=ring.path, stream_id=f"{ring.stream_id:016x}", rows=ring.newest_row, rows_per_s=5.0
            )
            for name, ring in self.rings.items()
        ]
        return Status(
            version="1",
            pid=os.getpid(),
            started_ns=1,
            address=self.address,
            streams=streams,
            recordings=list(self.recordings.values()),
            children=[
                ChildStatus(name="flight", kind="flight", state="running", pid=self.pid),
                ChildStatus(name="scope", kind="source", state="restarting", pid=None),
            ],
            disks=[DiskStatus(folder="/data", free_bytes=10**12, reserve_bytes=10**9)],
        )

    def health(self, _: Any) -> Health:
        reason = HealthReason(code="disk_low", what="the disk is nearly full", advice="make room", since_ns=5)
        return Health(state="warning", reasons=[reason])

    def start_recording(self, wanted: StartRecording) -> RecordingInfo:
        if wanted.name in self.recordings:
            raise RecordingError(f"recording {wanted.name!r} is running already; stop it first, or choose another name")
        path = wanted.path or f"{wanted.name}.h5"
        streams = wanted.streams or list(self.rings)
        info = RecordingInfo(name=wanted.name, path=path, streams=streams, state="recording", started_ns=7)
        self.recordings[wanted.name] = info
        return info

    def stop_recording(self, wanted: StopRecording) -> RecordingInfo:
        return msgspec.structs.replace(self.recordings[wanted.name], state="stopped", stopped_ns=9)

    def list_recordings(self, _: Any) -> list[RecordingInfo]:
        return list(self.recordings.values())

    def flush(self, _: Any) -> Flushed:
        return Flushed(rows_persisted={name: ring.newest_row for name, ring in self.rings.items()})

    def annotate(self, _: Any) -> Done:
        return Done()

    def rotate(self, _: Any) -> Rotated:
        return Rotated(paths=["a_part2.h5"])
