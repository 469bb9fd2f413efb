"""``mullet record grpc://…``: the installed command, a real daemon, and everything that may happen between them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import mulletdaq as mullet_package
from mulletdaq.hdf5.verify import verify
from tests.daemon.remote_storm import free_port
from tests.waiting import PATIENCE_S

from .command import Mullet, wait_until

CONFIG = """
[daemon]
port = {port}
disk_reserve_mb = 0
{daemon}
[streams.scope]
ring_mb = {ring_mb}
channels = {{ value = "V" }}
"""

HARDWARE = """
import sys
import mulletdaq as mullet
with mullet.attach("scope").producer({"value": "V"}) as producer:
    for row in range(*map(int, sys.argv[1:])):
        producer.append(float(row))
"""


def produce(first: int, last: int) -> None:
    subprocess.run([sys.executable, "-c", HARDWARE, str(first), str(last)], check=True, timeout=PATIENCE_S)


class Lab:
    """A daemon with one stream, ``scope``, and no files of its own."""

    def __init__(self, mullet: Mullet) -> None:
        self.mullet = mullet
        self.port = free_port()
        self.address = f"grpc://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[str] | None = None

    def start(self, ring_mb: int = 4, daemon: str = "") -> None:
        text = CONFIG.format(port=self.port, ring_mb=ring_mb, daemon=daemon)
        (self.mullet.folder / "mullet.toml").write_text(text)
        self.process = self.mullet.start("daemon", "--config", "mullet.toml")
        assert self.process.stdout is not None
        line = ""
        while line != "ready for hardware\n":
            line = self.process.stdout.readline()
            assert line, self.mullet.finish(self.process).stderr

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        done = self.mullet.finish(self.process)
        assert done.returncode == 0, done.stderr

    def record(self, *words: object, address: str = "") -> subprocess.Popen[str]:
        """A recorder that records, started with ``--json``."""
        place = address or f"{self.address}/scope"
        process = self.mullet.start("record", place, "-o", "remote.h5", "--interval", 0.1, "--json", *words)
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith(f"recording {place} into "), line + process.stderr.read()
        return process

    def end(self, process: subprocess.Popen[str]) -> Any:
        """Its words after Ctrl-C."""
        process.send_signal(signal.SIGINT)
        done = self.mullet.finish(process)
        assert done.returncode == 0, done.stderr
        return done.json

    @property
    def path(self) -> Path:
        return self.mullet.folder / "remote.h5"

    def rows_in_file(self) -> int:
        if not self.path.exists():
            return 0
        with mullet_package.open(self.path) as file:
            return sum(int(run.attrs["rows"]) for run in file["runs"].values())

    def wait_for_rows(self, rows: int) -> None:
        wait_until(lambda: self.rows_in_file() >= rows)


@pytest.fixture
def lab(mullet: Mullet) -> Lab:
    return Lab(mullet)


def values_of(path: Path) -> Any:
    with h5py.File(path, "r") as file:
        batches = [file["measurements"][name] for name in sorted(file["measurements"])]
        return np.concatenate([batch["value"][:] for batch in batches])


def losses_of(path: Path) -> list[tuple[int, int]]:
    with h5py.File(path, "r") as file:
        if "rows" not in file["losses"]:
            return []
        return list(zip(file["losses/first_row"][:].tolist(), file["losses/rows"][:].tolist(), strict=True))


def assert_whole(path: Path, rows: int) -> None:
    np.testing.assert_array_equal(values_of(path), np.arange(rows))
    assert losses_of(path) == []
    assert verify(path).ok, verify(path).problems


def test_the_same_command_goes_on_at_the_next_row(lab: Lab) -> None:
    lab.start()
    produce(0, 1000)
    recorder = lab.record("-m", "operator=Ada")
    produce(1000, 1500)
    answer = lab.end(recorder)
    assert (answer["rows"], answer["lost"], answer["stopped"]) == (1500, 0, True)
    produce(1500, 2000)
    answer = lab.end(lab.record())
    assert (answer["rows"], answer["rows_in_file"], answer["new_runs"]) == (500, 2000, 0)
    done = lab.mullet("record", f"{lab.address}/scope", "-o", "remote.h5", "-d", 0.2)
    assert done.returncode == 0, done.stderr
    assert "0 in " in done.stdout and "2000 in the file" in done.stdout
    assert "after the 2000 rows that it has for 0.2 s" in done.stderr
    assert_whole(lab.path, 2000)
    with h5py.File(lab.path) as file:
        assert list(file["runs"]) == ["run_000001"]
        assert file["metadata"].attrs["operator"] == b"Ada"
    lab.stop()


def test_a_killed_recorder_goes_on_with_the_same_command(lab: Lab) -> None:
    lab.start()
    for turn in range(3):
        recorder = lab.record()
        produce(1000 * turn, 1000 * turn + 500)
        lab.wait_for_rows(1000 * turn + 100)
        os.killpg(recorder.pid, signal.SIGKILL)
        recorder.communicate()
        produce(1000 * turn + 500, 1000 * (turn + 1))
    assert lab.end(lab.record())["rows_in_file"] == 3000
    assert_whole(lab.path, 3000)
    lab.stop()


def test_rows_until_a_daemon_ends_in_good_order_and_a_new_ring_after(lab: Lab) -> None:
    """The last rows before the end are sent yet; the next daemon has a new ring, which is a new run."""
    lab.start()
    recorder = lab.record()
    produce(0, 1)
    lab.wait_for_rows(1)
    produce(1, 3000)
    lab.stop()
    lab.start()
    produce(0, 700)
    lab.wait_for_rows(3700)
    answer = lab.end(recorder)
    assert (answer["rows"], answer["lost"], answer["new_runs"]) == (3700, 0, 2)
    np.testing.assert_array_equal(values_of(lab.path), [*range(3000), *range(700)])
    assert verify(lab.path).ok
    lab.stop()


def test_a_command_that_comes_after_a_new_ring_begins_it_from_its_first_row(lab: Lab) -> None:
    """Rows of it that are gone by then are lost, and counted: the file is to have all of the stream."""
    lab.start(ring_mb=1)
    produce(0, 10)
    lab.end(lab.record())
    lab.stop()
    lab.start(ring_mb=1)
    produce(0, 200_000)
    answer = lab.end(lab.record())
    assert answer["rows"] + answer["lost"] == 200_000
    ((first, lost),) = losses_of(lab.path)
    assert (first, lost) == (0, answer["lost"])
    np.testing.assert_array_equal(values_of(lab.path), [*range(10), *range(lost, 200_000)])
    assert verify(lab.path).ok, verify(lab.path).problems
    lab.stop()


@pytest.mark.parametrize("layout", ["batches", "continuous"])
def test_what_a_recorder_that_stands_still_loses_is_counted_exactly(lab: Lab, layout: str) -> None:
    lab.start(ring_mb=1)
    produce(0, 100)
    recorder = lab.record("--layout", layout)
    lab.wait_for_rows(100)
    os.killpg(recorder.pid, signal.SIGSTOP)
    produce(100, 2_000_000)
    os.killpg(recorder.pid, signal.SIGCONT)
    answer = lab.end(recorder)
    assert answer["rows"] + answer["lost"] == 2_000_000
    assert answer["lost"] > 0
    report = verify(lab.path)
    assert report.ok, report.problems
    there = np.ones(2_000_000, bool)
    for first, lost in losses_of(lab.path):
        assert there[first : first + lost].all()
        there[first : first + lost] = False
    with h5py.File(lab.path) as file:
        found = file["measurements/value"][:] if layout == "continuous" else values_of(lab.path)
    np.testing.assert_array_equal(found, np.flatnonzero(there))
    lab.stop()


def test_several_files_are_gone_on_with(lab: Lab) -> None:
    """Killed in the middle of a rotation, too: the first file's successor says where to go on."""
    lab.start()
    for turn in range(3):
        produce(1000 * turn, 1000 * turn + 500)
        place = f"{lab.address}/scope"
        words = ("-o", "night_{index:03d}.h5", "--rotate-rows", 400, "--interval", 0.05)
        recorder = lab.mullet.start("record", place, *words)
        produce(1000 * turn + 500, 1000 * (turn + 1))
        wait_until(lambda turn=turn: (lab.mullet.folder / f"night_{2 * turn + 2:03d}.h5").exists())
        os.killpg(recorder.pid, signal.SIGKILL)
        recorder.communicate()
    done = lab.mullet("record", place, *words, "-d", 0.1, "--json")
    assert done.json["rows_in_file"] == 3000, done.stderr
    files = sorted(lab.mullet.folder.glob("night_*.h5"))
    assert len(files) == 8
    np.testing.assert_array_equal(np.concatenate([values_of(file) for file in files]), np.arange(3000))
    assert all(verify(file).ok for file in files)
    lab.stop()


