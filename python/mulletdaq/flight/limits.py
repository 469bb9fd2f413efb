"""What keeps one client from spoiling it for all: places for streams, and a limit of memory."""

from __future__ import annotations

import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mulletdaq.errors import ServiceBusyError

_LONGEST_INTERVAL_S = 0.25
_FASTEST_BYTES_PER_S = 1 << 30
_HURRIED_INTERVAL_S = 0.01
_HURRIED_S = 1.0
_GROWTH_BYTES = 4 << 20
_STACK_BYTES = 8 << 20
_SPARE_THREADS = 64
_ASKED_AFTER_S = 10
_ASKED_EVERY_S = 5
_ASKED_TIMES = 3
_PAGE = os.sysconf("SC_PAGE_SIZE")

OUT_OF_MEMORY = 75
"""Exit code of a process that passed its limit."""


class Places:
    """So many streams at once, up and down; actions need no place.

    Safe for use by several threads.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self.taken = 0

    def take(self) -> Place:
        """A place, given back when its object goes.

        Raises
        ------
        ServiceBusyError
            If there is none left.
        """
        with self._lock:
            if self.taken >= self._count:
                raise ServiceBusyError(f"all {self._count} places for streams are taken; try again later")
            self.taken += 1
        return Place(self._give_back)

    def _give_back(self) -> None:
        with self._lock:
            self.taken -= 1


class Place:
    """One of :class:`Places`.

    A stream whose client goes before the first batch is dropped without ever being run: only the object's end is sure.
    """

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back

    def release(self) -> None:
        """Give it back; twice is fine."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()

    def __del__(self) -> None:
        self.release()


def allow_connections() -> None:
    """Let this process have as many files open as the system grants it: each client that comes is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def notice_dead_clients() -> None:
    """Have the kernel ask silent clients whether they are there, and end the connections of those that are not.

    An upload may be silent for long and be well; but one whose computer lost power keeps its stream's only producer.
    gRPC would ask after two hours. What listens hands its settings on to the connections that it takes.
    """
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError), socket.socket(fileno=os.dup(int(name))) as found:
            if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _ASKED_AFTER_S)
                found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _ASKED_EVERY_S)
                found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _ASKED_TIMES)


def private_bytes() -> int:
    """Memory of this process alone: rings and other files that it maps do not count."""
    with open("/proc/self/statm", "rb", buffering=0) as statm:
        return _private_bytes(statm.fileno())


def _private_bytes(statm: int) -> int:
    _, resident, shared, _ = os.pread(statm, 256, 0).split(maxsplit=3)
    return (int(resident) - int(shared)) * _PAGE


def limit_memory(limit_bytes: int, streams: int) -> None:
    """Keep this process within a limit, or end it.

    Two ways, for two kinds of memory. What Arrow asks for at once (a body that claims to unfold to a gigabyte) is
    refused by the kernel, and becomes an error of that one call. What gRPC gathers piece by piece of a message that
    never ends cannot be refused by anyone but the kernel's killer; there this process ends itself, and its owner starts
    another.

    Parameters
    ----------
    limit_bytes
        Private memory, in bytes, that may be used beyond what is used now.
    streams
        For how many streams there must be threads.
    """
    limit_bytes += private_bytes()
    threads = (streams + _SPARE_THREADS) * _STACK_BYTES  # their stacks are counted whole by the kernel
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _data_bytes() + limit_bytes + threads
    if hard == resource.RLIM_INFINITY or wanted < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    threading.Thread(target=_watch, args=(limit_bytes,), name="memory", daemon=True).start()


def _data_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def _watch(limit_bytes: int) -> None:
    """Look now and then, and more often for a while when there is more than at the look before.

    A message may grow by a gigabyte a second before anything of it is seen here, so the first sign must do, and come
    before a quarter of what is allowed is used; looking always as often would cost more than all else that an idle
    service does.
    """
    statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    before, hurried_until = _private_bytes(statm), 0.0
    calm_interval_s = min(_LONGEST_INTERVAL_S, (limit_bytes - before) / _FASTEST_BYTES_PER_S / 4)
    calm_interval_s = max(calm_interval_s, _HURRIED_INTERVAL_S)
    while (now_bytes := _private_bytes(statm)) <= limit_bytes:
        now = time.monotonic()
        if now_bytes > before + _GROWTH_BYTES:
            hurried_until = now + _HURRIED_S
        before = now_bytes
        time.sleep(_HURRIED_INTERVAL_S if now < hurried_until else calm_interval_s)
    print(f"flight: {now_bytes >> 20} MB are over the memory limit; ending", file=sys.stderr, flush=True)
    os._exit(OUT_OF_MEMORY)  # nothing here needs an end: rings and uploads are as they would be after a kill


__all__ = [
    "OUT_OF_MEMORY",
    "Place",
    "Places",
    "allow_connections",
    "limit_memory",
    "notice_dead_clients",
    "private_bytes",
]
