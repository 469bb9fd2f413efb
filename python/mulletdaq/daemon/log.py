"""The daemon's log: plain lines, or one JSON object a line."""

from __future__ import annotations

import io
import json
import re
import select
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
_LONGEST = 2000
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
    Safe for use by several threads. A log that nobody reads, such as a terminal stopped with Ctrl-S, never stops the
    daemon: what finds no room is left out, and counted.
    """

    def __init__(self, *, as_json: bool = False, output: TextIO | None = None) -> None:
        self._as_json = as_json
        self._output = sys.stderr if output is None else output
        self._lock = threading.Lock()
        self._left_out = 0
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
        with self._lock, suppress(OSError, ValueError):
            if not _has_room(self._output):
                self._left_out += 1
                return
            if self._left_out:
                facts["left_out"] = self._left_out
                message = f"({self._left_out} lines before this one found nobody to read them) {message}"
            self._output.write(self._line(level, event, message, facts))
            self._output.flush()
            self._left_out = 0

    def _line(self, level: Level, event: str, message: str, facts: dict[str, Any]) -> str:
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        message = " ".join(message.split())
        if len(message) > _LONGEST:
            message = message[:_LONGEST] + "…"
        if not self._as_json:
            return f"{stamp} {level}: {message}\n"
        words = {"time": stamp, "level": level, "event": event, "message": message, **facts}
        return json.dumps(words, default=str) + "\n"

    def repeated(self, level: Level, event: str, subject: str, message: str, **facts: Any) -> None:
        """Log what may come again and again: the first few times, then once an hour, with the count.

        Parameters
        ----------
        subject
            What makes it the same again; numbers in it are not told apart.
        """
        subject = _NUMBER.sub("#", subject[:_LONGEST])
        now = time.monotonic()
        with self._lock:
            count, next_at = self._repeats.pop((event, subject), (0, 0.0))
            count += 1
            told = count <= _OFTEN or now >= next_at
            self._repeats[event, subject] = (count, now + _REPEAT_S if told else next_at)
            while len(self._repeats) > _MOST:
                self._repeats.pop(next(iter(self._repeats)))
        if told:
            self.say(level, event, message if count <= _OFTEN else f"{message} ({count} times)", count=count, **facts)


def _has_room(output: TextIO) -> bool:
    """Whether a line can be written at once; always, into a file."""
    try:
        return bool(select.select([], [output.fileno()], [], 0)[1])
    except io.UnsupportedOperation:
        return True


__all__ = ["Level", "Log"]
