"""Stamps of a sample clock: stamp k = start + round(k·10⁹/rate), exact for as long as it runs."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_NS = 1_000_000_000
_INT64_ROOM = 2**62
_PIECE = 8192
"""So many stamps at once stay in the nearest cache, from one operation to the next."""


class SampleClock:
    """Counts on across blocks, in integers, so that no rounding adds up.

    Parameters
    ----------
    start_ns
        Stamp of sample 0, ns since the Unix epoch.
    rate_hz
        Samples per second; a float is taken as the nearest fraction with a denominator up to 10⁶.
    """

    def __init__(self, start_ns: int, rate_hz: float) -> None:
        rate = Fraction(rate_hz).limit_denominator(1_000_000)
        if rate <= 0:
            raise ValueError(f"rate_hz must be above 0, got {rate_hz!r}")
        self.start_ns = start_ns
        self.rate_hz = rate_hz
        self.samples = 0
        # stamp(k) = start + floor((2·10⁹·d·k + n) / 2n) for a rate of n/d.
        self._step = 2 * _NS * rate.denominator
        self._divisor = 2 * rate.numerator

    def give_back(self, count: int) -> None:
        """The last so many stamps were not used."""
        self.samples -= count

    def take(self, count: int) -> npt.NDArray[np.int64]:
        """The next `count` stamps, shape ``(count,)``, ns."""
        import numpy as np

        stamps = np.empty(count, dtype=np.int64)
        piece = max(1, min(_PIECE, (_INT64_ROOM - self._divisor) // self._step))
        steps = np.arange(min(piece, count), dtype=np.int64) * self._step
        for first in range(0, count, piece):
            part = stamps[first : first + piece]
            whole, rest = divmod(self._step * (self.samples + first) + self._divisor // 2, self._divisor)
            np.add(steps[: part.size], rest, out=part)
            part //= self._divisor
            part += self.start_ns + whole
        self.samples += count
        return stamps