def test_a_file_with_something_else_is_left_alone(lab: Lab) -> None:
    lab.start()
    produce(0, 10)
    assert lab.mullet("record", "-s", "simulated", "-o", "remote.h5", "-d", 0.1).returncode == 0
    before = lab.path.read_bytes()
    refused = lab.mullet("record", f"{lab.address}/scope", "-o", "remote.h5", "-d", 0.1)
    assert refused.returncode == 1
    assert "is there already; --append adds a new run to it" in refused.error
    assert lab.path.read_bytes() == before
    done = lab.mullet("record", f"{lab.address}/scope", "-o", "remote.h5", "-d", 0.1, "--append", "--json")
    assert done.json["rows"] == 10, done.stderr
    assert verify(lab.path).ok
    lab.stop()


def test_who_is_refused_hears_it_in_one_line(lab: Lab) -> None:
    folder = lab.mullet.folder
    for name in ("token", "wrong"):
        (folder / name).write_text(f"{name}-0123456789abcdef")
        (folder / name).chmod(0o600)
    lab.start(daemon='token_file = "token"')
    produce(0, 10)
    there = f"{lab.address}/scope"

    def refusal(*words: object) -> str:
        done = lab.mullet("record", *words, "-o", "remote.h5", "-d", 5)
        assert done.returncode == 1
        assert not lab.path.exists()
        return done.error

    assert "token" in refusal(there)
    assert "token" in refusal(there, "--token-file", "wrong")
    assert "there are scope" in refusal(f"{lab.address}/nobody", "--token-file", "token")
    assert "does not answer" in refusal("grpc://127.0.0.1:1/scope")
    assert "absent" in refusal(there, "--token-file", "absent")
    assert "cannot be read" in refusal(f"grpc+tls://127.0.0.1:{lab.port}/scope", "--tls-root-file", "absent.pem")
    assert "grpc://host:50051" in refusal("grpc:///scope")
    done = lab.mullet("record", lab.address, "-o", "remote.h5", "-d", 0.1, "--json", "--token-file", "token")
    assert done.json["rows"] == 10, done.stderr
    lab.stop()
