"""The search for the highest rate that is held."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

FINEST = 1.1
"""How closely the limit is found, unless the time is over before."""

_LEAST_HZ = 1.0


@dataclass(frozen=True)
class Bracket:
    """Between which rates the limit lies, in samples/s.

    Attributes
    ----------
    held
        The highest that was held; 0 if none was.
    failed
        The lowest that was not; infinite if all were.
    """

    held: float = 0.0
    failed: float = math.inf


def search(
    holds: Callable[[float], bool],
    first_hz: float,
    *,
    failed_hz: float = math.inf,
    most_hz: float = math.inf,
    finest: float = FINEST,
    has_time: Callable[[], bool] = lambda: True,
) -> Bracket:
    """Double until a rate fails, or halve until one holds, then bisect.

    Parameters
    ----------
    holds
        Whether a rate in samples/s is held; asked at most once for each rate.
    first_hz
        Where to begin.
    failed_hz
        A rate that is known to be too much.
    most_hz
        No higher rate is tried.
    finest
        Where the rate that failed is no more than this many times the one that was held, the search ends.
    has_time
        Asked before each rate but the first.
    """
    bracket = Bracket(failed=failed_hz)
    rate_hz: float | None = min(max(first_hz, _LEAST_HZ), most_hz)
    while rate_hz is not None:
        bracket = Bracket(rate_hz, bracket.failed) if holds(rate_hz) else Bracket(bracket.held, rate_hz)
        rate_hz = _next(bracket, most_hz, finest) if has_time() else None
    return bracket


def _next(bracket: Bracket, most_hz: float, finest: float) -> float | None:
    if math.isinf(bracket.failed):
        return min(bracket.held * 2, most_hz) if bracket.held < most_hz else None
    if not bracket.held:
        return bracket.failed / 2 if bracket.failed > _LEAST_HZ else None
    if bracket.failed <= bracket.held * finest:
        return None
    return math.sqrt(bracket.held * bracket.failed)


__all__ = ["FINEST", "Bracket", "search"]
