"""What the storms share: a port, a script that produces without end, and a run from the command line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

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

Storm = Callable[[Path, float, int], tuple[int, dict[str, int]]]
"""Of a folder, seconds and a seed: rows in the files, and who was struck how often."""


def free_port() -> int:
    """A port that nobody listens at; the daemons after the first must be found there too."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Load:
    """A process that appends rows to the ring ``data`` until it is killed."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", LOAD], cwd=folder, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdout is not None and self._process.stdout.readline() == b"producing\n"

    def kill(self) -> None:
        """Kill it; nothing where it is dead already."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def run(storm: Storm, report: str) -> None:
    """A storm as the words of the command line say, ``SECONDS [SEED]``, and what came of it."""
    seconds = float(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(dir="/dev/shm") as rings:
        os.environ["MULLET_RING_DIR"] = rings
        rows, kills = storm(Path(folder), seconds, seed)
    print(report.format(rows=rows, count=sum(kills.values()), kills=kills))
