"""The arithmetic behind the advice."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulletdaq.benchmark.advice import MEGABYTE, STALL_S, Measured, Wanted, advise, bridged, nice

FAST = Measured(gzip_hz=5e6, plain_hz=10e6, commit_s=0.02, call_ns=50.0, memory_bytes=64 << 30)

WANTED = st.builds(Wanted, rate_hz=st.floats(1e-3, 1e9), channels=st.integers(1, 1024))
MEASURED = st.builds(
    Measured,
    gzip_hz=st.just(0.0) | st.floats(1.0, 1e9),
    plain_hz=st.just(0.0) | st.floats(1.0, 1e9),
    commit_s=st.floats(1e-4, 30.0),
    call_ns=st.floats(10.0, 1e5),
    memory_bytes=st.integers(64 << 20, 1 << 44),
)


def test_a_slow_signal_gets_the_defaults() -> None:
    advice = advise(Wanted(1000.0), FAST)
    assert (advice.verdict, advice.compression, advice.layout) == ("easily", "gzip", "batches")
    assert (advice.ring_mb, advice.interval_s) == (100, 1.0)
    assert not advice.needs_blocks
    # 16,000 bytes a second, of which 1.02 s wait between commits
    assert advice.bridged_s == pytest.approx(104_857_600 / 16_000 - 1.02)


def test_a_fast_signal_gets_a_ring_that_bridges_a_stall() -> None:
    advice = advise(Wanted(2e6), FAST)
    # 32 MB/s for 10 s of stall and 1.02 s between commits are 336 times 1,048,576 bytes
    assert (advice.verdict, advice.ring_mb) == ("easily", 500)
    assert advice.bridged_s >= STALL_S
    assert advice.catch_up_s == pytest.approx(advice.bridged_s * 2 / 3)
    assert not advice.needs_blocks  # a tenth of a loop's time
    assert advise(Wanted(2e6), replace(FAST, call_ns=300.0)).needs_blocks


@pytest.mark.parametrize(
    ("rate_hz", "verdict", "compression"),
    [
        (2.5e6, "easily", "gzip"),
        (4.4e6, "barely", "gzip"),
        (4.6e6, "uncompressed", None),
        (8.9e6, "uncompressed", None),
        (9.1e6, "no", "gzip"),
    ],
)
def test_the_verdict_is_the_share_of_the_highest_rate(rate_hz: float, verdict: str, compression: str | None) -> None:
    advice = advise(Wanted(rate_hz), FAST)
    assert (advice.verdict, advice.compression) == (verdict, compression)


def test_slow_commits_come_less_often() -> None:
    assert advise(Wanted(100.0), replace(FAST, commit_s=0.3)).interval_s == 5.0


def test_many_channels_get_datasets_that_grow() -> None:
    assert advise(Wanted(100.0, channels=9), FAST).layout == "batches"
    assert advise(Wanted(100.0, channels=10), FAST).layout == "continuous"
    assert advise(Wanted(100.0, channels=11), replace(FAST, commit_s=0.3)).layout == "batches"


def test_a_ring_leaves_the_machine_its_memory() -> None:
    advice = advise(Wanted(2e6), replace(FAST, memory_bytes=800 * MEGABYTE))
    assert advice.ring_mb == 200
    assert advice.bridged_s < STALL_S


def test_where_no_rate_was_held_none_is_promised() -> None:
    advice = advise(Wanted(1.0), replace(FAST, gzip_hz=0.0, plain_hz=0.0))
    assert (advice.verdict, advice.share, advice.bridged_s, advice.catch_up_s) == ("no", math.inf, 0.0, math.inf)


@given(wanted=WANTED, measured=MEASURED)
def test_what_holds_of_every_advice(wanted: Wanted, measured: Measured) -> None:
    advice = advise(wanted, measured)
    assert 1 <= advice.ring_mb <= max(1, measured.memory_bytes // 4 // MEGABYTE)
    assert advice.interval_s >= max(1.0, measured.commit_s * 10 * (1 - 1e-9))
    assert 0.0 <= advice.bridged_s <= advice.ring_mb * MEGABYTE / wanted.bytes_per_s
    highest_hz = measured.gzip_hz if advice.compression else measured.plain_hz
    if advice.verdict == "no":
        assert wanted.rate_hz > 0.9 * max(measured.gzip_hz, measured.plain_hz) * (1 - 1e-9)
    else:
        assert wanted.rate_hz <= 0.9 * highest_hz * (1 + 1e-9)
        if advice.ring_mb < measured.memory_bytes // 4 // MEGABYTE:
            assert advice.bridged_s >= STALL_S * (1 - 1e-9)


@given(megabytes=st.floats(1, 1e5), bytes_per_s=st.floats(1, 1e10), waiting_s=st.floats(0, 100))
def test_what_waits_and_what_is_bridged_fill_the_ring(megabytes: float, bytes_per_s: float, waiting_s: float) -> None:
    found = bridged(megabytes, bytes_per_s, waiting_s)
    if found:
        assert (found + waiting_s) * bytes_per_s == pytest.approx(megabytes * MEGABYTE)
    else:
        assert waiting_s * bytes_per_s >= megabytes * MEGABYTE * (1 - 1e-9)


@given(number=st.floats(1e-9, 1e12))
def test_nice_numbers_are_not_far_above(number: float) -> None:
    found = nice(number)
    assert number <= found < number * 2.5 * (1 + 1e-9)
    assert f"{found:.3e}"[:5] in {"1.000", "2.000", "5.000"}
