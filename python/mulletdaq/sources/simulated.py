"""A voltage that needs no hardware, for demonstrations and tests."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence

from mulletdaq.schema import Channel

_DRAWN_AT_ONCE = 256


class SimulatedVoltage:
    """A sine of 1 V and 1 Hz with 20 mV of noise, as it stands at the moment of reading.

    Parameters
    ----------
    seed
        Makes the noise repeatable; None for a different one each time.
    clock
        Seconds that only grow; the sine starts at 0 when the source is opened.

    Notes
    -----
    Not for several threads.
    """

    name = "simulated"
    channels: Sequence[Channel] = (Channel("voltage", "V", description="simulated: 1 Hz sine of 1 V, 20 mV noise"),)

    def __init__(self, *, seed: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._noise = _noise(random.Random(seed))
        self._clock = clock
        self._start_s = clock()

    def open(self) -> None:
        """Start the sine."""
        self._start_s = self._clock()

    def read(self) -> tuple[float]:
        """The voltage now, in volts."""
        elapsed_s = self._clock() - self._start_s
        return (math.sin(math.tau * elapsed_s) + next(self._noise),)

    def close(self) -> None:
        """Nothing to let go of."""


def _noise(generator: random.Random) -> Iterator[float]:
    """Many at a time: at 100 Hz, always from a cold cache, each on its own costs as much as half a sleep."""
    while True:
        yield from [generator.gauss(0.0, 0.02) for _ in range(_DRAWN_AT_ONCE)]


__all__ = ["SimulatedVoltage"]
