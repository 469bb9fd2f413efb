"""This machine as an instrument: a real signal with no hardware, through psutil."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from mulletdaq.extras import needs_extra
from mulletdaq.schema import Channel

with needs_extra("system"):
    import psutil

# The kernel counts CPU time in 10 ms steps: over a shorter while the load would be little but 0 or 100 %.
_CPU_WINDOW_S = 0.1

# What reading a counter raises where a container or an odd kernel doesn't have it.
_UNAVAILABLE = (OSError, RuntimeError, NotImplementedError, AttributeError, ValueError)


class SystemSource:
    """CPU load, memory, load average, network and disk byte rates of this machine.

    A channel that the machine doesn't have (no disk counters in a container, say) is NaN.

    Parameters
    ----------
    clock
        Seconds that only grow.

    Notes
    -----
    One read takes about 0.3 ms. Not for several threads.
    """

    name = "system"
    channels: Sequence[Channel] = (
        Channel(
            "cpu_percent", "%", description="load of all cores over the last 0.1 s, or since the last sample if longer"
        ),
        Channel("memory_percent", "%", description="share of memory that is not available"),
        Channel("memory_used", "B", description="memory in use, caches left out"),
        Channel("load_1min", "", description="load average over one minute"),
        Channel("network_received", "B/s", description="all interfaces, since the last sample"),
        Channel("network_sent", "B/s", description="all interfaces, since the last sample"),
        Channel("disk_read", "B/s", description="all disks, since the last sample"),
        Channel("disk_written", "B/s", description="all disks, since the last sample"),
    )

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._network = ByteRates(_network_bytes, clock)
        self._disk = ByteRates(_disk_bytes, clock)
        self._cpu_percent = math.nan
        self._cpu_read_s = -math.inf

    def open(self) -> None:
        """Watch for 0.1 s, so that the first sample has a load, and take the counters its rates start from."""
        self._cpu_percent = _cpu_percent(_CPU_WINDOW_S)
        self._cpu_read_s = self._clock()
        self._network.restart()
        self._disk.restart()

    def read(self) -> tuple[float, ...]:
        """One value a channel, NaN where this machine has none."""
        memory_percent, memory_used = _memory()
        return (
            self._cpu(),
            memory_percent,
            memory_used,
            _load_1min(),
            *self._network.read(),
            *self._disk.read(),
        )

    def close(self) -> None:
        """Nothing to let go of."""

    def _cpu(self) -> float:
        now_s = self._clock()
        if now_s - self._cpu_read_s >= _CPU_WINDOW_S:
            self._cpu_percent, self._cpu_read_s = _cpu_percent(), now_s
        return self._cpu_percent


class ByteRates:
    """Two byte counters read as rates over the time since the last read.

    Parameters
    ----------
    counters
        Gives the two counts, or None where there are none.
    clock
        Seconds that only grow.
    """

    def __init__(self, counters: Callable[[], tuple[int, int] | None], clock: Callable[[], float]) -> None:
        self._counters = counters
        self._clock = clock
        self.restart()

    def restart(self) -> None:
        """Count from now."""
        self._counts, self._read_s = self._counters(), self._clock()

    def read(self) -> tuple[float, float]:
        """Bytes per second of both, NaN where there is no counter or it went backwards."""
        before, before_s = self._counts, self._read_s
        self.restart()
        elapsed_s = self._read_s - before_s
        if before is None or self._counts is None or elapsed_s <= 0:
            return (math.nan, math.nan)
        return (_rate(before[0], self._counts[0], elapsed_s), _rate(before[1], self._counts[1], elapsed_s))


def _rate(before: int, after: int, elapsed_s: float) -> float:
    # A counter that wrapped, or lost an interface, says nothing about the bytes between.
    return (after - before) / elapsed_s if after >= before else math.nan


def _available(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except _UNAVAILABLE:
        return None


def _cpu_percent(over_s: float | None = None) -> float:
    percent = _available(lambda: psutil.cpu_percent(over_s))
    return math.nan if percent is None else float(percent)


def _memory() -> tuple[float, float]:
    memory = _available(psutil.virtual_memory)
    return (math.nan, math.nan) if memory is None else (float(memory.percent), float(memory.used))


def _load_1min() -> float:
    load = _available(psutil.getloadavg)
    return math.nan if load is None else float(load[0])


def _network_bytes() -> tuple[int, int] | None:
    counters = _available(psutil.net_io_counters)
    return None if counters is None else (counters.bytes_recv, counters.bytes_sent)


def _disk_bytes() -> tuple[int, int] | None:
    counters = _available(psutil.disk_io_counters)
    return None if counters is None else (counters.read_bytes, counters.write_bytes)


__all__ = ["ByteRates", "SystemSource"]
