"""Child processes of ours: how one is started, what it does first, and how it ended; and whether any process lives."""

from __future__ import annotations

import os
import signal
import site
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager

# ---- the parent's side


def start_module(module: str) -> subprocess.Popen[bytes]:
    """A process of this interpreter that runs a module, spoken to over unbuffered pipes."""
    with interrupts_blocked():
        return subprocess.Popen(
            module_command(module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=module_environment(),
        )


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Ctrl-C reaches a child too, even before it can ignore it: started herein, it begins with the signal blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def module_command(module: str) -> list[str]:
    """What runs a module in this interpreter; of the working directory it imports only what is imported here."""
    return [sys.executable, "-P", "-m", module]


def module_environment() -> dict[str, str]:
    """This process's environment, with its places to find modules."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(_extra_paths())}


def _extra_paths() -> list[str]:
    """What this process searches for modules beyond an interpreter's own places, so that the child finds the same."""
    own = {*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()}
    own.add(os.path.join(sysconfig.get_path("stdlib"), "lib-dynload"))
    return [os.path.abspath(path) for path in sys.path if path not in own and not path.endswith(".zip")]


def how_it_ended(code: int) -> str:
    """The exit code of ``subprocess`` or ``asyncio`` in words."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


# ---- the child's side


def leave_the_terminal_to_the_owner() -> None:
    """The terminal's Ctrl-C and hang-up reach the whole group; the owner decides what they mean."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked since before the start


def take_output() -> int:
    """A descriptor that only the caller writes lines to; what a library prints goes to standard error from now on."""
    output_fd = os.dup(1)
    os.dup2(2, 1)
    return output_fd


# ---- of any process


def process_lives(pid: int) -> bool:
    """Whether there is a process of this id here, whoever's it is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


__all__ = [
    "how_it_ended",
    "interrupts_blocked",
    "leave_the_terminal_to_the_owner",
    "module_command",
    "module_environment",
    "process_lives",
    "start_module",
    "take_output",
]
