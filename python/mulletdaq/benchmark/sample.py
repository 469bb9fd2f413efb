"""One sample: what writing it costs, and when it can be read from the file."""

from __future__ import annotations

import statistics
import time
import timeit
from dataclasses import dataclass
from typing import Any

from mulletdaq.benchmark.course import Course
from mulletdaq.benchmark.load import Load
from mulletdaq.hdf5.ledger import load_run
from mulletdaq.hdf5.reading import open_for_reading

_CALLS = 5_000
_CALL_ROUNDS = 9
_FLUSHES = 5
_PHASE = 0.382
_LOOK_S = 0.005


@dataclass(frozen=True)
class SampleTimes:
    """What was measured with one sample at a time.

    Attributes
    ----------
    call_ns
        A call of ``write_measurement`` from Python, the median of several thousand at once, in ns.
    flushed_s
        Time from writing a sample, with a flush behind it, to reading it from the file: the median, in s.
    readable_s, readable_most_s
        The same without a flush, the writer committing by itself: the median, and the longest, in s.
    interval_s
        Time between those commits.
    """

    call_ns: float
    flushed_s: float
    readable_s: float
    readable_most_s: float
    interval_s: float


def measure_samples(load: Load, course: Course, *, interval_s: float, until_share: float) -> SampleTimes:
    """Measure with a recording that commits at an interval, as long as a share of the course's time allows."""
    values = (1.5,) * len(load.producer.schema.names[1:])
    call_ns = _call_ns(load.producer.append, values)
    load.flush()
    flushed = [_readable_s(load, course, values, flush=True) for _ in range(_FLUSHES)]
    waited: list[float] = []
    while not waited or course.has_time(1.5 * interval_s, until_share):
        course.wait(interval_s * (len(waited) * _PHASE % 1))  # samples come at any time between commits
        waited.append(_readable_s(load, course, values, flush=False))
    return SampleTimes(
        call_ns=call_ns,
        flushed_s=statistics.median(flushed),
        readable_s=statistics.median(waited),
        readable_most_s=max(waited),
        interval_s=interval_s,
    )


def _call_ns(append: Any, values: tuple[float, ...]) -> float:
    arguments = {f"value_{number}": value for number, value in enumerate(values)}
    timer = timeit.Timer(f"append({', '.join(arguments)})", globals={"append": append, **arguments})
    return statistics.median(timer.repeat(_CALL_ROUNDS, _CALLS)) / _CALLS * 1e9


def _readable_s(load: Load, course: Course, values: tuple[float, ...], *, flush: bool) -> float:
    began = time.monotonic()
    load.producer.append(*values)
    if flush:
        load.flush()
    while _rows_in(load.path) < load.ring.newest_row:
        course.look()
        time.sleep(_LOOK_S)
    return time.monotonic() - began


def _rows_in(path: str) -> int:
    """What any reader finds there now."""
    with open_for_reading(path) as file:
        return sum(load_run(group).rows for group in file["runs"].values())


__all__ = ["SampleTimes", "measure_samples"]
