"""The Flight process as the daemon sees it: a child that listens, and asks what its clients want."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from mulletdaq.config import Config
from mulletdaq.daemon.child import Child
from mulletdaq.daemon.log import Log
from mulletdaq.errors import DaemonError, RequestError
from mulletdaq.extras import needs_extra
from mulletdaq.flight.messages import INTERNAL_VERBS, VERBS, Request, as_error, decode_arguments, encode, error_message
from mulletdaq.flight.pipe import Answer, FlightOptions, Question

with needs_extra("daemon"):
    import msgspec

Answerer = Callable[[str, Request], Awaitable[Any]]


class FlightService:
    """Keeps the Flight process alive, and answers it.

    Parameters
    ----------
    config
        The daemon's.
    answer
        Answers a verb.
    log
        Where problems are told.

    Attributes
    ----------
    child
        The process.
    port
        Where it listens; the same after a death.
    """

    def __init__(self, config: Config, answer: Answerer, log: Log) -> None:
        self._config = config
        self._answer = answer
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = config.daemon.port
        self.child = Child("flight", "flight", "mulletdaq.flight.process", self._first_line, self._take, log)

    @property
    def address(self) -> str:
        """Where clients find it."""
        host = self._config.daemon.host
        scheme = "grpc" if self._config.daemon.tls_certificate_file is None else "grpc+tls"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def check_address(self) -> None:
        """See whether it can listen, before anything is begun.

        Raises
        ------
        DaemonError
            If somebody else listens there, or it is no address of this computer.
        """
        host, port = self._config.daemon.host.strip("[]"), self.port
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
            failures = [_why_not(family, address) for family, _, _, _, address in found]
        except OSError as error:
            failures = [error]
        # A name may have an address of a kind that this computer does not use; one that can be had will do.
        taken = [error for error in failures if error is not None and error.errno == errno.EADDRINUSE]
        if taken or None not in failures:
            raise DaemonError(f"cannot listen at {host}:{port}: {_in_words((taken or failures)[0])}")

    async def start(self) -> None:
        """Start it, and wait until it listens.

        Raises
        ------
        MulletError
            If it cannot; it is not tried again.
        """
        self.child.start()
        await self.child.has_begun.wait()
        if self.child.ready_at is None:
            failed, how = self.child.failed, self.child.last_death
            await self.child.stop()
            if failed is not None and isinstance(failed.get("error"), dict):
                raise as_error(msgspec.convert(failed["error"], type=type(error_message(DaemonError()))))
            raise DaemonError(f"the Flight service {how or 'ended at once'}")

    async def stop(self) -> None:
        """End it; clients are cut off."""
        await self.child.stop()

    def _first_line(self) -> bytes:
        daemon, folder = self._config.daemon, self._config.folder
        options = FlightOptions(
            host=daemon.host,
            port=self.port,
            tls_certificate_file=_in(folder, daemon.tls_certificate_file),
            tls_key_file=_in(folder, daemon.tls_key_file),
            token_file=_in(folder, daemon.token_file),
            insecure=daemon.insecure,
            memory_limit_mb=daemon.memory_limit_mb,
            max_message_mb=daemon.max_message_mb,
            max_batch_rows=daemon.max_batch_rows,
            max_clients=daemon.max_clients,
            allow_upload=daemon.allow_upload,
            data_folders=[os.path.realpath(os.path.join(folder, one)) for one in daemon.data_folders],
        )
        return encode(options) + b"\n"

    def _take(self, words: dict[str, Any], line: bytes) -> None:
        if words.get("event") == "ready":
            self.port = int(words.get("port", self.port))
        elif "event" not in words:
            task = asyncio.get_running_loop().create_task(self._serve(line))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, line: bytes) -> None:
        try:
            question = msgspec.json.decode(line, type=Question)
        except msgspec.DecodeError as error:
            self._log.say("error", "question", f"the Flight service asked what is not understood: {error}")
            return
        try:
            verb = VERBS.get(question.verb) or INTERNAL_VERBS.get(question.verb)
            if verb is None:
                raise RequestError(f"there is no verb {question.verb!r}")  # noqa: TRY301
            result = await self._answer(question.verb, decode_arguments(verb, question.arguments))
            answer = Answer(id=question.id, result=msgspec.Raw(encode(result)))
        except Exception as error:
            answer = Answer(id=question.id, error=error_message(error))
        self.child.send(encode(answer) + b"\n")


def _why_not(family: int, address: Any) -> OSError | None:
    """What keeps a program from listening at an address; None if nothing does."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        return error
    return None


def _in_words(error: OSError | None) -> str:
    number = None if error is None else error.errno
    if number == errno.EADDRINUSE:
        return "somebody listens there already; stop that program, or choose another port with --port"
    if number == errno.EACCES:
        return "only root may listen there; choose a port from 1024 on with --port"
    what = "no such address" if error is None else error.strerror
    return f"{what}; choose a host that is one of this computer's addresses"


def _in(folder: str, name: str | None) -> str | None:
    return None if name is None else os.path.join(folder, name)


__all__ = ["FlightService"]
