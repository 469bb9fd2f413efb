"""Words to systemd, where it listens: ready, stopping, alive."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


class ServiceNotifier:
    """Speaks systemd's notification protocol; silent where ``NOTIFY_SOCKET`` is not set."""

    def __init__(self) -> None:
        # Taken from the environment, lest a child speaks in our name.
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        microseconds = os.environ.pop("WATCHDOG_USEC", "")
        pid = os.environ.pop("WATCHDOG_PID", "")
        wanted = microseconds.isdecimal() and pid in ("", str(os.getpid()))
        self.watchdog_s = int(microseconds) / 1e6 if wanted else None
        """How often, at least, :meth:`alive` must be called; None: not at all."""

    def ready(self, status: str) -> None:
        """All is started."""
        self._send(f"READY=1\nSTATUS={status}")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1\nSTATUS=bringing everything into the files")

    def alive(self) -> None:
        """Nothing hangs."""
        if self.watchdog_s is not None:
            self._send("WATCHDOG=1")

    def _send(self, words: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.sendto(words.encode(), address)


__all__ = ["ServiceNotifier"]
