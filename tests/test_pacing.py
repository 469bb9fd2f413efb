"""The schedule of paced loops, on a clock that only moves when slept on."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulletdaq.pacing import MAX_RATE_HZ, MIN_RATE_HZ, Pacer, check_rate, tick_count


class ManualClock:
    """Time passes by sleeping (with an overshoot, as in life) and by `work`."""

    def __init__(self, overshoot_ns: int = 0) -> None:
        self.time_ns = 1_000_000_007
        self.overshoot_ns = overshoot_ns
        self.longest_sleep_ns = 0

    def now_ns(self) -> int:
        return self.time_ns

    def sleep_s(self, duration_s: float) -> None:
        duration_ns = round(duration_s * 1e9)
        assert duration_ns > 0
        self.longest_sleep_ns = max(self.longest_sleep_ns, duration_ns)
        self.time_ns += duration_ns + self.overshoot_ns

    def work(self, duration_ns: int) -> None:
        self.time_ns += duration_ns


class Flag:
    def __init__(self) -> None:
        self.stopped = False

    def is_set(self) -> bool:
        return self.stopped


@pytest.mark.parametrize("rate_hz", [0.5, 3.0, 100.0, 44_100.0])
def test_lateness_does_not_add_up(rate_hz: float) -> None:
    clock = ManualClock(overshoot_ns=4_000)
    start_ns = clock.now_ns()
    for index in Pacer(rate_hz, clock=clock).ticks(10_000):
        late_ns = clock.now_ns() - start_ns - index * 1e9 / rate_hz
        assert -1 <= late_ns <= 4_001
        clock.work(3_000)
    assert index == 9_999


def test_the_first_tick_is_due_at_once() -> None:
    clock = ManualClock()
    assert next(Pacer(0.001, clock=clock).ticks()) == 0
    assert clock.longest_sleep_ns == 0


def test_late_ticks_are_skipped_and_counted() -> None:
    clock = ManualClock()
    pacer = Pacer(100, clock=clock)
    seen = []
    for index in pacer.ticks(10):
        seen.append(index)
        if index == 2:
            clock.work(35_000_000)  # until 55 ms: ticks 3 and 4 (30, 40 ms) are over, tick 5 is running
    assert seen == [0, 1, 2, 5, 6, 7, 8, 9]
    assert pacer.missed == 2


def test_a_turn_that_outlasts_the_schedule_ends_it() -> None:
    clock = ManualClock()
    pacer = Pacer(100, clock=clock)
    seen = []
    for index in pacer.ticks(10):
        seen.append(index)
        clock.work(5_000_000_000)
    assert seen == [0]
    assert pacer.missed == 9


def test_catching_up_runs_every_tick() -> None:
    clock = ManualClock()
    pacer = Pacer(100, when_late="catch_up", clock=clock)
    seen = []
    for index in pacer.ticks(10):
        seen.append((index, clock.now_ns() - 1_000_000_007))
        if index == 2:
            clock.work(35_000_000)
    assert [index for index, _ in seen] == list(range(10))
    assert [moment for _, moment in seen[3:7]] == [55_000_000, 55_000_000, 55_000_000, 60_000_000]
    assert pacer.missed == 0


@given(
    rate_hz=st.floats(1.0, MAX_RATE_HZ),
    turns=st.lists(st.integers(0, 10**11), min_size=1, max_size=40),
    overshoot_ns=st.integers(0, 10**6),
    count=st.integers(1, 50),
)
def test_every_tick_is_run_or_counted(rate_hz: float, turns: list[int], overshoot_ns: int, count: int) -> None:
    clock = ManualClock(overshoot_ns)
    start_ns = clock.now_ns()
    pacer = Pacer(rate_hz, clock=clock)
    seen = []
    work = itertools.cycle(turns)
    for index in pacer.ticks(count):
        assert clock.now_ns() - start_ns >= index * 1e9 / rate_hz - 1
        seen.append(index)
        clock.work(next(work))
    assert seen == sorted(set(seen))
    assert len(seen) + pacer.missed == count


def test_stop_ends_a_long_wait_soon() -> None:
    flag = Flag()

    class StoppedInSleep(ManualClock):
        def sleep_s(self, duration_s: float) -> None:
            super().sleep_s(duration_s)
            flag.stopped = True

    clock = StoppedInSleep()
    ticks = Pacer(MIN_RATE_HZ, stop=flag, clock=clock).ticks()
    next(ticks)
    before_ns = clock.now_ns()
    assert list(ticks) == []
    assert clock.now_ns() - before_ns <= 50_000_000


def test_a_stop_set_beforehand_yields_nothing() -> None:
    flag = Flag()
    flag.stopped = True
    assert list(Pacer(100, stop=flag, clock=ManualClock()).ticks(5)) == []


@pytest.mark.parametrize("rate_hz", [0, -1, float("nan"), float("inf"), 1e9, 1e-300])
def test_rates_out_of_range_are_refused(rate_hz: float) -> None:
    with pytest.raises(ValueError, match="Hz"):
        Pacer(rate_hz)
    with pytest.raises(ValueError, match="Hz"):
        check_rate(rate_hz)


def test_an_unknown_way_to_be_late_is_refused() -> None:
    with pytest.raises(ValueError, match="'skip' or 'catch_up', not 'hurry'"):
        Pacer(1, when_late="hurry")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rate_hz", "duration_s", "count"),
    [(100, 10, 1000), (10, 0.3, 3), (3, 1, 3), (7, 0.7, 5), (1, 0.5, 1), (0.1, 1, 1), (44_100, 2, 88_200)],
)
def test_tick_count(rate_hz: float, duration_s: float, count: int) -> None:
    assert tick_count(rate_hz, duration_s) == count


@pytest.mark.parametrize("duration_s", [0, -1, float("nan"), float("inf"), 1e12])
def test_durations_out_of_range_are_refused(duration_s: float) -> None:
    with pytest.raises(ValueError, match="duration"):
        tick_count(100, duration_s)
