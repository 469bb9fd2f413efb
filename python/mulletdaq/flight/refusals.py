"""Errors on their way: from ours to Flight's in the service, and back in the client."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mulletdaq.errors import (
    AccessRefusedError,
    ConnectionLostError,
    FileFormatError,
    MulletError,
    RemoteError,
    RequestError,
    ServiceBusyError,
)
from mulletdaq.extras import needs_extra
from mulletdaq.flight.messages import ErrorMessage, as_error, encode, error_message

with needs_extra("flight"):
    import msgspec
    import pyarrow as pa
    from pyarrow import flight

_PREFIX = re.compile(
    r"^Flight returned \w+ error, with message: (failed to connect to all addresses; last error: \w+: )?", re.IGNORECASE
)
_DETAIL = re.compile(r"\.? (?:Detail: |gRPC client debug context: |Client context: ).*", re.DOTALL)


@contextmanager
def told_to_client() -> Iterator[None]:
    """Whatever is raised below reaches the client as one line, and no more of this process than that."""
    try:
        yield
    except (flight.FlightError, StopIteration, GeneratorExit):
        raise
    except MulletError as error:
        raise as_flight_error(error) from None
    except MemoryError:
        raise as_flight_error(ServiceBusyError("the service has no memory left for this; send less at once")) from None
    except pa.ArrowException as error:
        words = " ".join(str(error).split())
        raise as_flight_error(RequestError(f"not valid Arrow data: {words[:200]}")) from None
    except Exception as error:
        print(f"flight: {''.join(traceback.format_exception(error))}", file=sys.stderr, flush=True)
        raise as_flight_error(RemoteError(f"the service failed: {type(error).__name__}; its log has more")) from None


def as_flight_error(error: MulletError) -> flight.FlightError:
    """One of Flight's errors, which carries our class's name along."""
    kind: Any = flight.FlightServerError
    if isinstance(error, AccessRefusedError):
        kind = flight.FlightUnauthorizedError
    elif isinstance(error, ServiceBusyError):
        kind = flight.FlightUnavailableError
    message = error_message(error)
    return kind(message.message, extra_info=encode(message))


@contextmanager
def raised_as_ours(address: str) -> Iterator[None]:
    """In a client: whatever Flight raises below becomes one of :mod:`mulletdaq.errors`."""
    try:
        yield
    except MulletError:
        raise
    except (pa.ArrowException, OSError, KeyError, TimeoutError) as error:
        raise as_mullet_error(error, address) from None


def as_mullet_error(error: BaseException, address: str) -> MulletError:
    """What a client raises instead of one of Flight's errors."""
    told = _told(getattr(error, "extra_info", None))
    if told is not None:
        return as_error(told)
    words = _words(error)
    if isinstance(error, flight.FlightUnauthenticatedError | flight.FlightUnauthorizedError):
        return AccessRefusedError(words)
    if isinstance(error, flight.FlightUnavailableError | flight.FlightInternalError | flight.FlightCancelledError):
        return ConnectionLostError(f"{address} does not answer: {words}; is a daemon running there?")
    if isinstance(error, flight.FlightTimedOutError):
        return ConnectionLostError(f"{address} did not answer in time")
    if isinstance(error, pa.ArrowInvalid):
        return FileFormatError(f"{address} sent what is not valid: {words}")
    return ConnectionLostError(f"the connection to {address} broke: {words}")


def _told(extra_info: bytes | None) -> ErrorMessage | None:
    try:
        return msgspec.json.decode(extra_info, type=ErrorMessage) if extra_info else None
    except msgspec.DecodeError:
        return None


def _words(error: BaseException) -> str:
    """The message without what gRPC adds to it."""
    return " ".join(_PREFIX.sub("", _DETAIL.sub("", str(error))).split())[:300]


__all__ = ["as_flight_error", "as_mullet_error", "raised_as_ours", "told_to_client"]
