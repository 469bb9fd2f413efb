"""The simulated voltage."""

from __future__ import annotations

import pytest

from mulletdaq.abc import Source
from mulletdaq.sources.simulated import SimulatedVoltage


def test_it_is_a_source() -> None:
    assert isinstance(SimulatedVoltage(), Source)


def test_it_is_a_sine_of_one_volt_and_one_hertz() -> None:
    now_s = 12.0
    source = SimulatedVoltage(seed=1, clock=lambda: now_s)
    source.open()
    expected = {0.0: 0.0, 0.25: 1.0, 0.5: 0.0, 0.75: -1.0, 1.25: 1.0}
    for after_s, voltage in expected.items():
        now_s = 12.0 + after_s
        (read,) = source.read()
        assert read == pytest.approx(voltage, abs=0.1)


def test_the_noise_is_there_and_repeatable() -> None:
    first, second = (SimulatedVoltage(seed=7, clock=lambda: 0.0) for _ in range(2))
    values = [first.read() for _ in range(10)]
    assert values == [second.read() for _ in range(10)]
    assert len(set(values)) == 10
