"""Run a source into a recording: the loop behind ``mullet record`` and ``mullet demo``."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from mulletdaq.abc import Source
from mulletdaq.errors import MulletError, SourceError
from mulletdaq.pacing import NS_PER_S, Pacer, StopFlag, WhenLate, tick_count

_PROGRESS_INTERVAL_NS = NS_PER_S // 10


class Writable(Protocol):
    """What the loop needs of a recording."""

    @property
    def write_measurement(self) -> Callable[..., Any]:
        """Take one sample, one value a channel."""


@dataclass(frozen=True)
class Progress:
    """How far an acquisition is.

    Parameters
    ----------
    samples
        Samples written so far.
    elapsed_s
        Seconds since the first tick.
    missed_ticks
        Ticks left out so far because the source was too slow.
    """

    samples: int
    elapsed_s: float
    missed_ticks: int


@dataclass(frozen=True)
class AcquisitionSummary:
    """What an acquisition did.

    Parameters
    ----------
    samples
        Samples written.
    missed_ticks
        Ticks left out because the source was slower than the rate.
    elapsed_s
        Seconds from the first tick to the end of the last.
    write_ns_median, write_ns_p999, write_ns_max
        Nanoseconds around ``write_measurement``; None without a sample. Percentiles have three digits, the
        maximum is exact.
    stopped
        Whether it was stopped before its duration was over; False without a duration.
    """

    samples: int
    missed_ticks: int
    elapsed_s: float
    write_ns_median: int | None
    write_ns_p999: int | None
    write_ns_max: int | None
    stopped: bool


class Latencies:
    """Durations in nanoseconds, kept to three digits, so that days of them fit in a few kilobytes."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.max_ns: int | None = None

    def add(self, duration_ns: int) -> None:
        """Count one duration."""
        if self.max_ns is None or duration_ns > self.max_ns:
            self.max_ns = duration_ns
        step = 1
        while duration_ns // step >= 1000:
            step *= 10
        self._counts[duration_ns // step * step] += 1

    def percentile(self, percent: float) -> int | None:
        """The smallest duration that this share of all stays within, None without any."""
        wanted = self._counts.total() * percent / 100
        seen = 0
        for duration_ns in sorted(self._counts):
            seen += self._counts[duration_ns]
            if seen >= wanted:
                return duration_ns
        return None


@contextmanager
def opened(source: Source) -> Iterator[Source]:
    """Open a source for the block, and close it in any case.

    Open it before the recording is begun: an instrument that is not there then leaves no empty file behind.

    Raises
    ------
    SourceError
        If it can't be opened or closed.
    """
    _call(source, source.open)
    try:
        yield source
    finally:
        _call(source, source.close)


def acquire(
    source: Source,
    recording: Writable,
    *,
    rate_hz: float,
    duration_s: float | None = None,
    when_late: WhenLate = "skip",
    on_progress: Callable[[Progress], None] | None = None,
    stop: StopFlag | None = None,
) -> AcquisitionSummary:
    """Read a source at a rate and write each sample into a recording, until the time is over or `stop` is set.

    Parameters
    ----------
    source
        An open source, see `opened`.
    recording
        An open recording whose channels are the source's. It stays open: leaving it is what drains it.
    rate_hz
        Samples a second, 0.00001 to 100 000; the schedule does not drift.
    duration_s
        Above 0; None to go on until `stop` is set.
    when_late
        What to do about ticks whose time is over, see `mulletdaq.pacing.Pacer`.
    on_progress
        Called in this thread, between samples, at most ten times a second.
    stop
        Looked at before every sample, and every 50 ms while waiting.

    Raises
    ------
    SourceError
        If the source fails; every sample before is in the recording.
    ValueError
        If rate or duration is out of range.
    """
    pacer = Pacer(rate_hz, when_late=when_late, stop=stop)
    count = None if duration_s is None else tick_count(rate_hz, duration_s)
    write_measurement, now_ns = recording.write_measurement, time.perf_counter_ns
    latencies = Latencies()
    samples = 0
    start_ns = reported_ns = now_ns()
    for _tick in pacer.ticks(count):
        values = _call(source, source.read)
        before_ns = now_ns()
        write_measurement(*values)
        after_ns = now_ns()
        samples += 1
        latencies.add(after_ns - before_ns)
        if on_progress is not None and after_ns - reported_ns >= _PROGRESS_INTERVAL_NS:
            on_progress(Progress(samples, (after_ns - start_ns) / NS_PER_S, pacer.missed))
            reported_ns = after_ns
    return AcquisitionSummary(
        samples=samples,
        missed_ticks=pacer.missed,
        elapsed_s=(now_ns() - start_ns) / NS_PER_S,
        write_ns_median=latencies.percentile(50),
        write_ns_p999=latencies.percentile(99.9),
        write_ns_max=latencies.max_ns,
        stopped=count is not None and samples + pacer.missed < count,
    )


def pump(source: Source, write: Callable[..., Any], *, rate_hz: float, stop: StopFlag) -> None:
    """As :func:`acquire` without an end and without figures: what runs for months and is read by nobody.

    Raises
    ------
    SourceError
        If the source fails; every sample before was written.
    ValueError
        If the rate is out of range.
    """
    read = source.read
    for _tick in Pacer(rate_hz, stop=stop).ticks():
        try:
            values = read()
        except MulletError:
            raise
        except Exception as error:
            raise _failure(source, read, error) from error
        write(*values)


def _call(source: Source, method: Callable[[], Any]) -> Any:
    """Call a source's method, its failure told as what it is: the source's."""
    try:
        return method()
    except MulletError:
        raise
    except Exception as error:
        raise _failure(source, method, error) from error


def _failure(source: Source, method: Callable[[], Any], error: Exception) -> SourceError:
    what = f"source {source.name!r} failed in {method.__name__}()"
    return SourceError(f"{what}: {type(error).__name__}: {error}")


__all__ = ["AcquisitionSummary", "Latencies", "Progress", "Writable", "acquire", "opened", "pump"]
