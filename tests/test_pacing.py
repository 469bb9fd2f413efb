"""The schedule of paced loops, on a clock that only moves when slept on."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulletdaq._core import sleep_until
from mulletdaq.pacing import MAX_RATE_HZ, MIN_RATE_HZ, Pacer, check_rate, tick_count
from tests.ring.support import run_python

LONGEST_SLEEP_NS = 50_000_000


class ManualClock:
    """Time passes by sleeping (with an overshoot, as in life) and by `work`."""

    def __init__(self, overshoot_ns: int = 0) -> None:
        self.now_ns = 1_000_000_007
        self.overshoot_ns = overshoot_ns
        self.slept_ns = 0

    def sleep_until(self, deadline_ns: int) -> int:
        left_ns = min(deadline_ns - self.now_ns, LONGEST_SLEEP_NS)
        if left_ns > 0:
            self.slept_ns += left_ns
            self.now_ns += left_ns + self.overshoot_ns
        return self.now_ns

    def work(self, duration_ns: int) -> None:
        self.now_ns += duration_ns


class Flag:
    def __init__(self) -> None:
        self.stopped = False

    def is_set(self) -> bool:
        return self.stopped


@pytest.mark.parametrize("rate_hz", [0.5, 3.0, 100.0, 44_100.0])
def test_lateness_does_not_add_up(rate_hz: float) -> None:
    clock = ManualClock(overshoot_ns=4_000)
    start_ns = clock.now_ns
    for index in Pacer(rate_hz, sleep_until=clock.sleep_until).ticks(10_000):
        late_ns = clock.now_ns - start_ns - index * 1e9 / rate_hz
        assert -1 <= late_ns <= 4_001
        clock.work(3_000)
    assert index == 9_999


def test_the_first_tick_is_due_at_once() -> None:
    clock = ManualClock()
    assert next(Pacer(0.001, sleep_until=clock.sleep_until).ticks()) == 0
    assert clock.slept_ns == 0


def test_late_ticks_are_skipped_and_counted() -> None:
    clock = ManualClock()
    pacer = Pacer(100, sleep_until=clock.sleep_until)
    seen = []
    for index in pacer.ticks(10):
        seen.append(index)
        if index == 2:
            clock.work(35_000_000)  # until 55 ms: ticks 3 and 4 (30, 40 ms) are over, tick 5 is running
    assert seen == [0, 1, 2, 5, 6, 7, 8, 9]
    assert pacer.missed == 2


def test_a_turn_that_outlasts_the_schedule_ends_it() -> None:
    clock = ManualClock()
    pacer = Pacer(100, sleep_until=clock.sleep_until)
    seen = []
    for index in pacer.ticks(10):
        seen.append(index)
        clock.work(5_000_000_000)
    assert seen == [0]
    assert pacer.missed == 9


def test_catching_up_runs_every_tick() -> None:
    clock = ManualClock()
    pacer = Pacer(100, when_late="catch_up", sleep_until=clock.sleep_until)
    seen = []
    for index in pacer.ticks(10):
        seen.append((index, clock.now_ns - 1_000_000_007))
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
    start_ns = clock.now_ns
    pacer = Pacer(rate_hz, sleep_until=clock.sleep_until)
    seen = []
    work = itertools.cycle(turns)
    for index in pacer.ticks(count):
        assert clock.now_ns - start_ns >= index * 1e9 / rate_hz - 1
        seen.append(index)
        clock.work(next(work))
    assert seen == sorted(set(seen))
    assert len(seen) + pacer.missed == count


def test_stop_ends_a_long_wait_soon() -> None:
    flag = Flag()

    class StoppedInSleep(ManualClock):
        def sleep_until(self, deadline_ns: int) -> int:
            flag.stopped = deadline_ns > self.now_ns
            return super().sleep_until(deadline_ns)

    clock = StoppedInSleep()
    ticks = Pacer(MIN_RATE_HZ, stop=flag, sleep_until=clock.sleep_until).ticks()
    next(ticks)
    before_ns = clock.now_ns
    assert list(ticks) == []
    assert clock.now_ns - before_ns <= LONGEST_SLEEP_NS


def test_a_stop_set_beforehand_yields_nothing() -> None:
    flag = Flag()
    flag.stopped = True
    assert list(Pacer(100, stop=flag, sleep_until=ManualClock().sleep_until).ticks(5)) == []


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


# ---- the system's clock


def test_sleeping_until_a_moment() -> None:
    now_ns = time.monotonic_ns()
    assert sleep_until(now_ns + 3_000_000) >= now_ns + 3_000_000
    for over_ns in (now_ns, 0, -(2**63)):
        assert now_ns <= sleep_until(over_ns) <= time.monotonic_ns()


def test_a_sleep_has_an_end_however_far_the_moment() -> None:
    for far_ns in (time.monotonic_ns() + 10**13, 2**63 - 1):
        now_ns = time.monotonic_ns()
        assert now_ns + LONGEST_SLEEP_NS <= sleep_until(far_ns) < far_ns


def test_signals_are_handled_in_a_sleep_and_may_end_it() -> None:
    """In one of a hundred sleeps at the latest: a busy machine may hold a process for longer than one."""
    script = """
        import signal, time
        from mulletdaq._core import sleep_until

        def handled_in_a_sleep():
            came = []
            signal.signal(signal.SIGALRM, lambda *_: came.append(time.monotonic_ns()))
            signal.setitimer(signal.ITIMER_REAL, 0.005)
            until_ns = time.monotonic_ns() + 40_000_000
            assert sleep_until(until_ns) >= until_ns
            return came and came[0] < until_ns

        def ended_a_sleep():
            signal.signal(signal.SIGALRM, lambda *_: 1 / 0)
            until_ns = time.monotonic_ns() + 40_000_000
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.005)
                sleep_until(until_ns)
            except ZeroDivisionError:
                return time.monotonic_ns() < until_ns
            return False

        print(any(handled_in_a_sleep() for _ in range(100)), any(ended_a_sleep() for _ in range(100)))
    """
    assert run_python(script) == "True True\n"
