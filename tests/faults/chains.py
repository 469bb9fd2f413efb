"""Several lives of a writer on one disk, each ended in its own way: closed, killed, or without power."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from mulletdaq.errors import FileError
from tests.faults.attack import Attack, Crash, Report
from tests.faults.crashes import Directory, extremes, power_cut
from tests.faults.operations import Write
from tests.faults.process import new_disk
from tests.faults.sessions import Plan, Readers, record
from tests.faults.simulated_disk import SimulatedDisk
from tests.faults.workload import Damage, Layout

SMALL_LIMIT_BYTES = 64 << 10  # a journal that is soon full, and then written anew with the newest pages alone


def chain(seed: int, layout: Layout, disk: SimulatedDisk, attacks: dict[Crash, Attack]) -> None:
    """Two to four lives by chance; each disk in between goes to the attack that its crash belongs to."""
    chance = Random(seed)
    directory = chance.choice(list(Directory))
    garbage = chance.random() < 0.5
    crash = Crash.LATER_KILL
    for life in range(chance.randint(2, 4)):
        begin = len(disk.log)
        what = f"seed {seed}, life {life}"
        try:
            disk = record(disk, _plan(layout, chance), chance)
        except (Damage, OSError, FileError) as error:
            attacks[Crash.LATER_KILL].blame(f"{what}: {type(error).__name__}: {error}")
            return
        point = _point(disk, begin, chance)
        if chance.random() < 0.5:
            disk = _kill(disk, point, chance)
        else:
            disk = power_cut(disk, point, directory, chance, garbage=garbage)
            crash = Crash.POWER_CUT  # and so it stays: nobody knows when the file is healed
        what = f"{what}, {crash.name} after {point} operations"
        if attacks[crash].look(what, disk, chance.choice((Readers.NEVER, Readers.NEVER, Readers.ALWAYS))) is None:
            return


def cut_anywhere(disk: SimulatedDisk, begin: int = 0) -> Iterator[tuple[str, SimulatedDisk]]:
    """Power cuts at each operation from `begin` on."""
    for point in disk.points(begin):
        for directory in Directory:
            yield from extremes(disk, point, directory)


def killed_and_cut(
    disk: SimulatedDisk, layout: Layout, begin: int = 0, *, readers: Readers = Readers.NEVER
) -> Iterator[tuple[str, SimulatedDisk]]:
    """A kill at each operation, another life with the page cache as it was, power cuts at each operation of that.

    The late kills come first: they meet the most.
    """
    for killed in reversed(disk.points(begin)):
        again = record(disk.killed(killed), Plan(layout, commits=1, readers=readers))
        for what, cut in cut_anywhere(again, killed):
            yield f"killed after {killed} operations, opened, {what}", cut


def attacks_on(layout: Layout, report: Report | None = None) -> dict[Crash, Attack]:
    """One attack for each kind of crash, all counted together."""
    report = Report() if report is None else report
    return {crash: Attack(layout, crash, report) for crash in Crash}


def _plan(layout: Layout, chance: Random) -> Plan:
    return Plan(
        layout,
        commits=chance.choice((0, 1, 1, 2, 3, 4)),
        readers=chance.choice(list(Readers)),
        closes=chance.random() < 0.3,
        limit_bytes=chance.choice((SMALL_LIMIT_BYTES, Plan.limit_bytes)),
    )


def _point(disk: SimulatedDisk, begin: int, chance: Random) -> int:
    """Where the life ends: mostly after its first commit."""
    points = disk.points(begin)
    later = [point for point in points if disk.promised(point).least]
    return chance.choice(later if later and chance.random() < 0.7 else points)


def _kill(disk: SimulatedDisk, point: int, chance: Random) -> SimulatedDisk:
    part = None
    if point < len(disk.log) and isinstance(write := disk.log[point], Write) and chance.random() < 0.5:
        part = chance.randint(0, len(write.data))
    return disk.killed(point, part)


__all__ = ["attacks_on", "chain", "cut_anywhere", "killed_and_cut", "new_disk"]
