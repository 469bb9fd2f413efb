"""Conditions are told of when they begin and end, and once an hour; not each time they come and go."""

from __future__ import annotations

import io
import json
import os
import threading
from typing import Any

from mulletdaq.daemon.conditions import Condition, Conditions
from mulletdaq.daemon.log import Log


class Told:
    """Conditions with a clock that is set."""

    def __init__(self) -> None:
        self.now = 0.0
        self._output = io.StringIO()
        self.conditions = Conditions(Log(as_json=True, output=self._output), lambda: self.now)

    def look(self, *found: Condition, after_s: float = 1.0) -> list[tuple[Any, ...]]:
        """What is told at a look some time after the last one."""
        self.now += after_s
        self._output.seek(0)
        self._output.truncate()
        self.conditions.look(found)
        lines = [json.loads(line) for line in self._output.getvalue().splitlines()]
        return [(line["event"], line["state"], line["count"]) for line in lines]


LOW = Condition("disk_low", "/data", "little room", "make room")
LOWER = Condition("disk_low", "/data", "no room", "make room", "failing")
SILENT = Condition("stream_silent", "a", "nothing comes", "look at it")


def test_entry_and_exit_are_told_once() -> None:
    told = Told()
    assert told.look() == []
    assert told.look(LOW) == [("disk_low", "on", 1)]
    assert told.look(LOW, SILENT) == [("stream_silent", "on", 1)]
    assert told.look(LOW) == [("stream_silent", "off", 1)]
    assert told.look() == [("disk_low", "off", 1)]
    assert told.look() == []


def test_what_lasts_is_repeated_once_an_hour_and_when_it_gets_worse() -> None:
    told = Told()
    told.look(LOW)
    assert sum(len(told.look(LOW, after_s=60)) for _ in range(59)) == 0
    assert told.look(LOW, after_s=60) == [("disk_low", "on", 1)]
    assert told.look(LOWER) == [("disk_low", "on", 1)]
    assert told.look(LOW) == []


def test_what_comes_and_goes_is_counted() -> None:
    told = Told()
    assert told.look(LOW) and told.look()
    for _ in range(100):
        assert told.look(LOW) == []
        assert told.look() == []
    assert told.look(LOW, after_s=4000) == [("disk_low", "on", 102)]
    assert told.look() == [("disk_low", "off", 102)]
    assert told.look(after_s=100_000) == []
    assert told.look(LOW) == [("disk_low", "on", 1)], "a day later it is forgotten"


def test_health_is_the_worst_of_them() -> None:
    told = Told()
    assert told.conditions.health().state == "ok"
    told.look(SILENT)
    assert told.conditions.health().state == "warning"
    told.look(SILENT, LOWER)
    health = told.conditions.health()
    assert health.state == "failing"
    assert [(reason.code, reason.what) for reason in health.reasons] == [
        ("disk_low", "no room"),
        ("stream_silent", "nothing comes"),
    ]
    assert all(reason.advice and reason.since_ns for reason in health.reasons)
    told.look()
    assert told.conditions.health().state == "ok"


def test_plain_lines_are_for_people_and_no_log_can_stop_the_daemon() -> None:
    output = io.StringIO()
    log = Log(output=output)
    log.say("warning", "x", "two\nlines", fact=1)
    assert output.getvalue().endswith("Z warning: two lines\n")
    for pid in range(2000):
        log.repeated("error", "died", f"a, process {pid}", "it died")
    assert output.getvalue().count("it died") == 3
    output.close()
    log.say("info", "x", "into nothing")


def test_a_log_that_nobody_reads_holds_up_nobody_and_counts_what_it_left_out() -> None:
    reading, writing = os.pipe()
    with open(reading) as reader, open(writing, "w") as output:
        log = Log(as_json=True, output=output)
        for number in range(1000):
            log.say("info", "x", f"{number} {'long ' * 1000}")
        received = b""
        while len(received) < 4096:
            received += os.read(reader.fileno(), 1 << 20)
        log.say("info", "x", "the last")
        while not received.endswith(b"\n") or b"the last" not in received:
            received += os.read(reader.fileno(), 1 << 20)
        lines = [json.loads(line) for line in received.splitlines()]
    assert 1 < len(lines) < 1000
    assert lines[-1]["left_out"] == 1000 - (len(lines) - 1)
    assert lines[-1]["message"].startswith(f"({lines[-1]['left_out']} lines before")


def test_what_is_repeated_is_counted_by_all_threads_together() -> None:
    output = io.StringIO()
    log = Log(output=output)

    def repeat() -> None:
        for number in range(3000):
            log.repeated("error", "x", "abc"[number % 3] * (number % 1500), "again")

    threads = [threading.Thread(target=repeat) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1500 <= output.getvalue().count("again") <= 12_000
    assert len(log._repeats) == 1000
