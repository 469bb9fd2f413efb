"""A cable between client and service that can be cut."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Cable:
    """Passes TCP connections on to a port of this computer."""

    def __init__(self, port: int, near_port: int = 0) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", near_port))
        self.port = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.bytes_passed = 0
        self._closing = False
        self._start(self._accept)

    @property
    def address(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def cut(self) -> int:
        """Close every connection in the middle of whatever goes over it; how many there were."""
        with self._lock:
            cut, self._sockets = self._sockets, []
        for end in cut:
            shut(end)
        return len(cut) // 2

    def close(self) -> None:
        """Take it away: from here on connections are refused. Closing twice is fine."""
        self._closing = True
        shut(self._listener)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Cable:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing:
            try:
                near, _ = self._listener.accept()
            except OSError:
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            with self._lock:
                self._sockets += [near, far]
            self._start(self._carry, near, far)

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        """Both ways; closed only when nobody uses them, since the system gives their numbers to the next ones."""
        with near, far:
            back = threading.Thread(target=self._pass_on, args=(far, near))
            back.start()
            self._pass_on(near, far)
            back.join()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(1 << 16):
                self.bytes_passed += len(content)
                target.sendall(content)
        shut(source)
        shut(target)


def shut(end: socket.socket) -> None:
    """End what goes over it, whoever waits for it; one that is closed already is left."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
