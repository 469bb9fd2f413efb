"""What a daemon leaves for its successor: a lock, so that there is one, and a note on who works for it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mulletdaq.daemon.log import Log
from mulletdaq.errors import DaemonError
from mulletdaq.ring import ring_directory

_POLL_S = 0.05


@dataclass(frozen=True)
class Survivor:
    """A process that a daemon started.

    Attributes
    ----------
    pid, began
        Its id, and when it began in the kernel's count, which tells it from a later process with the same id.
    what
        In words.
    """

    pid: int
    began: int
    what: str


@dataclass(frozen=True)
class Memory:
    """What a daemon remembers of the one before.

    Attributes
    ----------
    children
        The processes that worked for it.
    recordings
        Those that were running, as :class:`mulletdaq.daemon.recordings.Recordings` tells them.
    """

    children: list[Survivor] = field(default_factory=list)
    recordings: list[dict[str, Any]] = field(default_factory=list)


class DaemonPlace:
    """The ring folder as the one daemon's that has it; others are refused.

    Raises
    ------
    DaemonError
        If another daemon has it.
    """

    def __init__(self) -> None:
        self.folder: Path = ring_directory()
        self._state = self.folder / "daemon.json"
        self._remembered: Memory | None = None
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._lock = os.open(self.folder / "daemon.lock", flags, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = os.read(self._lock, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._lock)
            raise DaemonError(
                f"a daemon runs already on the rings in {self.folder} (process {pid}); "
                "stop it first, or give this one another folder in MULLET_RING_DIR"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def recall(self) -> Memory:
        """What the daemon before left, if it did not end in good order."""
        try:
            found = json.loads(self._state.read_bytes())
            return Memory([Survivor(**one) for one in found["children"]], list(found["recordings"]))
        except (OSError, ValueError, TypeError, KeyError):
            return Memory()

    def remember(self, memory: Memory) -> None:
        """Keep this for a successor, should this process be killed."""
        if memory == self._remembered:
            return
        new = self._state.with_suffix(".new")
        with suppress(FileNotFoundError):
            new.unlink()
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(file, "wb") as opened:
            opened.write(json.dumps(asdict(memory)).encode())
        new.replace(self._state)
        self._remembered = memory

    def leave(self, memory: Memory | None) -> None:
        """Let the next one in, with this to recall, or nothing."""
        if memory is None:
            self._state.unlink(missing_ok=True)
        else:
            with suppress(OSError):  # no room: the note before tells nearly the same
                self.remember(memory)
        os.close(self._lock)


def end_survivors(survivors: list[Survivor], patience_s: float, log: Log) -> None:
    """Have the processes of a daemon that was killed finish what they do, and wait for that.

    Parameters
    ----------
    patience_s
        How long they may take before they are killed; whatever a writer leaves, the next one finds.
    """
    living = [one for one in survivors if is_alive(one)]
    for one in living:
        log.say("info", "survivor", f"{one.what} (process {one.pid}) of a daemon that was killed is told to finish")
        with suppress(ProcessLookupError):
            os.kill(one.pid, signal.SIGTERM)
            os.kill(one.pid, signal.SIGCONT)
    deadline = time.monotonic() + patience_s
    while (left := [one for one in living if is_alive(one)]) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    for one in left:
        log.say("warning", "survivor_killed", f"{one.what} (process {one.pid}) did not finish, and is killed")
        with suppress(ProcessLookupError):
            os.kill(one.pid, signal.SIGKILL)
    while any(is_alive(one) for one in left):
        time.sleep(_POLL_S)


def survivor(pid: int, what: str) -> Survivor | None:
    """A living process, as it can be told from any other; None if that is not possible."""
    began = _began(pid)
    return None if began is None else Survivor(pid, began, what)


def orphaned_writer(pid: int) -> Survivor | None:
    """A writer's process whose owner is gone; None for any other process."""
    found = survivor(pid, "a writer")
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        parent = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1].decode()
        by_init = parent == "1" or Path(f"/proc/{parent}/comm").read_text().strip() in ("systemd", "init")
    except OSError:
        return None
    return found if by_init and b"mulletdaq.hdf5.process" in command.split(b"\0") else None


def is_alive(one: Survivor) -> bool:
    """Whether it still runs."""
    return _began(one.pid) == one.began


def _began(pid: int) -> int | None:
    try:
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if words[0] in (b"Z", b"X") else int(words[19])


__all__ = ["DaemonPlace", "Memory", "Survivor", "end_survivors", "is_alive", "orphaned_writer", "survivor"]
