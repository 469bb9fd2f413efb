"""Who may come in: addresses, tokens, certificates."""

from __future__ import annotations

import hmac
import ipaddress
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from mulletdaq.errors import AccessRefusedError, RequestError
from mulletdaq.extras import needs_extra
from mulletdaq.flight.pipe import FlightOptions
from mulletdaq.flight.refusals import as_flight_error

with needs_extra("flight"):
    from pyarrow import flight

_SHORTEST_TOKEN = 16
_LONGEST_FILE = 1 << 20
_SCHEME = "Bearer "


def is_loopback(host: str) -> bool:
    """Whether only this computer reaches that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_exposure(options: FlightOptions) -> list[str]:
    """Whether it is safe to listen so.

    Returns
    -------
    list of str
        What the operator should be warned of, one line each.

    Raises
    ------
    AccessRefusedError
        If others could come in without a token, or read it on its way.
    """
    if bool(options.tls_certificate_file) != bool(options.tls_key_file):
        raise AccessRefusedError("tls_certificate_file and tls_key_file belong together; give both or none")
    if is_loopback(options.host):
        return []
    missing = [
        name for name, there in (("token_file", options.token_file), ("tls_certificate_file", options.tls_key_file))
        if not there
    ]  # fmt: skip
    if not missing:
        return []
    where = f"address {options.host} can be reached from other computers"
    if options.insecure:
        said = " and ".join({"token_file": "no token", "tls_certificate_file": "no TLS"}[name] for name in missing)
        return [f"{where}, and there is {said}: anyone there may read, write and stop recordings"]
    raise AccessRefusedError(
        f"{where}; give {' and '.join(missing)}, listen on 127.0.0.1, or say insecure = true where nobody else can be"
    )


def read_token(path: str) -> bytes:
    """The token in a file that only its owner can read.

    Raises
    ------
    AccessRefusedError
        If the file cannot be read, others can read it, or the token is too short.
    """
    content = _read_secret(path, forbidden=stat.S_IRWXG | stat.S_IRWXO)
    token = content.strip()
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or len(token.split()) != 1:
        raise AccessRefusedError(
            f"token file {path} needs one word of at least {_SHORTEST_TOKEN} ASCII characters; "
            "openssl rand -hex 32 makes one"
        )
    return token


def read_certificate(options: FlightOptions) -> tuple[bytes, bytes] | None:
    """Certificate chain and key in PEM, if there are some.

    Raises
    ------
    AccessRefusedError
        If a file cannot be read, or others than owner and group can read the key.
    """
    if options.tls_certificate_file is None or options.tls_key_file is None:
        return None
    chain = _read_secret(options.tls_certificate_file, forbidden=0)
    return chain, _read_secret(options.tls_key_file, forbidden=stat.S_IRWXO | stat.S_IWGRP)


def _read_secret(path: str, *, forbidden: int) -> bytes:
    try:
        with Path(path).open("rb") as file:
            facts = os.fstat(file.fileno())  # of what was opened, whatever the path leads to by now
            content = file.read(_LONGEST_FILE)
    except OSError as error:
        raise AccessRefusedError(f"{path} cannot be read: {error.strerror}") from error
    if facts.st_mode & forbidden:
        raise AccessRefusedError(f"others can read {path} (mode {facts.st_mode & 0o777:03o}); chmod 600 it")
    if forbidden and facts.st_uid not in (os.getuid(), 0):
        raise AccessRefusedError(f"{path} belongs to user {facts.st_uid}; it must be yours")
    return content


class TokenCheck(flight.ServerMiddlewareFactory):  # type: ignore[misc]
    """Lets calls in that bring the token."""

    def __init__(self, token: bytes) -> None:
        super().__init__()
        self._token = token

    def start_call(self, info: flight.CallInfo, headers: Mapping[str, Sequence[str | bytes]]) -> None:
        """Called by Flight before each call."""
        given = [
            _bytes(value) for name, values in headers.items() if name.lower() == "authorization" for value in values
        ]
        if not given:
            raise flight.FlightUnauthenticatedError(
                "this service needs a token; send the header 'authorization: Bearer TOKEN'",
                extra_info=as_flight_error(
                    AccessRefusedError("this service needs a token; give token_file")
                ).extra_info,
            )
        # Every comparison takes as long as any other, whatever is right of the token.
        right = [hmac.compare_digest(value, _SCHEME.encode() + self._token) for value in given]
        if not (len(right) == 1 and right[0]):
            raise flight.FlightUnauthenticatedError(
                "the token is not the one of this service",
                extra_info=as_flight_error(AccessRefusedError("the token is not the one of this service")).extra_info,
            )


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")


def inside(folders: Sequence[str], name: str) -> str:
    """The path of a file below one of some folders, links resolved.

    Raises
    ------
    RequestError
        If it is in none of them. What lies elsewhere is not told, not even whether it is there.
    """
    if "\0" in name or os.path.isabs(name):
        raise RequestError(f"{name!r} is not a file's path below a folder that is shown")
    for folder in folders:
        base = os.path.realpath(folder)
        path = os.path.realpath(os.path.join(base, name))
        if path.startswith(os.path.join(base, "")) and os.path.isfile(path):
            return path
    raise RequestError(f"no file {name!r} in the folders that are shown")


__all__ = ["TokenCheck", "check_exposure", "inside", "is_loopback", "read_certificate", "read_token"]
