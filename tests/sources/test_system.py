"""The system source, on the machine that runs the tests and on counters of our own."""

from __future__ import annotations

import math
import time

import psutil
import pytest

from mulletdaq.abc import Source
from mulletdaq.sources.system import ByteRates, SystemSource


class Counters:
    """Byte counters and a clock, set by hand."""

    def __init__(self) -> None:
        self.counts: tuple[int, int] | None = (0, 0)
        self.now_s = 0.0

    def read(self) -> tuple[int, int] | None:
        return self.counts

    def clock(self) -> float:
        return self.now_s


def test_it_is_a_source() -> None:
    assert isinstance(SystemSource(), Source)


def test_a_sample_has_a_value_for_each_channel_in_its_range() -> None:
    source = SystemSource()
    source.open()
    time.sleep(0.01)
    sample = dict(zip((channel.name for channel in source.channels), source.read(), strict=True))
    source.close()
    assert 0 <= sample["cpu_percent"] <= 100
    assert 0 < sample["memory_percent"] <= 100
    assert 0 < sample["memory_used"] <= psutil.virtual_memory().total
    assert sample["load_1min"] >= 0
    for name in ("network_received", "network_sent", "disk_read", "disk_written"):
        assert sample[name] >= 0 or math.isnan(sample[name])


def test_each_channel_has_a_unit_or_is_a_bare_number() -> None:
    units = {channel.name: channel.unit for channel in SystemSource.channels}
    assert units == {
        "cpu_percent": "%",
        "memory_percent": "%",
        "memory_used": "B",
        "load_1min": "",
        "network_received": "B/s",
        "network_sent": "B/s",
        "disk_read": "B/s",
        "disk_written": "B/s",
    }


def test_rates_are_counted_over_the_time_since_the_last_read() -> None:
    counters = Counters()
    rates = ByteRates(counters.read, counters.clock)
    counters.counts, counters.now_s = (1000, 50), 0.5
    assert rates.read() == (2000.0, 100.0)
    counters.counts, counters.now_s = (1000, 250), 2.5
    assert rates.read() == (0.0, 100.0)


def test_a_counter_that_went_backwards_is_nan_once() -> None:
    counters = Counters()
    counters.counts = (2**32 - 1, 10)
    rates = ByteRates(counters.read, counters.clock)
    counters.counts, counters.now_s = (5, 20), 1.0
    received, sent = rates.read()
    assert math.isnan(received)
    assert sent == 10.0
    counters.counts, counters.now_s = (7, 20), 2.0
    assert rates.read() == (2.0, 0.0)


def test_counters_that_are_missing_or_come_late_are_nan() -> None:
    counters = Counters()
    counters.counts = None
    rates = ByteRates(counters.read, counters.clock)
    counters.now_s = 1.0
    assert all(map(math.isnan, rates.read()))
    counters.counts, counters.now_s = (8, 8), 2.0
    assert all(map(math.isnan, rates.read()))
    counters.counts, counters.now_s = (9, 8), 3.0
    assert rates.read() == (1.0, 0.0)


def test_two_reads_at_the_same_moment_are_nan_not_a_crash() -> None:
    counters = Counters()
    rates = ByteRates(counters.read, counters.clock)
    assert all(map(math.isnan, rates.read()))


def test_what_the_machine_does_not_have_is_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    # A container without /proc/diskstats, /proc/net/dev and load average can't be made here: fake those.
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("/proc/diskstats")

    monkeypatch.setattr(psutil, "disk_io_counters", missing)
    monkeypatch.setattr(psutil, "net_io_counters", lambda: None)
    monkeypatch.setattr(psutil, "getloadavg", missing)
    monkeypatch.setattr(psutil, "cpu_percent", missing)
    monkeypatch.setattr(psutil, "virtual_memory", missing)
    source = SystemSource()
    source.open()
    sample = source.read()
    assert len(sample) == len(source.channels)
    assert all(map(math.isnan, sample))


def test_the_load_is_held_within_its_window(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = iter((10.0, 20.0, 30.0))
    monkeypatch.setattr(psutil, "cpu_percent", lambda _: next(loads))
    counters = Counters()
    source = SystemSource(clock=counters.clock)
    source.open()
    seen = []
    for counters.now_s in (0.01, 0.09, 0.11, 0.15, 0.25):
        seen.append(source.read()[0])
    assert seen == [10.0, 10.0, 20.0, 20.0, 30.0]
