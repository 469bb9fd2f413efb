"""Room on the disk that a writer leaves to others."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

_MARGIN = 1.05
"""So much more than the reserve must be free before writing resumes, lest it pause again at once."""


class Room:
    """Says whether a file may grow.

    Parameters
    ----------
    reserve_bytes
        What must stay free; with 0 all may be used.
    look_every_s
        Time between looks while there is too little.
    report
        Takes one line when writing pauses, and one when it resumes.
    """

    def __init__(self, reserve_bytes: int, look_every_s: float, report: Callable[[str], None]) -> None:
        self._reserve_bytes = reserve_bytes
        self._look_every_s = look_every_s
        self._report = report
        self._look_at = 0.0
        self.shortage = ""
        """What is wrong, in words; empty while there is room."""

    def has_room(self, path: str) -> bool:
        """Whether the file at a path may grow now."""
        now = time.monotonic()
        if not self._reserve_bytes or (self.shortage and now < self._look_at):
            return not self.shortage
        self._look_at = now + self._look_every_s
        free_bytes = _free_bytes(os.path.dirname(path))
        if free_bytes is None or free_bytes >= self._reserve_bytes * (_MARGIN if self.shortage else 1):
            if self.shortage:
                self._report(f"there is room for {path} again, writing goes on")
            self.shortage = ""
            return True
        shortage = (
            f"only {free_bytes >> 20} MB are free for {path}, and {self._reserve_bytes >> 20} MB are to be left; "
            "writing pauses until there is more, the ring keeps the rows"
        )
        if not self.shortage:
            self._report(shortage)
        self.shortage = shortage
        return False


def _free_bytes(folder: str) -> int | None:
    try:
        disk = os.statvfs(folder)
    except OSError:
        return None  # the write tells what is wrong
    return disk.f_bavail * disk.f_frsize


__all__ = ["Room"]
