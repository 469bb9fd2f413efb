"""A voltage that needs no hardware, for demonstrations and tests."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence

from mulletdaq.schema import Channel


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
        self._noise = random.Random(seed)
        self._clock = clock
        self._start_s = clock()

    def open(self) -> None:
        """Start the sine."""
        self._start_s = self._clock()

    def read(self) -> tuple[float]:
        """The voltage now, in volts."""
        elapsed_s = self._clock() - self._start_s
        return (math.sin(math.tau * elapsed_s) + self._noise.gauss(0.0, 0.02),)

    def close(self) -> None:
        """Nothing to let go of."""


__all__ = ["SimulatedVoltage"]
