"""The search for the highest rate, on machines with a known limit."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulletdaq.benchmark.search import FINEST, Bracket, search

RATES = st.floats(min_value=2.0, max_value=1e9)


@given(limit_hz=RATES, first_hz=RATES)
def test_it_closes_in_on_the_limit_from_anywhere(limit_hz: float, first_hz: float) -> None:
    asked: list[float] = []

    def holds(rate_hz: float) -> bool:
        asked.append(rate_hz)
        return rate_hz <= limit_hz

    found = search(holds, first_hz)
    assert found.held <= limit_hz < found.failed
    assert found.failed <= found.held * FINEST
    assert len(asked) == len(set(asked)) <= abs(math.log2(limit_hz / first_hz)) + 8


@given(limit_hz=RATES, first_hz=RATES, most_hz=RATES)
def test_it_tries_no_rate_above_the_most(limit_hz: float, first_hz: float, most_hz: float) -> None:
    asked: list[float] = []

    def holds(rate_hz: float) -> bool:
        asked.append(rate_hz)
        return rate_hz <= limit_hz

    found = search(holds, first_hz, most_hz=most_hz)
    assert max(asked) <= most_hz
    if most_hz <= limit_hz:
        assert found == Bracket(most_hz, math.inf)


@given(limit_hz=RATES, times=st.floats(1.0, 4.0), finest=st.floats(1.01, 3.0))
def test_it_goes_on_below_a_rate_that_is_known_to_fail(limit_hz: float, times: float, finest: float) -> None:
    known_hz = limit_hz * times * 1.001
    asked: list[float] = []

    def holds(rate_hz: float) -> bool:
        asked.append(rate_hz)
        return rate_hz <= limit_hz

    found = search(holds, known_hz / 2, failed_hz=known_hz, finest=finest)
    assert found.held <= limit_hz < found.failed <= known_hz
    assert found.failed <= found.held * finest
    assert max(asked) < known_hz


@given(limit_hz=RATES, first_hz=RATES, tries=st.integers(1, 6))
def test_it_ends_with_the_time_and_keeps_what_it_has(limit_hz: float, first_hz: float, tries: int) -> None:
    asked: list[float] = []

    def holds(rate_hz: float) -> bool:
        asked.append(rate_hz)
        return rate_hz <= limit_hz

    found = search(holds, first_hz, has_time=lambda: len(asked) < tries)
    assert 1 <= len(asked) <= tries
    assert found.held == max((rate for rate in asked if rate <= limit_hz), default=0.0)
    assert found.failed == min((rate for rate in asked if rate > limit_hz), default=math.inf)


@pytest.mark.parametrize("first_hz", [0.0, 1.0, 1000.0])
def test_a_machine_that_holds_nothing(first_hz: float) -> None:
    found = search(lambda rate_hz: False, first_hz)
    assert found.held == 0.0
    assert found.failed <= 1.0
