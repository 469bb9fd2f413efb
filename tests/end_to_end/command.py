"""Run the installed command in its own process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests import waiting
from tests.waiting import PATIENCE_S

wait_until = partial(waiting.eventually, what="what the test waits for", poll_s=0.05)


@dataclass
class Done:
    """A command that has ended."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    @property
    def error(self) -> str:
        """The one line that a failed command may print on stderr."""
        assert "Traceback" not in self.stderr, self.stderr
        lines = [line for line in self.stderr.splitlines() if line.startswith("mullet: ")]
        assert len(lines) == 1, self.stderr
        return lines[0]


class Mullet:
    """The installed ``mullet``, in a folder of its own."""

    def __init__(self, folder: Path, rings: Path) -> None:
        self.folder = folder
        self.rings = rings
        self.running: list[subprocess.Popen[str]] = []

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}

    def start(self, *words: object) -> subprocess.Popen[str]:
        """Start a command as the leader of a process group of its own."""
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "mullet"), *map(str, words)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.running.append(process)
        return process

    def finish(self, process: subprocess.Popen[str]) -> Done:
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
        return Done(process.returncode, stdout, stderr)

    def __call__(self, *words: object) -> Done:
        """Run a command to its end."""
        return self.finish(self.start(*words))

    def record(self, output: str, *words: object, source: str = "simulated") -> subprocess.Popen[str]:
        """Start a recording and wait until it says that it records."""
        process = self.start("record", "--source", source, "-o", output, *words)
        assert process.stderr is not None
        line = process.stderr.readline()
        while line and not line.startswith("recording "):
            line = process.stderr.readline()
        assert line, "it ended before it recorded"
        return process

    def kill_all(self) -> None:
        """End what a failed test left running, and let go of all pipes."""
        for process in self.running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()

    def rings_now(self) -> Any:
        return self("status", "--json").json

    def wait_for_rows(self, rows: int) -> Any:
        """The state of the one ring there is, once it has at least that many rows."""
        return wait_until(
            lambda: next((ring for ring in self.rings_now() if ring.get("rows_written", 0) >= rows), None)
        )


def group_is_gone(process: subprocess.Popen[str]) -> bool:
    """Whether nothing of the process group that a command led is alive any more."""
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return True
    return False
