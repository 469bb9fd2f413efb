"""How far a benchmark is, and whether it is to stop."""

from __future__ import annotations

import time
from collections.abc import Callable

from mulletdaq.pacing import StopFlag

_REPORT_EVERY_S = 0.2


class Course:
    """The time that a benchmark has.

    Parameters
    ----------
    seconds
        How long it is to take in all.
    on_progress
        Takes what is being done, and the share of the time that is over, 0 to 1; about five times a second.
    stop
        Ends the benchmark when set.
    """

    def __init__(
        self, seconds: float, on_progress: Callable[[str, float], None] | None = None, stop: StopFlag | None = None
    ) -> None:
        self._seconds = seconds
        self._on_progress = on_progress
        self._stop = stop
        self._began = time.monotonic()
        self._reported = 0.0
        self.doing = ""
        """What is being done, for people."""

    def look(self) -> None:
        """Tell how far it is; called often.

        Raises
        ------
        KeyboardInterrupt
            If it is to stop.
        """
        if self._stop is not None and self._stop.is_set():
            raise KeyboardInterrupt
        now = time.monotonic()
        if self._on_progress is not None and now - self._reported >= _REPORT_EVERY_S:
            self._reported = now
            self._on_progress(self.doing, min(1.0, (now - self._began) / self._seconds))

    def wait(self, seconds: float) -> None:
        """Sleep, but not through a stop."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.look()
            time.sleep(min(left, 0.05))

    def has_time(self, needed_s: float, share: float) -> bool:
        """Whether something of that length ends before a share of the time is over."""
        return time.monotonic() + needed_s <= self._began + share * self._seconds


__all__ = ["Course"]
