"""Sessions with a journaled file, for several tests."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py

from mulletdaq.hdf5.journal import JournaledFile
from tests.waiting import PATIENCE_S

LIBVER = ("earliest", "v108")


def opened(journal: JournaledFile) -> h5py.File:
    return h5py.File(journal, "w" if journal.created else "r+", libver=LIBVER)


def write(path: Path, **values: Any) -> None:
    """One session with one commit."""
    with JournaledFile(path) as journal, opened(journal) as file:
        for name, value in values.items():
            file[name] = value


def read(path: Path) -> dict[str, Any]:
    """What a stock reader sees."""
    with h5py.File(path, "r") as file:
        return {name: file[name][()].tolist() for name in file}


def crash(path: Path, **values: Any) -> None:
    """A session that commits while a reader holds the file, and is killed."""
    body = (
        "import sys, os, h5py\n"
        "from mulletdaq.hdf5.journal import JournaledFile\n"
        "journal = JournaledFile(sys.argv[1])\n"
        "file = h5py.File(journal, 'r+', libver=('earliest', 'v108'))\n"
        "reader = h5py.File(sys.argv[1], 'r')\n"
        f"for name, value in {values!r}.items():\n"
        "    file[name] = value\n"
        "    journal.commit()\n"
        "assert journal.pending\n"
        "file['never'] = list(range(5000))\n"
        "file.flush()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", body, str(path)], check=False, timeout=PATIENCE_S)
    assert done.returncode == -signal.SIGKILL


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir())
