"""``mullet recover`` and ``mullet verify`` on what real kills left, and on what nobody may touch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import pytest

import mulletdaq
from mulletdaq.cli.main import main
from mulletdaq.ring import RingBuffer, output_ring_name, ring_path
from tests.waiting import PATIENCE_S

from .judge import SIGNATURE, look
from .nursery import Nursery
from .recorded import Recorded
from .roles import SESSION_CHANNELS, Role, all_gone, eventually

Run = Callable[..., "Said"]


@dataclass
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str


@pytest.fixture
def mullet(capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line, in this process."""

    def run(*words: object) -> Said:
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


@dataclass(frozen=True)
class Left:
    """A file whose writer was killed while a reader kept some commits from it."""

    path: Path
    pid: int
    rows: int
    batches: int


@pytest.fixture
def left(tmp_path: Path) -> Left:
    ring_path = tmp_path / "a.ring"
    folder = tmp_path / "here"
    folder.mkdir()
    path = folder / "out.h5"
    options = json.dumps({"flush_interval_s": 0.005, "poll_interval_s": 0.001})
    roles: list[Role] = []
    with RingBuffer.create(ring_path, capacity_bytes=4 << 20), Nursery() as nursery, all_gone(roles):
        roles.append(Role(nursery, tmp_path / "stderr.txt", "produce", ring_path))
        roles.append(Role(nursery, tmp_path / "stderr.txt", "own", path, ring_path, options))
        owner = roles[-1]
        eventually(lambda: owner.told.get("rows"), "rows are stored")
        with h5py.File(path) as reader:
            held, batches = owner.told["rows"], len(reader["measurements"])
            eventually(lambda: owner.told["rows"] > held + 100, "rows are stored that the file has not")
            pid, known = owner.told["pid"], owner.told["rows"]
            owner.kill_group()
    return Left(path, pid, known, batches)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of change of every file."""
    return {one.name: (one.read_bytes(), one.stat().st_mtime_ns) for one in folder.iterdir()}


def test_left_by_a_kill_then_verified_foreseen_recovered_and_healthy(left: Left, mullet: Run) -> None:
    before = contents(left.path.parent)
    assert set(before) == {"out.h5", "out.h5-journal"}
    assert look(left.path).batches == left.batches

    verified = mullet("verify", left.path)
    assert verified.code == 0, verified.err
    assert f"journal: left by process {left.pid}, " in verified.out and "still to be applied" in verified.out
    foreseen = mullet("recover", "--dry-run", left.path)
    assert foreseen.code == 0 and "would be brought from the journal" in foreseen.out
    assert contents(left.path.parent) == before, "looking changes nothing"

    recovered = mullet("recover", left.path)
    assert (recovered.code, recovered.out) == (0, foreseen.out.replace("would be ", ""))
    found = look(left.path)
    assert found.state == "untouched", found.why
    assert found.runs[1].rows >= left.rows and found.batches > left.batches
    assert mullet("verify", left.path).code == 0

    after = contents(left.path.parent)
    assert set(after) == {"out.h5"}
    for words in (("recover",), ("recover", "--dry-run"), ("recover", "--adopt"), ("verify",)):
        again = mullet(*words, left.path)
        assert again.code == 0, again.err
        assert words == ("verify",) or "healthy, nothing to do" in again.out
    assert contents(left.path.parent) == after, "a healthy file is not touched"


def test_a_copy_is_recovered_only_when_it_is_adopted(left: Left, mullet: Run, tmp_path: Path) -> None:
    copy = tmp_path / "there" / "out.h5"
    shutil.copytree(left.path.parent, copy.parent)
    before = contents(copy.parent)
    for words in (("recover",), ("recover", "--dry-run"), ("verify",)):
        refused = mullet(*words, copy)
        assert refused.code == 1 and f"mullet recover --adopt {copy}" in refused.err
    assert mullet("recover", "--adopt", "--dry-run", copy).code == 0
    assert contents(copy.parent) == before
    assert mullet("recover", "--adopt", copy).code == 0
    assert mullet("recover", left.path).code == 0
    assert set(contents(copy.parent)) == {"out.h5"}
    assert copy.read_bytes() == left.path.read_bytes()
    assert look(copy) == look(left.path)


def test_a_sealed_file_is_told_of_and_healed(left: Left, mullet: Run) -> None:
    """The storm kills writers in that moment; here it is put where it can be looked at from all sides."""
    with left.path.open("r+b") as file:
        file.write(bytes(len(SIGNATURE)))
    assert look(left.path).state == "sealed"
    with mulletdaq.open(left.path) as newest:
        rows = int(newest["runs/run_000001"].attrs["rows"])
    assert mullet("verify", left.path).code == 0
    journal = left.path.with_name("out.h5-journal")
    journal.rename(journal.with_name("elsewhere"))
    for words in (("recover",), ("verify",)):
        refused = mullet(*words, left.path)
        assert refused.code == 1 and str(journal) in refused.err, words
    journal.with_name("elsewhere").rename(journal)
    assert mullet("recover", left.path).code == 0
    assert look(left.path).runs[1].rows == rows >= left.rows


def test_a_file_that_is_being_written_is_left_alone(record: Callable[..., Recorded], mullet: Run) -> None:
    recorded = record(flush_interval_s=3600)
    before = contents(recorded.path.parent)
    for words in (("recover",), ("recover", "--dry-run"), ("recover", "--adopt")):
        refused = mullet(*words, recorded.path)
        assert refused.code == 1
        assert f"{recorded.path} is being written by process {recorded.writer_pid}; stop it first" in refused.err
    verified = mullet("verify", recorded.path)
    assert verified.code == 0 and f"journal: process {recorded.writer_pid} is writing" in verified.out
    assert contents(recorded.path.parent) == before
    recorded.write(10)
    assert recorded.check_end().rows == recorded.row


def test_a_recording_that_is_under_way_is_left_alone(tmp_path: Path, mullet: Run) -> None:
    path = tmp_path / "out.h5"
    with mulletdaq.record(path, SESSION_CHANNELS, flush_interval_s=3600) as recording:
        recording.write_measurement(0, 1, timestamp_ns=0)
        recording.flush()
        recording.write_measurement(1, 1, timestamp_ns=1)
        for words in (("recover",), ("recover", "--dry-run")):
            refused = mullet(*words, path)
            assert refused.code == 1 and f"process {os.getpid()} is recording to {path}; stop it first" in refused.err
    assert look(path).runs[1].rows == 2


def test_the_installed_command_drains_the_ring_of_a_killed_recording(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    with Nursery() as nursery:
        role = Role(nursery, tmp_path / "stderr.txt", "record", path, 1, json.dumps({"flush_interval_s": 3600}))
        with all_gone([role]):
            eventually(lambda: role.told.get("written", 0) > 100, "rows are written")
    ring = ring_path(output_ring_name(path))
    with RingBuffer.open(ring) as opened:
        written = opened.newest_row
    assert written > 100
    done = run_installed("recover", "--json", path)
    assert done["rows"] == {"": written}
    assert not ring.exists()
    assert look(path).runs[1].rows == written
    assert run_installed("recover", "--json", path)["healthy"] is True


def run_installed(*words: object) -> Any:
    """A command in a process of its own; its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "mulletdaq", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
