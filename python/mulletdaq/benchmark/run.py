"""A benchmark from start to end."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mulletdaq.benchmark.advice import DEFAULT_INTERVAL_S, DEFAULT_RING_MB, Advice, Measured, Wanted, advise
from mulletdaq.benchmark.course import Course
from mulletdaq.benchmark.leftovers import remove_rings_of_the_killed
from mulletdaq.benchmark.load import Hold, Load
from mulletdaq.benchmark.place import RESERVE_MB, check_room, filesystem_of, is_in_memory, is_network, scratch
from mulletdaq.benchmark.sample import SampleTimes, measure_samples
from mulletdaq.benchmark.search import search
from mulletdaq.pacing import StopFlag

_SAMPLES_SHARE = 0.2
_GZIP_SHARE = 0.6
_PLAIN_SHARE = 0.98
_HOLDS = 7
"""How many rates are tried in a search, about; the time for it is divided so."""

_COARSE = 1 / 3
"""Until it is known where about the limit is, each rate is held for this share of the time only."""

_COMMITS_A_HOLD = 8
_MOST_HZ = 1e9


@dataclass(frozen=True)
class Limit:
    """The highest rate found.

    Attributes
    ----------
    best
        How it was held, in full unless there was no time for that; None if no rate was.
    failed_hz
        The lowest rate that was not held, in samples/s; infinite if all were.
    holds
        Every rate that was tried, in order: for a shorter time at first, then in full.
    room_hz
        The rate beyond which the disk had no room to try.
    """

    best: Hold | None
    failed_hz: float
    holds: list[Hold] = field(default_factory=list)
    room_hz: float = _MOST_HZ

    @property
    def kept_hz(self) -> float:
        """Samples/s that came into the file; 0 if no rate was held."""
        return self.best.kept_hz if self.best else 0.0


@dataclass(frozen=True)
class BenchmarkReport:
    """What was measured, and what follows.

    Attributes
    ----------
    folder, filesystem
        Where, and the kind of file system; empty where the system does not tell.
    in_network, in_memory
        Whether that is the disk of another computer, or none.
    wanted
        The rate and channels that the advice is for; all was measured with that many channels.
    ring_mb
        The ring that was measured with.
    gzip, plain
        The highest rates, compressed as by default and not at all.
    samples
        One sample at a time.
    advice
        What to record with.
    """

    folder: str
    filesystem: str
    in_network: bool
    in_memory: bool
    wanted: Wanted
    ring_mb: float
    gzip: Limit
    plain: Limit
    samples: SampleTimes
    advice: Advice

    def to_dict(self) -> dict[str, Any]:
        """The report as plain numbers and dicts."""
        return asdict(self)


def run_benchmark(
    folder: str | os.PathLike[str],
    wanted: Wanted,
    *,
    seconds: float = 30.0,
    ring_mb: float = DEFAULT_RING_MB,
    reserve_mb: float = RESERVE_MB,
    on_progress: Callable[[str, float], None] | None = None,
    stop: StopFlag | None = None,
) -> BenchmarkReport:
    """Record into a folder, at rising rates, to see what this machine holds. Everything written is removed again.

    Parameters
    ----------
    folder
        Where recordings would go.
    wanted
        What is to be recorded.
    seconds
        How long it may take in all, about.
    ring_mb
        The ring between producer and writer, in 1,048,576 bytes.
    reserve_mb
        Room on the disk, in 1,048,576 bytes, that is left to others.
    on_progress
        Takes what is being done, and the share of the time that is over.
    stop
        Ends it early.

    Raises
    ------
    FileWriteError
        If there is no such folder, or too little room, before anything is written; or if writing fails.
    RingError, WriterError
        If no ring can be made, or the writer does not run.
    KeyboardInterrupt
        If it was stopped.
    """
    check_room(folder, reserve_mb)
    remove_rings_of_the_killed()
    filesystem = filesystem_of(folder)
    course = Course(seconds, on_progress, stop)
    with scratch(folder) as place:
        made = _Recordings(place, wanted.channels, ring_mb, reserve_mb, course)
        samples = _measure_samples(made, seconds)
        gzip = _find_limit(made, "gzip", seconds, _SAMPLES_SHARE, _GZIP_SHARE)
        plain = _find_limit(made, None, seconds, _GZIP_SHARE, _PLAIN_SHARE)
    measured = Measured(gzip.kept_hz, plain.kept_hz, samples.flushed_s, samples.call_ns, memory_bytes())
    return BenchmarkReport(
        folder=os.path.abspath(folder),
        filesystem=filesystem,
        in_network=is_network(filesystem),
        in_memory=is_in_memory(filesystem),
        wanted=wanted,
        ring_mb=ring_mb,
        gzip=gzip,
        plain=plain,
        samples=samples,
        advice=advise(wanted, measured),
    )


def memory_bytes() -> int:
    """Of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class _Recordings:
    """All that the recordings of one benchmark have in common."""

    place: Path
    channels: int
    ring_mb: float
    reserve_mb: float
    course: Course

    def load(self, compression: str | None, interval_s: float) -> Load:
        return Load(
            self.place,
            self.channels,
            compression,
            interval_s=interval_s,
            ring_mb=self.ring_mb,
            reserve_mb=self.reserve_mb,
            course=self.course,
        )


def _measure_samples(made: _Recordings, seconds: float) -> SampleTimes:
    made.course.doing = "one sample at a time"
    interval_s = min(DEFAULT_INTERVAL_S, seconds / 30)
    with made.load("gzip", interval_s) as load:
        return measure_samples(load, made.course, interval_s=interval_s, until_share=_SAMPLES_SHARE)


def _find_limit(made: _Recordings, compression: str | None, seconds: float, begin: float, end: float) -> Limit:
    """The highest rate that is held; the time for it is from one share of the whole to another."""
    hold_s = seconds * (end - begin) / _HOLDS
    words = "with gzip" if compression else "without compression"
    made.course.doing = f"{words}: beginning"
    with made.load(compression, min(DEFAULT_INTERVAL_S, hold_s / _COMMITS_A_HOLD)) as load:
        room_hz = max(1.0, load.most_hz(hold_s))
        most_hz = min(_MOST_HZ, room_hz)

        def trying(holds: list[Hold], seconds: float) -> Callable[[float], bool]:
            def is_held(rate_hz: float) -> bool:
                made.course.doing = f"{words}: {rate_hz:,.0f} samples/s"
                holds.append(load.hold(rate_hz, seconds))
                return holds[-1].held

            return is_held

        def has_time() -> bool:
            return made.course.has_time(1.3 * hold_s, end)

        short: list[Hold] = []
        coarse = search(
            trying(short, hold_s * _COARSE), load.first_guess_hz(), most_hz=most_hz, finest=2.0, has_time=has_time
        )
        full: list[Hold] = []
        found = search(
            trying(full, hold_s),
            max((hold.kept_hz for hold in short if hold.held), default=coarse.failed / 2),
            failed_hz=coarse.failed,
            most_hz=most_hz,
            has_time=has_time,
        )
    return Limit(_best(full) or _best(short), found.failed, short + full, room_hz)


def _best(holds: list[Hold]) -> Hold | None:
    return max((hold for hold in holds if hold.held), key=lambda hold: hold.kept_hz, default=None)


__all__ = ["BenchmarkReport", "Limit", "memory_bytes", "run_benchmark"]
