"""Ctrl-C and its like ask a command to finish what it has."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# The same Ctrl-C may come twice, from the terminal and from a program that started us and passes it on.
_PATIENCE = 3


class Interrupt:
    """Set by a signal. The third one gives up: it raises KeyboardInterrupt wherever the program is."""

    def __init__(self) -> None:
        self._signals = 0

    def is_set(self) -> bool:
        """Whether a signal came."""
        return self._signals > 0

    def notice(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: only sets a flag, so that nothing is cut in half."""
        self._signals += 1
        if self._signals >= _PATIENCE:
            raise KeyboardInterrupt


@contextmanager
def stop_on_signals() -> Iterator[Interrupt]:
    """Within the block SIGINT, SIGTERM and SIGHUP set the flag it yields.

    A signal that is ignored stays so: nohup and shells' background jobs ask for that.
    """
    interrupt = Interrupt()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    taken = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, interrupt.notice)
    try:
        yield interrupt
    finally:
        for number in taken:
            signal.signal(number, before[number])
