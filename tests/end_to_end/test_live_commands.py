"""``mullet status``, ``info`` and ``tail`` beside a recording that runs."""

from __future__ import annotations

import os
import signal

from .command import Mullet
from .h5 import columns


def test_status_shows_who_writes_and_who_saves(mullet: Mullet) -> None:
    process = mullet.record("live.h5", "--rate", 200, "--ring-mb", 4)
    ring = mullet.wait_for_rows(10)
    assert ring["name"].startswith("live")
    assert ring["state"] == "live"
    assert ring["producer_pid"] == process.pid
    assert ring["sink_pid"] not in (None, process.pid)
    assert ring["capacity_bytes"] == 4 * 1024**2
    assert ring["rows_lost"] == 0
    listed = mullet("status")
    assert ring["name"] in listed.stdout
    assert "live" in listed.stdout
    one = mullet("status", ring["name"], "--json")
    assert [entry["name"] for entry in one.json] == [ring["name"]]
    os.killpg(process.pid, signal.SIGINT)
    assert mullet.finish(process).returncode == 0
    assert mullet("status").stdout == "no rings: nothing is being recorded\n"
    assert mullet("status", "--json").json == []


def test_info_about_a_ring_and_about_its_file(mullet: Mullet) -> None:
    process = mullet.record("live.h5", "--rate", 200, "-m", "operator=Ada")
    ring = mullet.wait_for_rows(10)
    for what in (ring["name"], ring["path"]):
        shown = mullet("info", what)
        assert shown.returncode == 0, shown.stderr
        assert "voltage" in shown.stdout
        assert "live" in shown.stdout
    answer = mullet("info", ring["path"], "--json").json
    assert answer["kind"] == "ring"
    assert {"name": "voltage", "unit": "V"}.items() <= answer["channels"][0].items()
    os.killpg(process.pid, signal.SIGINT)
    assert mullet.finish(process).returncode == 0
    shown = mullet("info", "live.h5")
    assert shown.returncode == 0, shown.stderr
    assert "voltage" in shown.stdout
    answer = mullet("info", "live.h5", "--json").json
    assert answer["kind"] == "file"


def test_tail_prints_the_last_rows(mullet: Mullet) -> None:
    process = mullet.record("live.h5", "--rate", 500)
    ring = mullet.wait_for_rows(100)
    done = mullet("tail", ring["name"], "-n", 7, "--no-follow")
    assert done.returncode == 0, done.stderr
    heading, *rows = done.stdout.splitlines()
    assert heading.split() == ["timestamp", "voltage", "[V]"]
    assert len(rows) == 7
    os.killpg(process.pid, signal.SIGINT)
    mullet.finish(process)
    in_file = {f"{voltage:.6g}" for voltage in columns(mullet.folder / "live.h5")["voltage"]}
    assert {row.split()[1] for row in rows} <= in_file


def test_tail_follows_without_a_gap_until_the_recording_ends(mullet: Mullet) -> None:
    process = mullet.record("live.h5", "--rate", 500)
    ring = mullet.wait_for_rows(50)
    tail = mullet.start("tail", ring["name"], "-n", 1_000_000)
    mullet.wait_for_rows(ring["rows_written"] + 300)
    os.killpg(process.pid, signal.SIGINT)
    assert mullet.finish(process).returncode == 0
    followed = mullet.finish(tail)
    assert followed.returncode == 0, followed.stderr
    assert followed.stderr == ""
    voltages = columns(mullet.folder / "live.h5")["voltage"]
    assert [line.split()[1] for line in followed.stdout.splitlines()[1:]] == [f"{voltage:.6g}" for voltage in voltages]


def test_ctrl_c_ends_tail_and_nothing_else(mullet: Mullet) -> None:
    process = mullet.record("live.h5", "--rate", 200)
    ring = mullet.wait_for_rows(10)
    tail = mullet.start("tail", ring["name"])
    assert tail.stdout is not None
    assert tail.stdout.readline().split()[0] == "timestamp"
    os.killpg(tail.pid, signal.SIGINT)
    ended = mullet.finish(tail)
    assert ended.returncode == 0
    assert ended.stderr == ""
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    assert mullet.finish(process).returncode == 0
