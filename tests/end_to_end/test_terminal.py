"""What someone at a terminal sees."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

from tests.waiting import PATIENCE_S

from .command import Mullet


class AtTerminal:
    """A command whose three standard streams are a terminal."""

    def __init__(self, mullet: Mullet, *words: str) -> None:
        self._ours, its = pty.openpty()
        environment = {**mullet.environment, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
        environment.pop("NO_COLOR")
        self.process = subprocess.Popen(
            [str(Path(sys.executable).parent / "mullet"), *words],
            cwd=mullet.folder,
            env=environment,
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
        )
        os.close(its)
        self.shown = ""

    def until(self, words: str = "") -> None:
        """Look at what it shows until these words come, or none any more."""
        while not words or words not in self.shown:
            try:
                piece = os.read(self._ours, 65536)
            except OSError:  # what Linux says when the other end is closed
                piece = b""
            if not piece:
                assert not words, self.shown
                break
            self.shown += piece.decode(errors="replace")

    def end(self) -> tuple[int, str]:
        """Its exit code, and all it showed."""
        self.until()
        os.close(self._ours)
        return self.process.wait(timeout=PATIENCE_S), self.shown


def run_at_terminal(mullet: Mullet, *words: str) -> tuple[int, str]:
    """Run a command to its end; its exit code, and all it showed."""
    return AtTerminal(mullet, *words).end()


def test_demo_shows_a_bar_and_a_table(mullet: Mullet) -> None:
    code, shown = run_at_terminal(mullet, "demo", "--duration", "1")
    assert code == 0, shown
    assert "━" in shown
    assert "╭" in shown
    assert "write latency" in shown
    assert "next: " in shown


def test_bench_shows_what_it_does(mullet: Mullet) -> None:
    code, shown = run_at_terminal(mullet, "bench", "--seconds", "2")
    assert code == 0, shown
    assert "━" in shown
    assert "one sample at a time" in shown
    assert "with gzip: " in shown
    assert "╭" in shown


def test_a_recording_that_is_not_saved_at_once_says_so(mullet: Mullet) -> None:
    command = AtTerminal(mullet, "record", "--source", "simulated", "-o", "slow.h5", "--rate", "500")
    writer = mullet.wait_for_rows(100)["sink_pid"]
    os.kill(writer, signal.SIGSTOP)
    os.kill(command.process.pid, signal.SIGINT)
    command.until("bringing the rest into slow.h5")
    os.kill(writer, signal.SIGCONT)
    code, shown = command.end()
    assert code == 0, shown
    assert "next: " in shown


def test_an_error_is_still_one_line(mullet: Mullet) -> None:
    code, shown = run_at_terminal(mullet, "info", "missing.h5")
    assert code == 1
    assert shown.count("\n") == 1
    assert shown.startswith("mullet: ")


def test_help_names_every_command(mullet: Mullet) -> None:
    code, shown = run_at_terminal(mullet, "--help")
    assert code == 0
    for command in ("demo", "record", "verify", "info", "status", "tail"):
        assert command in shown


def test_version(mullet: Mullet) -> None:
    done = mullet("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("mulletdaq ")


def test_nothing_said_is_help(mullet: Mullet) -> None:
    done = mullet()
    assert done.returncode == 0
    assert "record" in done.stdout
