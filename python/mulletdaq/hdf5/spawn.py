"""One writer process: started, written to, read from."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mulletdaq.children import how_it_ended, start_module
from mulletdaq.hdf5.options import EngineOptions
from mulletdaq.hdf5.process import encode_options

_EXIT_TIMEOUT_S = 30.0


class WriterProcess:
    """A writer in a process of its own: started afresh, never forked, in this process group.

    Notes
    -----
    Safe for use by several threads; :meth:`lines` by one.
    """

    def __init__(self, options: EngineOptions) -> None:
        self._lock = threading.Lock()
        self._process = start_module("mulletdaq.hdf5.process")
        self.send(encode_options(options))

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def send(self, line: bytes) -> None:
        """Write a line to it; into nothing when it is dead, as :meth:`lines` tells."""
        stdin = self._process.stdin
        assert stdin is not None
        with self._lock, suppress(OSError, ValueError):
            while line:
                line = line[stdin.write(line) :]

    def lines(self) -> Iterator[bytes]:
        """What it says, line by line, until its end."""
        stdout = self._process.stdout
        assert stdout is not None
        received = b""
        while chunk := os.read(stdout.fileno(), 1 << 16):
            *lines, received = (received + chunk).split(b"\n")
            yield from lines
        stdout.close()
        self._process.wait()

    def end(self) -> str:
        """How a dead process ended, in words."""
        return how_it_ended(self._process.wait())

    def let_go(self) -> None:
        """Close the pipe to it: it drains and ends when its rings have no producer."""
        stdin = self._process.stdin
        assert stdin is not None
        with self._lock, suppress(OSError):
            stdin.close()

    def terminate(self) -> None:
        """Tell it to drain and end now."""
        with suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """End it as it is."""
        self._process.kill()

    @property
    def ran_ns(self) -> int:
        """CPU time that it has used, in nanoseconds: as long as it grows, it does something."""
        try:
            return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return time.monotonic_ns()  # it is dead, or nobody counts here: never judged by it

    def wait(self) -> None:
        """Give it time to end."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_TIMEOUT_S)


__all__ = ["WriterProcess"]
