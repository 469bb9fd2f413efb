"""The daemon's log: plain lines, or one JSON object a line."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

Level = Literal["info", "warning", "error"]

_OFTEN = 3
_REPEAT_S = 3600.0
_MOST = 1000
_NUMBER = re.compile(r"\d+")


class Log:
    """Writes what happened, a line each.

    Parameters
    ----------
    as_json
        One JSON object a line: ``time``, ``level``, ``event``, ``message`` and facts.
    output
        Where to; stderr when None.

    Notes
    -----
    Safe for use by several threads. A log that nobody reads any more never stops the daemon.
    """

    def __init__(self, *, as_json: bool = False, output: TextIO | None = None) -> None:
        self._as_json = as_json
        self._output = sys.stderr if output is None else output
        self._lock = threading.Lock()
        self._repeats: dict[tuple[str, str], tuple[int, float]] = {}

    def say(self, level: Level, event: str, message: str, **facts: Any) -> None:
        """Log one line.

        Parameters
        ----------
        event
            A word for scripts.
        message
            The same for people.
        **facts
            What belongs to it, for scripts.
        """
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        message = " ".join(message.split())
        if self._as_json:
            line = json.dumps({"time": stamp, "level": level, "event": event, "message": message, **facts}, default=str)
        else:
            line = f"{stamp} {level}: {message}"
        with self._lock, suppress(OSError, ValueError):
            self._output.write(line + "\n")
            self._output.flush()

    def repeated(self, level: Level, event: str, subject: str, message: str, **facts: Any) -> None:
        """Log what may come again and again: the first few times, then once an hour, with the count.

        Parameters
        ----------
        subject
            What makes it the same again; numbers in it are not told apart.
        """
        subject = _NUMBER.sub("#", subject)
        count, next_at = self._repeats.pop((event, subject), (0, 0.0))
        now = time.monotonic()
        count += 1
        if count <= _OFTEN or now >= next_at:
            self.say(level, event, message if count <= _OFTEN else f"{message} ({count} times)", count=count, **facts)
            next_at = now + _REPEAT_S
        self._repeats[event, subject] = (count, next_at)
        while len(self._repeats) > _MOST:
            self._repeats.pop(next(iter(self._repeats)), None)


__all__ = ["Level", "Log"]
