"""The installed daemon, ready to be talked to."""

from __future__ import annotations

import os
import subprocess

import psutil

from .command import Mullet


def start(mullet: Mullet, *words: object) -> tuple[subprocess.Popen[str], str, list[str]]:
    """A daemon that is ready: its process, its address, its banner."""
    process = mullet.start("daemon", *words)
    assert process.stdout is not None
    lines = []
    while not lines or lines[-1] != "ready for hardware":
        line = process.stdout.readline()
        assert line, mullet.finish(process).stderr
        lines.append(line.rstrip("\n"))
    address = next(line.split()[1] for line in lines if line.startswith("  address"))
    return process, address, lines


def child_of(process: subprocess.Popen[str], module: str) -> psutil.Process:
    """The daemon's child that runs a module."""
    [child] = [one for one in psutil.Process(process.pid).children() if module in one.cmdline()]
    return child


def open_files(pid: int) -> int:
    """How many files, pipes and sockets a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))
