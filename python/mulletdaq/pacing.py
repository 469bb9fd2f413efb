"""Pace a loop at a rate without drift: every tick has its place on a schedule fixed at the start."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Literal, Protocol

from mulletdaq import _core

WhenLate = Literal["skip", "catch_up"]
SleepUntil = Callable[[int], int]

NS_PER_S = 1_000_000_000
MIN_RATE_HZ = 1e-5
MAX_RATE_HZ = 100_000.0
MAX_DURATION_S = 10 * 366 * 86_400.0
_RATE_DENOMINATOR = 1_000_000


class StopFlag(Protocol):
    """Anything that says whether to stop: a ``threading.Event`` does."""

    def is_set(self) -> bool:
        """Whether to stop."""


def check_rate(rate_hz: float) -> float:
    """The rate, if a loop can be paced at it.

    Raises
    ------
    ValueError
        If it is not a number from 0.00001 to 100 000 Hz.
    """
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:  # NaN fails every comparison
        raise ValueError(f"a rate of {rate_hz:g} Hz is not from {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g} Hz")
    return float(rate_hz)


def tick_count(rate_hz: float, duration_s: float) -> int:
    """How many ticks begin within a duration, the one at its very start included.

    Raises
    ------
    ValueError
        If the rate can't be paced, or the duration is not above 0 and at most ten years.
    """
    check_rate(rate_hz)
    if not 0 < duration_s <= MAX_DURATION_S:
        raise ValueError(f"a duration of {duration_s:g} s is not above 0 s and at most ten years")
    # 0.3 s at 10 Hz is 2.9999999999999996 or 3.0000000000000004 in binary; both mean 3.
    return max(1, math.ceil(duration_s * rate_hz - 1e-6))


class Pacer:
    """Ticks at a rate, tick k due at ``start + k / rate_hz``; lateness never adds up.

    Parameters
    ----------
    rate_hz
        Ticks a second, 0.00001 to 100 000; taken as the nearest fraction with a denominator up to 10⁶.
    when_late
        What to do when a turn of the loop outlasts a period. ``"skip"`` leaves out the ticks whose time is
        over and counts them in `missed`: right for reading an instrument, where a late reading is no reading
        of then. ``"catch_up"`` runs them at once, one after the other, and misses none.
    stop
        Ends the ticks when set, also during a wait (within 50 ms).
    sleep_until
        Waits until a moment in ns, or somewhat less, and says what time it is then.

    Raises
    ------
    ValueError
        If the rate is not a number in range, or `when_late` is neither of the two.

    Notes
    -----
    Not for several threads. The wait is a sleep, so ticks begin up to some 100 µs late; the schedule stays.
    """

    def __init__(
        self,
        rate_hz: float,
        *,
        when_late: WhenLate = "skip",
        stop: StopFlag | None = None,
        sleep_until: SleepUntil = _core.sleep_until,
    ) -> None:
        self._period = NS_PER_S / Fraction(check_rate(rate_hz)).limit_denominator(_RATE_DENOMINATOR)
        if when_late not in ("skip", "catch_up"):
            raise ValueError(f"when_late is 'skip' or 'catch_up', not {when_late!r}")
        self._skips = when_late == "skip"
        self._stop = stop
        self._sleep_until = sleep_until
        self.missed = 0
        """Ticks left out so far because their time was over."""

    def ticks(self, count: int | None = None) -> Iterator[int]:
        """Yield the index of each tick when it is due: from 0, the first at once; gaps are missed ticks.

        Parameters
        ----------
        count
            Length of the schedule, missed ticks included; None for no end.
        """
        # Between two sleeps all code runs from cold caches, where whatever is called first costs microseconds,
        # rounding a float as much as ten: hence integers, and few calls.
        sleep_until = self._sleep_until
        is_set = None if self._stop is None else self._stop.is_set
        whole_ns, part = divmod(self._period.numerator, self._period.denominator)
        parts = self._period.denominator
        start_ns = due_ns = sleep_until(0)
        index = rest = 0
        while count is None or index < count:
            moment_ns = sleep_until(due_ns)
            if is_set is not None and is_set():
                return
            if moment_ns < due_ns:
                continue
            next_ns, rest = due_ns + whole_ns, rest + part
            if rest >= parts:
                next_ns, rest = next_ns + 1, rest - parts
            if next_ns <= moment_ns and self._skips:
                latest = max(index + 1, (moment_ns - start_ns) // self._period)
                latest = latest if count is None else min(latest, count)
                self.missed += latest - index
                elapsed_ns, rest = divmod(latest * self._period.numerator, parts)
                index, due_ns = latest, start_ns + elapsed_ns
                continue
            yield index
            index, due_ns = index + 1, next_ns


__all__ = [
    "MAX_DURATION_S",
    "MAX_RATE_HZ",
    "MIN_RATE_HZ",
    "Pacer",
    "SleepUntil",
    "StopFlag",
    "WhenLate",
    "check_rate",
    "tick_count",
]
