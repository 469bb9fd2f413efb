"""Processes that begin at once: forked from one that has imported everything, and does nothing else.

A thousand kills need thousands of processes, and importing would be most of their lives.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from types import TracebackType
from typing import Self

_REPOSITORY = Path(__file__).parents[2]
_START = f"""import sys; sys.path.insert(0, {str(_REPOSITORY)!r})
from tests.faults import nursery; nursery.main()"""
_LARGEST_REQUEST = 1 << 16


class Nursery:
    """Starts functions of modules beside this one, each in a process of its own.

    Notes
    -----
    Safe for use by several threads. Whoever is left when it closes is told so by a new parent.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def bear(self, module: str, words: list[str], stdout_fd: int, stderr_fd: int) -> int:
        """Start ``module.main(words)`` as leader of a process group of its own; its pid."""
        with self._lock:
            request = json.dumps([module, words]).encode()
            socket.send_fds(self._requests, [request], [stdout_fd, stderr_fd])
            return int(self._requests.recv(_LARGEST_REQUEST))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._requests.close()
        self._process.wait()


def main() -> None:
    """Fork for each request, until there are no more."""
    for module in ("roles", "plain_h5py", "readers"):
        importlib.import_module(f"tests.faults.{module}")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the dead
    warnings.simplefilter("ignore", DeprecationWarning)  # libraries have threads here; all of them sleep
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        while True:
            request, descriptors, _, _ = socket.recv_fds(requests, _LARGEST_REQUEST, 2)
            if not request:
                return
            if not os.fork():
                break
            for fd in descriptors:
                os.close(fd)
        _be_born(requests, descriptors)
    name, words = json.loads(request)
    importlib.import_module(f"tests.faults.{name}").main(words)


def _be_born(requests: socket.socket, descriptors: list[int]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    for number, fd in enumerate(descriptors, 1):
        os.dup2(fd, number)
        os.close(fd)
    requests.send(str(os.getpid()).encode())  # by now it can be killed with its group


__all__ = ["Nursery"]
