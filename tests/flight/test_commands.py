"""``mullet tail`` and ``mullet status`` on a daemon's address, and ``status --watch`` on rings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mulletdaq as mullet
from mulletdaq.cli.main import main
from mulletdaq.flight.messages import RecordingInfo
from mulletdaq.ring import RingBuffer
from tests.waiting import PATIENCE_S

from .conftest import SCHEMA, rows
from .supervisor import Supervisor, eventually


def start(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mulletdaq", *words]
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def interrupted(process: subprocess.Popen[str], awaited: str) -> str:
    """Output up to a line that holds a text, then of an end by Ctrl-C."""
    assert process.stdout is not None
    said = ""
    while awaited not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    process.send_signal(signal.SIGINT)
    said += process.stdout.read()
    assert process.wait(PATIENCE_S) == 0
    process.stdout.close()
    return said


def test_tail_of_a_remote_stream(service: Supervisor, ring: RingBuffer, capsys: pytest.CaptureFixture[str]) -> None:
    ring.write_arrow_batch(rows(0, 100))
    assert main(["tail", f"{service.address}/scope", "-n", "3", "--no-follow"]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == ["timestamp", "voltage", "[V]"]
    assert [line.split()[1] for line in lines] == ["48.5", "49", "49.5"]
    process = start("tail", service.address, "-n", "1")
    assert process.stdout is not None
    while "49.5" not in process.stdout.readline():
        pass
    ring.write_arrow_batch(rows(1000, 2))
    said = interrupted(process, "500.5")
    assert [line.split()[1] for line in said.splitlines()] == ["500", "500.5"]


def test_status_of_a_daemon(service: Supervisor, ring: RingBuffer, capsys: pytest.CaptureFixture[str]) -> None:
    ring.write_arrow_batch(rows(0, 100))
    service.recordings["shot"] = RecordingInfo(
        name="shot", path="/data/shot.h5", streams=["scope"], state="failed", reason="no room", started_ns=1
    )
    assert main(["status", service.address]) == 0
    shown = capsys.readouterr().out
    for part in ("scope", "100", "5/s", "shot", "failed: no room", "source scope", "/data", "931.3 GiB"):
        assert part in shown
    assert main(["status", service.address, "--json"]) == 0
    answer: Any = json.loads(capsys.readouterr().out)
    assert answer["streams"][0]["rows"] == 100
    said = interrupted(start("status", service.address, "--watch"), "/data")
    assert "scope" in said


def test_status_watches_local_rings(ring_directory: Path) -> None:
    with RingBuffer.create(ring_directory / "scope.ring", capacity_mb=1) as ring, ring.producer(SCHEMA) as producer:
        producer.append(1.0)
        process = start("status", "--watch")
        said = interrupted(process, "0/s")
    assert f"pid {os.getpid()}" in said
    assert "scope" in said


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["status", "grpc://127.0.0.1:1"], ["tail", "grpc://127.0.0.1:1/scope"]):
        assert main(words) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("mullet: grpc://127.0.0.1:1 does not answer")


def test_a_stream_must_be_named_where_there_are_several(
    service: Supervisor, ring_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.rings["other"] = RingBuffer.create(ring_directory / "other.ring", capacity_mb=1)
    with mullet.connect(service.address) as connection:  # of a single stream, tail would print rows until it is stopped
        eventually(lambda: len(connection.streams()) == 2, "both streams are listed")
    assert main(["tail", service.address]) == 2
    assert f"{service.address}/" in capsys.readouterr().err
