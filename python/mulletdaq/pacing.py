"""Pace a loop at a rate without drift: every tick has its place on a schedule fixed at the start."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Literal, Protocol

WhenLate = Literal["skip", "catch_up"]

NS_PER_S = 1_000_000_000
MIN_RATE_HZ = 1e-5
MAX_RATE_HZ = 100_000.0
MAX_DURATION_S = 10 * 366 * 86_400.0

# Waits are cut into pieces this long, so that a stop is noticed soon even at one tick an hour.
_LONGEST_SLEEP_S = 0.05


class StopFlag(Protocol):
    """Anything that says whether to stop: a ``threading.Event`` does."""

    def is_set(self) -> bool:
        """Whether to stop."""


class Clock(Protocol):
    """A clock that only goes forwards."""

    @property
    def now_ns(self) -> Callable[[], int]:
        """Tells the nanoseconds since some fixed moment."""

    @property
    def sleep_s(self) -> Callable[[float], None]:
        """Lets so many seconds pass, or somewhat more."""


class MonotonicClock:
    """The system's monotonic clock, which nobody can set; its sleeps end some 60 µs late."""

    now_ns = staticmethod(time.monotonic_ns)
    sleep_s = staticmethod(time.sleep)


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
        Ticks a second, 0.00001 to 100 000.
    when_late
        What to do when a turn of the loop outlasts a period. ``"skip"`` leaves out the ticks whose time is
        over and counts them in `missed`: right for reading an instrument, where a late reading is no reading
        of then. ``"catch_up"`` runs them at once, one after the other, and misses none.
    stop
        Ends the ticks when set, also during a wait (within 50 ms).
    clock
        Where time comes from.

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
        clock: Clock | None = None,
    ) -> None:
        self.rate_hz = check_rate(rate_hz)
        if when_late not in ("skip", "catch_up"):
            raise ValueError(f"when_late is 'skip' or 'catch_up', not {when_late!r}")
        self._skips = when_late == "skip"
        self._stop = stop
        self._clock = clock or MonotonicClock()
        self.missed = 0
        """Ticks left out so far because their time was over."""

    def ticks(self, count: int | None = None) -> Iterator[int]:
        """Yield the index of each tick when it is due: from 0, the first at once; gaps are missed ticks.

        Parameters
        ----------
        count
            Length of the schedule, missed ticks included; None for no end.
        """
        # Between two sleeps all code runs from a cold cache, where each further function of Python's costs some 10 µs,
        # several times as much as in a loop that spins. So here are none.
        now_ns, sleep_s = self._clock.now_ns, self._clock.sleep_s
        is_set = None if self._stop is None else self._stop.is_set
        period_ns = NS_PER_S / self.rate_hz
        start_ns = due_ns = now_ns()
        index = 0
        while count is None or index < count:
            moment_ns = now_ns()
            if moment_ns < due_ns:
                left_s = (due_ns - moment_ns) / NS_PER_S
                sleep_s(left_s if left_s < _LONGEST_SLEEP_S else _LONGEST_SLEEP_S)
                moment_ns = now_ns()
            if is_set is not None and is_set():
                return
            if moment_ns < due_ns:
                continue
            next_ns = start_ns + round((index + 1) * period_ns)
            if self._skips and next_ns <= moment_ns:
                latest = max(index + 1, int((moment_ns - start_ns) / period_ns))
                latest = latest if count is None else min(latest, count)
                self.missed += latest - index
                index, due_ns = latest, start_ns + round(latest * period_ns)
                continue
            yield index
            index, due_ns = index + 1, next_ns


__all__ = [
    "MAX_DURATION_S",
    "MAX_RATE_HZ",
    "MIN_RATE_HZ",
    "Clock",
    "MonotonicClock",
    "Pacer",
    "StopFlag",
    "WhenLate",
    "check_rate",
    "tick_count",
]
