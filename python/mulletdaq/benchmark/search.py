"""The search for the highest rate that is held."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

FINEST = 1.1
"""Where the rate that failed is no more than this many times the one that was held, the search ends."""

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
    most_hz: float = math.inf,
    has_time: Callable[[], bool] = lambda: True,
) -> Bracket:
    """Double until a rate fails, or halve until one holds, then bisect.

    Parameters
    ----------
    holds
        Whether a rate in samples/s is held; asked at most once for each rate.
    first_hz
        Where to begin.
    most_hz
        No higher rate is tried.
    has_time
        Asked before each rate but the first.
    """
    bracket = Bracket()
    rate_hz: float | None = min(max(first_hz, _LEAST_HZ), most_hz)
    while rate_hz is not None:
        bracket = Bracket(rate_hz, bracket.failed) if holds(rate_hz) else Bracket(bracket.held, rate_hz)
        rate_hz = _next(bracket, most_hz) if has_time() else None
    return bracket


def _next(bracket: Bracket, most_hz: float) -> float | None:
    if math.isinf(bracket.failed):
        return min(bracket.held * 2, most_hz) if bracket.held < most_hz else None
    if not bracket.held:
        return bracket.failed / 2 if bracket.failed > _LEAST_HZ else None
    if bracket.failed <= bracket.held * FINEST:
        return None
    return math.sqrt(bracket.held * bracket.failed)


__all__ = ["FINEST", "Bracket", "search"]
