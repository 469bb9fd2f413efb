"""What a writer and its owner say to each other; as JSON lines where a pipe lies between them."""

from __future__ import annotations

import builtins
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from mulletdaq import errors
from mulletdaq.errors import WriterError
from mulletdaq.hdf5.statistics import WriterStatistics


@dataclass(frozen=True)
class Note:
    """One annotation: its text, its time, and the next row of each stream at that time.

    Attributes
    ----------
    number
        Counts an owner's notes from 1; 0 for one that is not numbered.
    again
        Whether an earlier writer had it, and may have stored it.
    """

    text: str
    timestamp_ns: int
    rows: Mapping[str, int]
    number: int = 0
    again: bool = False


@dataclass(frozen=True)
class Request:
    """What the owner asks for: ``flush``, ``rotate`` or ``stop`` up to ``rows``, or ``annotate`` with a note."""

    number: int
    kind: str
    rows: Mapping[str, int] = field(default_factory=dict)
    note: Note | None = None


Outcome = WriterStatistics | BaseException
"""How a request ended."""


class Link(Protocol):
    """A running writer's end of the way to its owner."""

    def receive(self, timeout_s: float) -> list[Request]:
        """Requests that came: at once if there are some, else after at most ``timeout_s``."""
        ...

    def answer(self, number: int, outcome: Outcome) -> None:
        """Answer a request."""
        ...

    def publish(self, statistics: WriterStatistics) -> None:
        """Tell the newest counts; may be dropped."""
        ...

    def report(self, message: str) -> None:
        """Tell the user of a problem, on one line."""
        ...

    @property
    def abandoned(self) -> bool:
        """Whether the owner is gone."""
        ...

    @property
    def terminated(self) -> bool:
        """Whether the writer was told to end, by a signal."""
        ...


def encode_request(request: Request) -> bytes:
    """A request as one line."""
    return json.dumps(asdict(request)).encode() + b"\n"


def decode_request(line: bytes) -> Request:
    """The request that :func:`encode_request` wrote."""
    values = json.loads(line)
    note = values.pop("note")
    return Request(**values, note=None if note is None else Note(**note))


def encode_event(event: str, outcome: Outcome | str, number: int = 0) -> bytes:
    """An event as one line: its name, and statistics, an error or a text."""
    values: dict[str, Any] = {"event": event, "number": number}
    if isinstance(outcome, WriterStatistics):
        values["statistics"] = outcome.to_dict()
    elif isinstance(outcome, str):
        values["message"] = outcome
    else:
        values |= {"error": type(outcome).__name__, "message": str(outcome)}
    return json.dumps(values).encode() + b"\n"


def decode_event(line: bytes) -> tuple[str, int, Outcome | str]:
    """What :func:`encode_event` wrote: event, number of the request, outcome."""
    values = json.loads(line)
    outcome: Outcome | str = values.get("message", "")
    if "statistics" in values:
        outcome = WriterStatistics.from_dict(values["statistics"])
    elif "error" in values:
        outcome = _error(values["error"], values["message"])
    return values["event"], values["number"], outcome


def _error(name: str, message: str) -> BaseException:
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, errors.MulletError):
        return kind(message)
    if isinstance(getattr(builtins, name, None), type):
        return WriterError(f"the writer failed: {name}: {message}")
    return WriterError(f"the writer failed: {message}")


__all__ = [
    "Link",
    "Note",
    "Outcome",
    "Request",
    "decode_event",
    "decode_request",
    "encode_event",
    "encode_request",
]
