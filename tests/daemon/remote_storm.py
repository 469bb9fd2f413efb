"""A stream recorded over a network while everybody on both sides is killed in random order; every row is there once.

``python -m tests.daemon.remote_storm SECONDS [SEED]``
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

import mulletdaq as mullet
from mulletdaq.errors import MulletError
from mulletdaq.hdf5.verify import verify
from tests.flight.proxy import Cable
from tests.waiting import PATIENCE_S

from .running import Pids, Running, eventually, stored
from .storming import Load, free_port, run

CONFIG = """
[daemon]
port = {port}
disk_reserve_mb = 0
[streams.data]
ring_mb = 10
[[streams.data.outputs]]
path = "data.h5"
flush_interval_s = 0.1
"""

VICTIMS = ("recorder", "recorder and writer", "writer", "flight", "daemon", "producer", "cable")


class Recorder:
    """``mullet record grpc://…`` in a process group of its own."""

    def __init__(self, folder: Path, address: str) -> None:
        command = [str(Path(sys.executable).parent / "mullet"), "record", address, "-o", "remote.h5"]
        self._log = folder / "recorder.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--interval", "0.1"],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """Its standard error."""
        return self._log.read_text()

    def wait_until_it_records(self) -> bool:
        """Whether it does; it may have met a daemon that was just killed."""
        eventually(lambda: "recording " in self.said or self.process.poll() is not None, "it begins")
        return "recording " in self.said

    def kill(self, *, group: bool) -> None:
        with suppress(ProcessLookupError):
            if group:
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
        self.process.wait()


class RemoteStorm:
    """A daemon, a producer, a cable, and a recorder at its other end."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._random = random.Random(seed)
        self._port = free_port()
        (folder / "mullet.toml").write_text(CONFIG.format(port=self._port))
        self._daemons: list[Running] = []
        self._recorders: list[Recorder] = []
        self.cable = Cable(self._port)
        self._start_daemon()
        self.producer = Load(self._folder)
        self.pids = Pids()
        self._start_recorder()
        self.kills = dict.fromkeys(VICTIMS, 0)

    def _start_daemon(self) -> None:
        self._daemons.append(Running(self._folder, "--config", "mullet.toml"))
        self._daemons[-1].wait_for("ready")

    def _start_recorder(self) -> None:
        address = f"{self.cable.address}/data"

        def records() -> bool:
            self._recorders.append(Recorder(self._folder, address))
            return self._recorders[-1].wait_until_it_records()

        eventually(records, "the same command records")

    def _flight_pid(self) -> int | None:
        with suppress(MulletError), mullet.connect(f"grpc://127.0.0.1:{self._port}") as daemon:
            return next(child.pid for child in daemon.status().children if child.kind == "flight")
        return None

    def _writer_pid(self) -> int | None:
        children = Path(f"/proc/{self._recorders[-1].process.pid}/task/{self._recorders[-1].process.pid}/children")
        with suppress(OSError):
            pids = children.read_text().split()
            return int(pids[0]) if pids else None
        return None

    def blow(self, seconds: float) -> None:
        """Strike one after the other, and start what nobody else does."""
        end = time.monotonic() + seconds
        while time.monotonic() < end or not all(self.kills.values()):
            time.sleep(self._random.uniform(0.0, 0.5))
            victim = self._random.choice(VICTIMS)
            self.kills[victim] += 1
            if victim.startswith("recorder"):
                self._recorders[-1].kill(group=victim != "recorder")
                self._start_recorder()
            elif victim in ("writer", "flight"):
                pid = self._writer_pid() if victim == "writer" else self._flight_pid()
                if pid is not None:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            elif victim == "daemon":
                self._daemons[-1].kill()
                self._start_daemon()
            elif victim == "producer":
                self.producer.kill()
                self.producer = Load(self._folder)
            else:
                self.cable.cut()

    def finish(self) -> int:
        """End all in good order; how many rows each file has, which are all that were produced."""
        self.producer.kill()
        rows = self.pids.rows
        recorder = self._recorders[-1]
        eventually(self._flight_pid, "the service answers")
        recorder.process.send_signal(signal.SIGINT)
        assert recorder.process.wait(PATIENCE_S) == 0, recorder.said
        self.pids.close()
        assert self._daemons[-1].stop() == 0, self._daemons[-1].log
        for name in ("data.h5", "remote.h5"):
            path = self._folder / name
            np.testing.assert_array_equal(stored(path), np.arange(rows))
            assert verify(path).ok, verify(path).problems
        return rows

    def clean_up(self) -> None:
        """End all that is left."""
        self.producer.kill()
        for one in self._recorders:
            if one.process.poll() is None:
                one.kill(group=True)
        for daemon in self._daemons:
            daemon.clean_up()
        self.cable.close()


def storm(folder: Path, seconds: float, seed: int) -> tuple[int, dict[str, int]]:
    """Rows in each file after a storm, and who was struck how often."""
    one = RemoteStorm(folder, seed)
    try:
        one.blow(seconds)
        return one.finish(), one.kills
    finally:
        one.clean_up()


if __name__ == "__main__":
    run(storm, "{rows} rows, each once in both files, after {count} strikes: {kills}")
