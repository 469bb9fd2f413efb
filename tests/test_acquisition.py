"""The loop that runs a source into a recording, into a list here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulletdaq.acquisition import Latencies, Progress, acquire, opened
from mulletdaq.errors import RingFullError, SourceError
from mulletdaq.schema import Channel


class Counter:
    """A source that counts, calls back at each reading, and notes what is done to it."""

    name = "counter"
    channels = (Channel("count", dtype="int64"), Channel("square", dtype="int64"))

    def __init__(self, at_reading: Callable[[int], None] = lambda _: None) -> None:
        self.at_reading = at_reading
        self.count = 0
        self.calls: list[str] = []

    def open(self) -> None:
        self.calls.append("open")

    def read(self) -> tuple[int, int]:
        self.at_reading(self.count)
        self.count += 1
        return (self.count, self.count**2)

    def close(self) -> None:
        self.calls.append("close")


class Rows:
    """Takes samples as a recording does."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []

    def write_measurement(self, *values: Any) -> None:
        self.rows.append(values)


class Flag:
    def __init__(self) -> None:
        self.stopped = False

    def is_set(self) -> bool:
        return self.stopped


def test_every_sample_of_the_source_is_written_in_order() -> None:
    source, rows = Counter(), Rows()
    summary = acquire(source, rows, rate_hz=1000, duration_s=0.05, when_late="catch_up")
    assert rows.rows == [(n, n * n) for n in range(1, 51)]
    assert (summary.samples, summary.missed_ticks, summary.stopped) == (50, 0, False)
    assert summary.write_ns_median is not None
    assert summary.write_ns_p999 is not None
    assert summary.write_ns_max is not None
    assert 0 < summary.write_ns_median <= summary.write_ns_p999 <= summary.write_ns_max


def test_a_stop_between_samples_keeps_those_before() -> None:
    flag, rows = Flag(), Rows()

    def stop_at_third(count: int) -> None:
        flag.stopped = count == 2

    summary = acquire(Counter(stop_at_third), rows, rate_hz=1000, duration_s=60, stop=flag)
    assert rows.rows == [(1, 1), (2, 4), (3, 9)]
    assert summary.stopped


def test_without_a_duration_it_ends_at_the_stop_only() -> None:
    flag, rows = Flag(), Rows()

    def stop_at_tenth(count: int) -> None:
        flag.stopped = count == 9

    summary = acquire(Counter(stop_at_tenth), rows, rate_hz=1000, when_late="catch_up", stop=flag)
    assert summary.samples == len(rows.rows) == 10
    assert not summary.stopped


def test_a_failing_source_is_named_and_its_samples_stay() -> None:
    def break_at_third(count: int) -> None:
        if count == 2:
            raise OSError("cable pulled")

    rows = Rows()
    with pytest.raises(SourceError, match=r"source 'counter' failed in read\(\): OSError: cable pulled"):
        acquire(Counter(break_at_third), rows, rate_hz=1000, duration_s=1)
    assert len(rows.rows) == 2


def test_a_source_is_closed_in_any_case() -> None:
    source = Counter()
    with opened(source) as same:
        assert same is source
        assert source.calls == ["open"]
    assert source.calls == ["open", "close"]
    source = Counter()
    with pytest.raises(ZeroDivisionError), opened(source):
        raise ZeroDivisionError
    assert source.calls == ["open", "close"]


def test_a_source_that_does_not_open_is_not_closed() -> None:
    class Unplugged(Counter):
        def open(self) -> None:
            raise ConnectionError("no device")

    source = Unplugged()
    with pytest.raises(SourceError, match=r"open\(\): ConnectionError: no device"), opened(source):
        pass
    assert source.calls == []


def test_an_error_of_ours_stays_what_it_is() -> None:
    class Full(Rows):
        def write_measurement(self, *values: Any) -> None:
            raise RingFullError("ring is full")

    with pytest.raises(RingFullError):
        acquire(Counter(), Full(), rate_hz=10, duration_s=1)


@pytest.mark.parametrize(("rate_hz", "duration_s"), [(0, 1), (float("nan"), 1), (10, 0), (10, -1), (1e9, 1)])
def test_nonsense_is_refused_before_anything_is_read(rate_hz: float, duration_s: float) -> None:
    source = Counter()
    with pytest.raises(ValueError, match="not"):
        acquire(source, Rows(), rate_hz=rate_hz, duration_s=duration_s)
    assert source.count == 0


def test_progress_only_grows_and_never_passes_the_truth() -> None:
    seen: list[Progress] = []
    rows = Rows()
    acquire(Counter(), rows, rate_hz=1000, duration_s=0.5, when_late="catch_up", on_progress=seen.append)
    assert seen
    assert [progress.samples for progress in seen] == sorted(progress.samples for progress in seen)
    assert [progress.elapsed_s for progress in seen] == sorted(progress.elapsed_s for progress in seen)
    assert seen[-1].samples <= len(rows.rows) == 500


@given(st.lists(st.integers(0, 10**12), min_size=1))
def test_percentiles_keep_three_digits(durations: list[int]) -> None:
    latencies = Latencies()
    for duration in durations:
        latencies.add(duration)
    exact = sorted(durations)
    for percent in (50, 99.9, 100):
        index = max(0, -(-len(exact) * percent // 100) - 1)
        true = exact[int(index)]
        kept = latencies.percentile(percent)
        assert kept is not None
        assert true * 0.99 <= kept <= true
    assert latencies.max_ns == exact[-1]


def test_percentiles_of_nothing_are_none() -> None:
    assert Latencies().percentile(50) is None
    assert Latencies().max_ns is None
