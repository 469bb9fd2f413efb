"""Conditions of a running writer that its user should hear of: once when they begin, once when they end."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mulletdaq.hdf5.row_source import RowSource
from mulletdaq.hdf5.statistics import WriterStatistics

_FILL_LEVELS = (0.75, 0.9)
_FILL_CALM = 0.5
_HELD_LONG_S = 10.0


class Watch:
    """Looks at a writer's counts and reports what changed.

    Parameters
    ----------
    report
        Takes one line.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._fill_level = 0.0
        self._held = False
        self._apply_error = ""
        self._troubles: dict[str, str] = {}

    def look(self, statistics: WriterStatistics) -> None:
        """Compare with the last look, all but the fill."""
        self._look_at_readers(statistics)
        self._look_at_applying(statistics)

    def look_at_sources(self, sources: Mapping[str, RowSource]) -> None:
        """Look at whether rows come."""
        for name, source in sources.items():
            for line in source.take_notes():
                self._report(line)
            before, trouble = self._troubles.get(name, ""), source.trouble
            if trouble is not None and trouble.code != before:
                self._report(trouble.words)
            elif trouble is None and before:
                self._report(f"rows of {source.origin} come again, from row {source.row} on")
            self._troubles[name] = "" if trouble is None else trouble.code

    def look_at_fill(self, path: str, fill: float) -> None:
        """Look at the fullest ring, as it is before a commit: after it there is nothing to be seen."""
        level = max((level for level in _FILL_LEVELS if fill >= level), default=0.0)
        if level > self._fill_level:
            self._report(
                f"the ring of {path} is {fill:.0%} full of rows that are not in the file; "
                "a larger ring, or a faster disk, keeps them from being lost"
            )
            self._fill_level = level
        elif fill < _FILL_CALM and self._fill_level:
            self._report(f"the ring of {path} is {fill:.0%} full again")
            self._fill_level = 0.0

    def _look_at_readers(self, statistics: WriterStatistics) -> None:
        held = statistics.apply_lag_s > _HELD_LONG_S
        if held and not self._held:
            self._report(
                f"readers have held {statistics.path} for {statistics.apply_lag_s:.0f} s; "
                f"what is new is safe in its journal, mullet.open shows it"
            )
            self._held = True
        elif self._held and not statistics.pending_commits:
            self._report(f"{statistics.path} is free again, and has everything")
            self._held = False

    def _look_at_applying(self, statistics: WriterStatistics) -> None:
        error = statistics.apply_error
        if error and not self._apply_error:
            self._report(
                f"cannot bring commits from the journal into {statistics.path}: {error}; they are safe, trying on"
            )
        elif self._apply_error and not error:
            self._report(f"bringing commits from the journal into {statistics.path} works again")
        self._apply_error = error


__all__ = ["Watch"]
