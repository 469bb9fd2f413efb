"""The Flight process' end of the pipe to the daemon that started it."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from mulletdaq.errors import MulletError, RemoteError
from mulletdaq.extras import needs_extra
from mulletdaq.flight.messages import INTERNAL_VERBS, VERBS, Request, as_error, decode_answer, encode
from mulletdaq.flight.pipe import Answer, Event, FlightOptions, Question

with needs_extra("flight"):
    import msgspec

_LOOK_S = 1.0


class Owner:
    """Asks the daemon, from any thread, and waits for its answer.

    Parameters
    ----------
    input_fd, output_fd
        The pipe.
    """

    def __init__(self, input_fd: int, output_fd: int) -> None:
        self._input_fd = input_fd
        self._output_fd = output_fd
        self._input = b""
        self._lock = threading.Lock()
        self._number = 0
        self._waiting: dict[int, Future[Answer]] = {}
        self._gone = False
        self._pid = os.getppid()

    def read_options(self) -> FlightOptions:
        """The first line.

        Raises
        ------
        EOFError
            If the owner ended before it was there.
        RemoteError
            If it holds no options.
        """
        line = self._read_line()
        if line is None:
            raise EOFError("the owner is gone")
        try:
            return msgspec.json.decode(line, type=FlightOptions)
        except msgspec.DecodeError as error:
            raise RemoteError(f"the first line holds no options: {error}") from None

    def listen(self) -> None:
        """Take answers until the owner ends."""
        while (line := self._read_line()) is not None:
            try:
                answer = msgspec.json.decode(line, type=Answer)
            except msgspec.DecodeError:
                continue
            with self._lock:
                waiting = self._waiting.pop(answer.id, None)
            if waiting is not None:
                waiting.set_result(answer)
        self._gone = True

    def tell(self, event: Event) -> None:
        """Tell something unasked; not while the owner is too busy to listen."""
        if select.select([], [self._output_fd], [], 0)[1]:
            self._write(encode(event))

    def ask(self, name: str, arguments: Request, has_gone: Callable[[], bool] = lambda: False) -> Any:
        """What the daemon answers, however long it takes: bringing a full ring into a file takes minutes.

        Parameters
        ----------
        has_gone
            Tells whether nobody wants to know any more; asked once a second.

        Raises
        ------
        MulletError
            What the daemon raised.
        RemoteError
            If it ends before it has answered, or nobody wants to know.
        """
        answer: Future[Answer] = Future()
        with self._lock:
            self._number += 1
            number = self._number
            self._waiting[number] = answer
        self._write(encode(Question(id=number, verb=name, arguments=msgspec.Raw(encode(arguments)))))
        received = self._wait(number, answer, has_gone)
        if received.error is not None:
            raised: MulletError = as_error(received.error)
            raise raised
        return decode_answer(bytes(received.result), {**VERBS, **INTERNAL_VERBS}[name].result)

    def _wait(self, number: int, answer: Future[Answer], has_gone: Callable[[], bool]) -> Answer:
        while True:
            try:
                return answer.result(_LOOK_S)
            except FutureTimeoutError:
                if not (self._gone or has_gone()):
                    continue
            with self._lock:
                self._waiting.pop(number, None)
            raise RemoteError("the daemon has ended, or the client has gone, before there was an answer")

    def watch(self, interval_s: float, look: Callable[[], Event]) -> None:
        """Tell how things are, again and again, until the owner is another process than at first."""
        pause = threading.Event()
        while os.getppid() == self._pid:  # a sibling may hold the pipe open when the owner is dead
            self.tell(look())
            pause.wait(interval_s)

    def _read_line(self) -> bytes | None:
        while b"\n" not in self._input:
            if os.getppid() != self._pid:
                return None
            if not select.select([self._input_fd], [], [], 1.0)[0]:
                continue
            received = os.read(self._input_fd, 1 << 16)
            if not received:
                return None
            self._input += received
        line, _, self._input = self._input.partition(b"\n")
        return line

    def _write(self, line: bytes) -> None:
        content = line + b"\n"
        with self._lock:
            while content:
                content = content[os.write(self._output_fd, content) :]


__all__ = ["Owner"]
