"""What a person is told of each thing that can be wrong; with stand-ins where it cannot be had at will."""

from __future__ import annotations

import asyncio
import io
import time
from types import SimpleNamespace
from typing import Any

import pytest

from mulletdaq.daemon.child import Child
from mulletdaq.daemon.conditions import Condition, Conditions
from mulletdaq.daemon.log import Log
from mulletdaq.daemon.look import Losses, child_conditions, disk_conditions, look_at_child, recording_conditions
from mulletdaq.flight.messages import ChildStatus, DiskStatus, RecordingInfo


def recording(state: Any = "recording", **facts: Any) -> Any:
    """An output that is seen so."""
    about = {"path": "/data/shot.h5", "streams": ["a"], "started_ns": 1, "state": state}
    info = RecordingInfo(name="shot", **{**about, **facts})
    lost = facts.get("rows_lost", 0)
    return SimpleNamespace(
        name="shot",
        info=lambda: info,
        stalled_since=None,
        patience_s=3.0,
        running=True,
        statistics=lambda: SimpleNamespace(rows_lost=lost),
        child=lambda: ChildStatus(name="shot", kind="writer", state="running"),
    )


def only(found: Any) -> Condition:
    condition: Condition
    [condition] = found
    assert condition.what and condition.advice and "\n" not in condition.what + condition.advice
    return condition


def test_a_writer_that_lags_behind() -> None:
    assert not list(recording_conditions([recording(lag_s=2.9)]))
    lag = only(recording_conditions([recording(lag_s=12.0)]))
    assert (lag.code, lag.severity, lag.what) == ("writer_lag", "warning", "recording shot is 12 s behind")


def test_a_recording_that_cannot_write() -> None:
    paused = only(recording_conditions([recording("paused", reason="the disk is full")]))
    assert (paused.code, paused.severity) == ("recording_paused", "failing")
    assert paused.what == "recording shot pauses: the disk is full"
    failed = only(recording_conditions([recording("failed", reason="no such folder")]))
    assert (failed.code, failed.what) == ("recording_failed", "recording shot cannot write: no such folder")


def test_a_process_that_is_started_again() -> None:
    child: Any = SimpleNamespace(
        status=lambda: ChildStatus(name="flight", kind="flight", state="restarting", last_death="was killed by SIGKILL")
    )
    condition = only(child_conditions([], [child]))
    assert condition.what == "the flight process of flight was killed by SIGKILL, and is being started again"


def test_a_disk_with_little_room() -> None:
    def disk(free_mb: int) -> list[Condition]:
        return list(disk_conditions([DiskStatus(folder="/data", free_bytes=free_mb << 20, reserve_bytes=100 << 20)]))

    assert disk(200) == []
    assert only(disk(199)).severity == "warning"
    short = only(disk(99))
    assert (short.severity, short.what) == ("failing", "/data has 99 MB left, of which 100 MB are kept free")


def test_losses_are_told_for_a_while_and_forgotten_with_their_recording() -> None:
    losses = Losses()
    assert "has lost 5 rows" in only(losses.look([recording(rows_lost=5)])).what
    assert list(losses.look([])) == []
    assert losses._seen == {}


def test_a_flight_process_that_says_nothing_is_replaced() -> None:
    async def test() -> None:
        child = Child("flight", "flight", "nothing", lambda: b"", lambda words, line: None, Log(output=io.StringIO()))
        killed: list[bool] = []
        child.kill = lambda: killed.append(True)  # type: ignore[method-assign]
        child.ready_at = time.monotonic()
        for silent_s, stalled, dead in ((1, False, False), (6, True, False), (40, True, True)):
            child.heard_at = time.monotonic() - silent_s
            look_at_child(child, {}, 30)
            assert (child.stalled, bool(killed)) == (stalled, dead)

    asyncio.run(test())


def test_a_child_that_talks_without_end_fills_no_log() -> None:
    async def test() -> None:
        output = io.StringIO()
        child = Child("flight", "flight", "nothing", lambda: b"", lambda words, line: None, Log(output=output))
        said = asyncio.StreamReader(limit=1 << 16)
        for number in range(10_000):
            said.feed_data(f"client 10.0.0.{number % 256} spoke no TLS\n".encode())
        said.feed_data(b"x" * (1 << 17) + b"\nthe last words\n")
        said.feed_eof()
        await child._log_errors(said)
        lines = output.getvalue().splitlines()
        assert len(lines) < 10
        assert lines[-1].endswith("the Flight service: the last words")

    asyncio.run(test())


@pytest.mark.parametrize("known", [True, False])
def test_conditions_that_are_known(known: bool) -> None:
    conditions = Conditions(Log(output=io.StringIO()))
    if known:
        conditions.look([Condition("x", "a", "b", "c")])
    assert conditions.is_present("x", "a") is known
