"""The wire below :class:`mulletdaq.flight.client.Connection`: one Flight client, credentials, errors."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from mulletdaq.errors import AccessRefusedError, ConnectionLostError, RemoteError, RequestError, ServiceBusyError
from mulletdaq.extras import needs_extra
from mulletdaq.flight.access import is_loopback, read_token
from mulletdaq.flight.messages import DRAINING, VERBS, Request, decode_answer, encode
from mulletdaq.flight.refusals import raised_as_ours

with needs_extra("flight"):
    from pyarrow import flight

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_DEFAULT_PORT = 50051

_OPTIONS: list[tuple[str, int]] = [
    # gRPC shares one connection among all clients of a process, and keeps them all waiting when it broke.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A gRPC server as it comes cuts off who pings more than once in five minutes while it has nothing to say, and ours
    # has nothing to say for as long as a drain takes, or until a stream has columns. So pings are the last resort only:
    # a follower hears heartbeats, a question has a deadline, and what is sent must be acknowledged within the timeout,
    # which gRPC also makes the socket's (TCP_USER_TIMEOUT).
    ("grpc.keepalive_time_ms", 330_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]

_Made = TypeVar("_Made")


class Wire:
    """Calls to one service; made anew when the connection broke.

    Safe for use by several threads.

    Parameters
    ----------
    address
        ``grpc://host:port`` or ``grpc+tls://host:port``.
    token_file, tls_root_file
        Files with the token and with the certificates to trust.
    timeout_s
        How long a call that is answered at once may take; what brings rows into files first takes as long as it must.
    """

    def __init__(
        self,
        address: str,
        token_file: str | os.PathLike[str] | None,
        tls_root_file: str | os.PathLike[str] | None,
        timeout_s: float,
    ) -> None:
        self.address = _checked(address, tls_root_file is not None)
        self.token_file = token_file
        self.tls_root_file = tls_root_file
        token = None if token_file is None else read_token(os.fspath(token_file))
        if token is not None and not self._is_safe():
            raise AccessRefusedError(f"a token is not sent to {self.address} without TLS; use grpc+tls://")
        self._roots = None if tls_root_file is None else _content(os.fspath(tls_root_file))
        self._headers = [] if token is None else [(b"authorization", b"Bearer " + token)]
        self._timeout_s = timeout_s
        self._client: Any = None

    def _is_safe(self) -> bool:
        host = self.address.partition("://")[2].rpartition(":")[0]
        return self.address.startswith("grpc+tls:") or is_loopback(host)

    @property
    def client(self) -> Any:
        """The Flight client."""
        if self._client is None:
            with raised_as_ours(self.address):
                self._client = flight.FlightClient(self.address, tls_root_certs=self._roots, generic_options=_OPTIONS)
        return self._client

    def options(self, *, limited: bool = True) -> Any:
        """What goes with a call."""
        return flight.FlightCallOptions(timeout=self._timeout_s if limited else None, headers=self._headers)

    def ask(self, name: str, arguments: Request) -> Any:
        """An action's result.

        Raises
        ------
        MulletError
            What the daemon raised.
        ConnectionLostError, AccessRefusedError
        """
        with raised_as_ours(self.address):
            results = self._patiently(name, arguments) if name in DRAINING else self._results(name, arguments)
        if len(results) != 1:
            raise RemoteError(f"{self.address} answered {name!r} with {len(results)} results; is it a mullet daemon?")
        return decode_answer(results[0].body, VERBS[name].result)

    def _results(self, name: str, arguments: Request, *, limited: bool = True) -> list[Any]:
        return list(self.client.do_action(flight.Action(name, encode(arguments)), self.options(limited=limited)))

    def _patiently(self, name: str, arguments: Request) -> list[Any]:
        """Without a deadline, which is the service's; in a thread, since Ctrl-C does not reach into Flight's call."""
        found: Future[list[Any]] = Future()

        def ask() -> None:
            try:
                found.set_result(self._results(name, arguments, limited=False))
            except BaseException as error:
                found.set_exception(error)

        threading.Thread(target=ask, name=f"mulletdaq-{name}", daemon=True).start()
        return found.result()

    def close(self) -> None:
        """Close it. Closing twice is fine."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):
                client.close()


def tries(patience_s: float, attempt: Callable[[], _Made], on_lost: Callable[[], None]) -> _Made:
    """Try until it goes, or the service has been away, or busy, for too long since the first failure.

    Busy counts as away: the places for streams may be taken by our own calls that broke, until the service notices.

    Raises
    ------
    ConnectionLostError, ServiceBusyError
        If it did not come back in time; any other error at once.
    """
    deadline: float | None = None
    for pause_s in _pauses():
        try:
            return attempt()
        except (ConnectionLostError, ServiceBusyError):
            now = time.monotonic()
            deadline = now + patience_s if deadline is None else deadline
            if now + pause_s > deadline:
                raise
            on_lost()
            time.sleep(pause_s)
    raise AssertionError("there is always another pause")


def _pauses() -> Iterator[float]:
    pause_s = _FIRST_PAUSE_S
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _checked(address: str, has_roots: bool) -> str:
    scheme, separator, place = address.partition("://")
    if not separator or scheme not in ("grpc", "grpc+tcp", "grpc+tls") or not place or "/" in place:
        raise RequestError(f"{address!r} is not an address such as grpc://host:50051")
    if has_roots and scheme != "grpc+tls":
        raise RequestError(f"{address} has no TLS, so tls_root_file is not needed; or is it grpc+tls://{place}?")
    has_port = place.rpartition(":")[2].isdigit() and not place.endswith("]")
    return f"{scheme}://{place if has_port else f'{place}:{_DEFAULT_PORT}'}"


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise AccessRefusedError(f"{path} cannot be read: {error.strerror}") from error


__all__ = ["Wire", "tries"]
