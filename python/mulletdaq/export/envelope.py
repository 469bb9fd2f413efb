"""Millions of rows as what a picture can show of them: the smallest and the largest value in each column of pixels."""

from __future__ import annotations

from typing import Any

from mulletdaq.extras import needs_extra

with needs_extra("hdf5"):
    import numpy as np


class Envelope:
    """Gathers the extremes of one channel, so that a spike of one sample is among them.

    Parameters
    ----------
    first, last
        Range of the positions that will come.
    columns
        Into how many columns it is divided.

    Notes
    -----
    Takes about 50 bytes a column, however many rows come.
    """

    def __init__(self, first: float, last: float, columns: int) -> None:
        self._first = first
        self._scale = columns / (last - first) if last > first else 0.0
        self._low = np.full(columns, np.nan)
        self._high = np.full(columns, np.nan)
        self._begins = np.full(columns, np.inf)
        self._ends = np.full(columns, -np.inf)
        self._segments = np.full((2, columns), -1, np.int64)

    def add(self, positions: Any, low: Any, high: Any, segment: int) -> None:
        """Add rows that follow one another without a gap.

        Parameters
        ----------
        positions
            Of each row, float64.
        low, high
            Smallest and largest value of each row, float64; NaN where there is none.
        segment
            Another number than that of rows from which a gap separates them; such numbers grow.
        """
        if not len(positions):
            return
        last_column = len(self._low) - 1
        columns = np.clip(((positions - self._first) * self._scale).astype(np.int64), 0, last_column)
        starts = np.concatenate([[0], np.flatnonzero(np.diff(columns)) + 1])
        own = columns[starts]
        np.fmin.at(self._low, own, np.fmin.reduceat(low, starts))
        np.fmax.at(self._high, own, np.fmax.reduceat(high, starts))
        np.minimum.at(self._begins, own, np.minimum.reduceat(positions, starts))
        np.maximum.at(self._ends, own, np.maximum.reduceat(positions, starts))
        first, last = self._segments
        first[own] = np.where(first[own] < 0, segment, first[own])
        last[own] = segment

    def line(self) -> tuple[Any, Any]:
        """Positions and values of a line through all extremes, with NaN where there is a gap."""
        (there,) = np.nonzero(self._segments[1] >= 0)
        points = np.empty((len(there), 3, 2))
        points[:, 0] = np.column_stack([self._begins[there], self._low[there]])
        points[:, 1] = np.column_stack([self._ends[there], self._high[there]])
        points[:, 2] = np.column_stack([self._ends[there], np.full(len(there), np.nan)])
        is_kept = np.ones((len(there), 3), bool)
        is_kept[:-1, 2] = self._segments[1, there[:-1]] != self._segments[0, there[1:]]
        is_kept[-1:, 2] = False
        line = points[is_kept]
        return line[:, 0], line[:, 1]


__all__ = ["Envelope"]
