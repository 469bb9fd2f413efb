"""Daemon, writer and producer killed in random order under load; the file then has every row once.

``python -m tests.daemon.kill_storm SECONDS [SEED]``
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL

import numpy as np

from mulletdaq.hdf5.verify import verify
from mulletdaq.ring import ring_path

from .running import ONE_STREAM, Pids, Running, eventually, stored

LOAD = """
import sys, time
import mulletdaq as mullet
producer = mullet.attach("data").producer({"value": ""}, on_full="block")
print("producing", flush=True)
while True:
    for _ in range(20):
        producer.append(float(producer.row))
    time.sleep(0.005)
"""


class Storm:
    """One daemon after the other, one producer after the other."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._random = random.Random(seed)
        (folder / "mullet.toml").write_text(ONE_STREAM.format(daemon="", stream="", output=""))
        (folder / "load.py").write_text(LOAD)
        self._all: list[Running] = []
        self.daemon = self._start_daemon()
        self.producer = self._start_producer()
        self.pids = Pids()
        self.kills = {"daemon": 0, "writer": 0, "producer": 0}

    def _start_daemon(self) -> Running:
        self._all.append(Running(self._folder, "--config", "mullet.toml"))
        self._all[-1].wait_for("ready")
        return self._all[-1]

    def _start_producer(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "load.py"], cwd=self._folder, stdout=subprocess.PIPE, start_new_session=True
        )
        assert process.stdout is not None and process.stdout.readline() == b"producing\n"
        return process

    def _end_producer(self) -> None:
        self.producer.kill()
        self.producer.wait()
        assert self.producer.stdout is not None
        self.producer.stdout.close()

    def blow(self, seconds: float) -> None:
        """Kill one after the other, and start what nobody else does."""
        end = time.monotonic() + seconds
        while time.monotonic() < end or not all(self.kills.values()):
            time.sleep(self._random.uniform(0.0, 0.6))
            victim = self._random.choice(list(self.kills))
            self.kills[victim] += 1
            if victim == "producer":
                self._end_producer()
                self.producer = self._start_producer()
            elif victim == "writer":
                writer = eventually(lambda: self.pids.writer, "there is a writer")
                with suppress(ProcessLookupError):
                    os.kill(writer, SIGKILL)
            else:
                self.daemon.kill()
                self.daemon = self._start_daemon()

    def finish(self) -> int:
        """End all in good order; how many rows the file has, which are all that were produced."""
        self._end_producer()
        rows = self.pids.rows
        self.pids.close()
        assert self.daemon.stop() == 0, self.daemon.log
        path = self._folder / "data.h5"
        np.testing.assert_array_equal(stored(path), np.arange(rows))
        assert verify(path).ok, verify(path).problems
        assert not ring_path("data").exists()
        return rows

    def clean_up(self) -> None:
        """End all that is left."""
        if self.producer.poll() is None:
            self._end_producer()
        for one in self._all:
            one.clean_up()


def storm(folder: Path, seconds: float, seed: int) -> tuple[int, dict[str, int]]:
    """Rows in the file after a storm, and who was killed how often."""
    one = Storm(folder, seed)
    try:
        one.blow(seconds)
        return one.finish(), one.kills
    finally:
        one.clean_up()


def main() -> None:
    seconds = float(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(dir="/dev/shm") as rings:
        os.environ["MULLET_RING_DIR"] = rings
        rows, kills = storm(Path(folder), seconds, seed)
    print(f"{rows} rows, each once, after {sum(kills.values())} kills: {kills}")


if __name__ == "__main__":
    main()
