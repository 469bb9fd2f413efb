"""Exports that do not come to their end: by a full disk, by Ctrl-C, by a kill. Nothing is left of any."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import mulletdaq as mullet
from mulletdaq.cli.main import main

from .files import record, rows

COMMANDS = {
    "out.parquet": "export in.h5 -o out.parquet",
    "out.arrow": "export in.h5 -o out.arrow",
    "out.csv": "export in.h5 -o out.csv",
    "out.h5": "convert in.h5 out.h5 --layout continuous --compression none",
    "out.svg": "plot in.h5 -o out.svg",
}

LITTLE_ROOM = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))
from mulletdaq.cli.main import main
sys.exit(main(sys.argv[1].split()))
"""

WAITING = """
import sys, time
from contextlib import contextmanager
from mulletdaq.cli import out
from mulletdaq.cli.main import main
@contextmanager
def wait(what):
    def show(done, total):
        print(done, flush=True)
        time.sleep(60)
    yield show
out.show_rows = wait
sys.exit(main(sys.argv[1].split()))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a recording in it."""
    record(tmp_path / "in.h5", [rows(0, 5000)])
    return tmp_path


@pytest.mark.parametrize("output", COMMANDS)
def test_no_room(folder: Path, output: str) -> None:
    """One line names the output and the reason."""
    command = [sys.executable, "-c", LITTLE_ROOM, COMMANDS[output]]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line == f"mullet: cannot write {output}: File too large; nothing is left of it"
    assert os.listdir(folder) == ["in.h5"]


@pytest.mark.parametrize("output", COMMANDS)
def test_interrupted(folder: Path, output: str) -> None:
    process = _start(folder, output)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130 and b"Traceback" not in said
    assert os.listdir(folder) == ["in.h5"]


@pytest.mark.parametrize("output", COMMANDS)
def test_killed(folder: Path, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kill leaves is hidden, and gone with the next to the same output; that of a living one is not."""
    process = _start(folder, output)
    other = _start(folder, output)
    process.kill()
    process.communicate()
    assert not (folder / output).exists()
    before = set(os.listdir(folder))
    monkeypatch.chdir(folder)
    assert main(COMMANDS[output].split()) == 0
    left = before - set(os.listdir(folder))
    assert all(f"-{process.pid}.part" in name for name in left) and not any(
        f"-{process.pid}." in name for name in os.listdir(folder)
    )
    other.kill()
    other.communicate()
    assert mullet.load("in.h5", as_="arrow").num_rows == 5000


def _start(folder: Path, output: str) -> subprocess.Popen[bytes]:
    """A process in the middle of it."""
    command = [sys.executable, "-c", WAITING, COMMANDS[output]]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"5000\n"
    return process
