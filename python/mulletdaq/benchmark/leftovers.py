"""Rings of benchmarks: their names, and those that a killed benchmark could not remove."""

from __future__ import annotations

import os
import re
from contextlib import suppress

from mulletdaq.children import process_lives
from mulletdaq.errors import RingError
from mulletdaq.ring import RingBuffer, list_rings

_NAME = re.compile(r"mullet-bench-(\d+)-\w+")


def ring_name(purpose: str) -> str:
    """Of a ring of this process."""
    return f"mullet-bench-{os.getpid()}-{purpose}"


def remove_rings_of_the_killed() -> None:
    """What they hold was made up, and nobody waits for it."""
    for info in list_rings():
        found = _NAME.fullmatch(info.name)
        # The lock tells of processes in other containers too, the id of one that has only just made its ring.
        if found and info.orphan and not process_lives(int(found[1])):
            with suppress(RingError), RingBuffer.open(info.path) as ring:
                ring.unlink()


__all__ = ["remove_rings_of_the_killed", "ring_name"]
