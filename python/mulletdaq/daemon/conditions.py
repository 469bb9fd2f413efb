"""Conditions that an operator should hear of: when they begin, when they end, and once an hour while they last."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from mulletdaq.daemon.log import Log
from mulletdaq.flight.messages import Health, HealthReason

_REPEAT_S = 3600.0
_CALM_S = 300.0
_FORGOTTEN_S = 86_400.0


@dataclass(frozen=True)
class Condition:
    """Something that is not as it should be, now.

    Attributes
    ----------
    code, subject
        What kind it is, and of what: together they tell whether two are the same.
    what, advice
        What it is and what to do, for people.
    severity
        ``"failing"`` if data are in danger.
    """

    code: str
    subject: str
    what: str
    advice: str
    severity: Literal["warning", "failing"] = "warning"


@dataclass
class _History:
    condition: Condition
    since_ns: int
    began_at: float
    present: bool = False
    told: bool = False
    told_at: float = 0.0
    ended_at: float = 0.0
    count: int = 0


class Conditions:
    """Remembers conditions from look to look, and logs what changed.

    Parameters
    ----------
    log
        Where to.
    clock
        Seconds that only grow.
    """

    def __init__(self, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._known: dict[tuple[str, str], _History] = {}

    def look(self, found: Iterable[Condition]) -> None:
        """Compare with the last look."""
        present = {(one.code, one.subject): one for one in found}
        now = self._clock()
        for key, condition in present.items():
            history = self._known.setdefault(key, _History(condition, 0, now, ended_at=now - _CALM_S))
            worse = condition.severity == "failing" != history.condition.severity
            history.condition = condition
            if not history.present:
                self._begin(history, now)
            elif now - history.told_at >= _REPEAT_S or (worse and history.told):
                self._tell(history, now)
        for key, history in list(self._known.items()):
            if history.present and key not in present:
                self._end(history, now)
            elif not history.present and now - history.ended_at > _FORGOTTEN_S:
                del self._known[key]

    def is_present(self, code: str, subject: str) -> bool:
        """Whether there was such a condition at the last look."""
        history = self._known.get((code, subject))
        return history is not None and history.present

    def health(self) -> Health:
        """All that is not as it should be."""
        present = [history for history in self._known.values() if history.present]
        present.sort(key=lambda history: (history.condition.severity != "failing", history.since_ns))
        failing = any(history.condition.severity == "failing" for history in present)
        reasons = [
            HealthReason(
                code=history.condition.code,
                what=history.condition.what,
                advice=history.condition.advice,
                since_ns=history.since_ns,
            )
            for history in present
        ]
        return Health(state="failing" if failing else "warning" if present else "ok", reasons=reasons)

    def _begin(self, history: _History, now: float) -> None:
        calm_s = now - history.ended_at
        history.present, history.since_ns, history.began_at = True, time.time_ns(), now
        history.count += 1
        history.told = False
        # One that comes and goes is told of once, and then once an hour.
        if calm_s >= _CALM_S or now - history.told_at >= _REPEAT_S:
            self._tell(history, now)

    def _tell(self, history: _History, now: float) -> None:
        one, count = history.condition, history.count
        times = "" if count == 1 else f" (time {count})"
        self._log.say(
            "error" if one.severity == "failing" else "warning",
            one.code,
            f"{one.what}{times}; {one.advice}",
            subject=one.subject,
            state="on",
            count=count,
        )
        history.told, history.told_at = True, now

    def _end(self, history: _History, now: float) -> None:
        history.present, history.ended_at = False, now
        if history.told:
            one, lasted_s = history.condition, round(now - history.began_at, 1)
            message = f"over after {lasted_s:g} s: {one.what}"
            self._log.say("info", one.code, message, subject=one.subject, state="off", count=history.count)


__all__ = ["Condition", "Conditions"]
