"""A writer's life on a simulated disk: open, commit, close; and its end at any point."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

import h5py

from mulletdaq.hdf5.journal import JournaledFile, undisturbed
from tests.faults.process import FILE, process
from tests.faults.simulated_disk import SimulatedDisk
from tests.faults.workload import LIBVER, Damage, Layout, state, write


class Readers(enum.Enum):
    """How often stock readers hold the file when the writer wants it for itself."""

    NEVER = 0.0
    HALF = 0.5
    ALWAYS = 1.0


@dataclass(frozen=True)
class Plan:
    """What a writer does.

    Attributes
    ----------
    commits
        How many it adds to those it finds.
    closes
        Whether it ends in good order, and not by being killed.
    limit_bytes
        The journal's; a low one has it written anew while readers hold the file.
    """

    layout: Layout
    commits: int = 6
    readers: Readers = Readers.NEVER
    closes: bool = False
    fsync: Literal["commit", "never"] = "commit"
    limit_bytes: int = 256 << 20


def open_journal(plan: Plan) -> JournaledFile:
    """The journaled file, opened as the plan says."""
    return JournaledFile(FILE, fsync=plan.fsync, limit_bytes=plan.limit_bytes)


def open_h5(journal: JournaledFile) -> Any:
    """The ``h5py.File`` over it."""
    with undisturbed():
        return h5py.File(journal, "w" if journal.created else "r+", libver=LIBVER)


def record(disk: SimulatedDisk, plan: Plan, chance: Random | None = None) -> SimulatedDisk:
    """Run the plan on a copy of the disk; the copy as it was when the process ended, with all its promises.

    Raises
    ------
    Damage
        If what is found at the beginning is no whole number of commits, or something is left open at the end.
    """
    chance = chance or Random(0)
    disk = disk.killed(len(disk.log))
    before = disk.promised(len(disk.log))
    disk.promise(before.least, before.most)  # a closed file is no longer left alone
    with process(disk) as system:
        disk.read_by_others = lambda name: name == FILE and chance.random() < plan.readers.value
        journal = open_journal(plan)
        try:
            _work(disk, journal, plan)
            ended = disk.killed(len(disk.log))
            ended.sites |= disk.sites
        finally:  # the rest happens on a disk that nobody looks at
            disk.read_by_others = lambda name: False
            journal.close(commit=False)
        if system.descriptions:
            raise Damage(f"left open: {[disk.name_of(one.inode) for one in system.descriptions.values()]}")
    return ended


def _work(disk: SimulatedDisk, journal: JournaledFile, plan: Plan) -> None:
    file = open_h5(journal)
    with undisturbed():
        first = state(file, plan.layout)
    disk.promise(first, first)
    disk.opened_at = len(disk.log)
    for index in range(first, first + plan.commits):
        commit(disk, journal, file, plan.layout, index)
    if plan.closes:
        with undisturbed():
            file.close()
        journal.close()
        disk.promise(first + plan.commits, first + plan.commits, exactly_this=True)


def commit(disk: SimulatedDisk, journal: JournaledFile, file: Any, layout: Layout, index: int) -> None:
    """One commit, and the promise that comes with it."""
    with undisturbed():
        write(file, layout, index)
    disk.promise(index, index + 1)
    journal.commit()
    disk.promise(index + 1, index + 1)
