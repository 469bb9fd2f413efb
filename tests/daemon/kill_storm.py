"""Daemon, Flight service, writers and producer killed in random order under load; the files then have every row once.

One stream is filled by a script here and read over Flight, the other one is filled by an upload.

``python -m tests.daemon.kill_storm SECONDS [SEED]``
"""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL

import numpy as np
import psutil

from mulletdaq.hdf5.verify import verify
from mulletdaq.ring import ring_path

from .remote_load import Reader, Uploader
from .running import Pids, Running, eventually, stored
from .storming import Load, free_port, run

CONFIG = """
[daemon]
port = {port}
disk_reserve_mb = 0
[streams.data]
ring_mb = 10
outputs = [{{ path = "data.h5", flush_interval_s = 0.1 }}]
[streams.remote]
ring_mb = 10
outputs = [{{ path = "remote.h5", flush_interval_s = 0.1 }}]
"""

MODULES = {"writer": "mulletdaq.hdf5.process", "flight": "mulletdaq.flight.process"}


class Storm:
    """One daemon after the other, one producer after the other."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._random = random.Random(seed)
        port = free_port()
        (folder / "mullet.toml").write_text(CONFIG.format(port=port))
        self._all: list[Running] = []
        self.daemon = self._start_daemon()
        self.producer = Load(self._folder)
        self.pids = Pids()
        address = f"grpc://127.0.0.1:{port}"
        self.uploader, self.reader = Uploader(address, "remote"), Reader(address, "data")
        self.uploader.begun.wait()
        self.reader.begun.wait()
        self.kills = {"daemon": 0, "flight": 0, "writer": 0, "producer": 0}

    def _start_daemon(self) -> Running:
        self._all.append(Running(self._folder, "--config", "mullet.toml"))
        self._all[-1].wait_for("ready")
        return self._all[-1]

    def blow(self, seconds: float) -> None:
        """Kill one after the other, and start what nobody else does."""
        end = time.monotonic() + seconds
        while time.monotonic() < end or not all(self.kills.values()):
            time.sleep(self._random.uniform(0.0, 0.6))
            victim = self._random.choice(list(self.kills))
            self.kills[victim] += 1
            if victim == "producer":
                self.producer.kill()
                self.producer = Load(self._folder)
            elif victim in MODULES:
                children = eventually(lambda module=MODULES[victim]: self._children(module), f"there is a {victim}")
                with suppress(ProcessLookupError):
                    os.kill(self._random.choice(children), SIGKILL)
            else:
                self.daemon.kill()
                self.daemon = self._start_daemon()

    def _children(self, module: str) -> list[int]:
        found = []
        for child in psutil.Process(self.daemon.process.pid).children():
            with suppress(psutil.Error):
                if module in child.cmdline():
                    found.append(child.pid)
        return sorted(found)

    def finish(self) -> int:
        """End all in good order; how many rows the files have, which are all that were produced."""
        self.producer.kill()
        rows = self.pids.rows
        self.pids.close()
        self.uploader.ended.set()
        self.uploader.join()
        eventually(lambda: self.reader.rows == rows or self.reader.error, "the reader has all")
        self.reader.ended.set()
        self.reader.join()
        assert self.reader.rows == rows
        assert self.daemon.stop() == 0, self.daemon.log
        for stream, count in (("data", rows), ("remote", self.uploader.rows)):
            path = self._folder / f"{stream}.h5"
            np.testing.assert_array_equal(stored(path), np.arange(count))
            assert verify(path).ok, verify(path).problems
            assert not ring_path(stream).exists()
        return rows + self.uploader.rows

    def clean_up(self) -> None:
        """End all that is left."""
        self.producer.kill()
        self.uploader.ended.set()
        self.reader.ended.set()
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


if __name__ == "__main__":
    run(storm, "{rows} rows, each once, after {count} kills: {kills}")
