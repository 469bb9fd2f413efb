"""A real daemon, in a process of its own, and a script that plays the hardware."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mulletdaq.ring import RingBuffer, ring_path
from tests import waiting
from tests.waiting import PATIENCE_S

eventually = partial(waiting.eventually, poll_s=0.02)

ONE_STREAM = """
[daemon]
flight = false
disk_reserve_mb = 0
{daemon}
[streams.data]
ring_mb = 10
{stream}
[[streams.data.outputs]]
path = "data.h5"
flush_interval_s = 0.1
{output}
"""

HARDWARE = """
import sys, time
import mulletdaq as mullet

rows, rate_hz = int(sys.argv[1]), float(sys.argv[2])
producer = mullet.attach("data").producer({"value": ""}, on_full="block")
print("producing", flush=True)
began = time.monotonic()
for row in range(rows):
    producer.append(float(row))
    ahead_s = (row + 1) / rate_hz - (time.monotonic() - began)
    if ahead_s > 0.002:
        time.sleep(ahead_s)
producer.close()
"""


class Running:
    """The installed ``mullet daemon``, its log being read."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.log: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [str(Path(sys.executable).parent / "mullet"), "daemon", "--log-json", *words],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with suppress(ValueError):
                self.log.append(json.loads(line))

    def said(self, event: str, **facts: Any) -> list[dict[str, Any]]:
        """Lines of the log so far."""
        return [line for line in list(self.log) if line["event"] == event and facts.items() <= line.items()]

    def wait_for(self, event: str, **facts: Any) -> dict[str, Any]:
        """The first such line of the log, once it is there."""

        def look() -> Any:
            more_may_come = self._reader.is_alive()
            found = self.said(event, **facts)
            assert found or more_may_come, f"it ended: {self.log}"
            return found

        return dict(eventually(look, f"{event} {facts} in {self.log}")[0])

    def kill(self) -> None:
        """As a crash would end it; what it started goes on as it does then."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it in good order; its exit code."""
        self.process.terminate()
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code

    def clean_up(self) -> None:
        """End all that a failed test left."""
        for number in (signal.SIGCONT, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
        self.process.wait()
        self._reader.join()
        if self.process.stderr is not None:
            self.process.stderr.close()


class Pids:
    """Who holds the ring of stream ``data`` now."""

    def __init__(self) -> None:
        self._ring = RingBuffer.open(ring_path("data"))

    @property
    def writer(self) -> int | None:
        return self._ring.statistics().sink_pid

    @property
    def producer(self) -> int | None:
        return self._ring.statistics().producer_pid

    @property
    def rows(self) -> int:
        return self._ring.newest_row

    def close(self) -> None:
        self._ring.close()


class Hardware:
    """A script that writes row numbers to the daemon's stream; made once it produces."""

    def __init__(self, folder: Path, rows: int, rate_hz: float) -> None:
        script = folder / "hardware.py"
        script.write_text(HARDWARE)
        command = [sys.executable, str(script), str(rows), str(rate_hz)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "producing\n"

    def wait(self) -> int:
        """Its exit code, once it has written all."""
        self._process.communicate(timeout=PATIENCE_S)
        return self._process.returncode


def stored(path: Path, column: str = "value") -> np.ndarray:
    """A column of a file with one run, all batches joined."""
    with h5py.File(path, "r") as file:
        batches = [file["measurements"][name] for name in sorted(file["measurements"])]
        assert len(file.get("losses/rows", ())) == 0
        return np.concatenate([batch[column][:] for batch in batches])
