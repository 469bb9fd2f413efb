"""Each fsync of the journal is there for a reason: without it, and with all others, the same attacks find damage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import pytest

from tests.faults.attack import Attack, Crash
from tests.faults.chains import cut_anywhere, killed_and_cut
from tests.faults.process import new_disk
from tests.faults.sessions import Plan, Readers, record
from tests.faults.simulated_disk import SimulatedDisk
from tests.faults.workload import Layout

LAYOUT = Layout.BATCH
Crashes = Iterator[tuple[str, SimulatedDisk]]


def first_life(disk: SimulatedDisk) -> Crashes:
    """No power while a new file is recorded, or after it was closed."""
    return cut_anywhere(record(disk, Plan(LAYOUT, commits=3, closes=True)))


def with_readers(disk: SimulatedDisk) -> Crashes:
    """No power while a file is recorded whose readers come and go: several commits are applied at once."""
    return cut_anywhere(record(disk, Plan(LAYOUT, readers=Readers.HALF), Random(1)))


def second_life(disk: SimulatedDisk) -> Crashes:
    """No power while a closed file is gone on with; what is added makes it shorter."""
    closed = record(disk, Plan(LAYOUT, commits=5, closes=True))
    return cut_anywhere(record(closed, Plan(LAYOUT, commits=1, closes=True)), len(closed.log))


def after_a_kill(disk: SimulatedDisk) -> Crashes:
    """A kill in the last commit, and no power while the next writer recovers."""
    killed = record(disk, Plan(LAYOUT, commits=2))
    last_commit = next(point for point in killed.points() if killed.promised(point).most == 2)
    return killed_and_cut(killed, LAYOUT, last_commit)


def after_a_careless_writer(disk: SimulatedDisk) -> Crashes:
    """A kill of a writer that never synced, and no power once a careful one has opened the file."""
    careless = record(disk, Plan(LAYOUT, commits=2, fsync="never"))
    careful = record(careless, Plan(LAYOUT, commits=1))
    return cut_anywhere(careful, careful.opened_at)


REASONS: dict[str, Callable[[SimulatedDisk], Crashes]] = {
    "_commit: file": first_life,
    "append: journal": first_life,
    "_publish: folder": first_life,
    "run: file": first_life,
    "begin: journal": with_readers,
    "remove: folder": first_life,
    "_finish: file": second_life,
    "_adopt_state: folder": second_life,
    "renew: new journal": after_a_kill,
    "renew: folder": after_a_kill,
    "_adopt_state: file": after_a_careless_writer,
}
"""Which attack shows what each fsync, named by its function and by what is synced, is there for."""

ATTACKS = (first_life, with_readers, second_life, after_a_kill, after_a_careless_writer)


def first_damage(crashes: Crashes) -> str | None:
    """What the attack finds first, if anything."""
    attack = Attack(LAYOUT, Crash.POWER_CUT)
    for what, disk in crashes:
        if attack.look(what, disk) is None:
            return attack.report.damaged[0]
    return None


@pytest.mark.parametrize("attack", ATTACKS)
def test_with_every_fsync_nothing_is_damaged(attack: Callable[[SimulatedDisk], Crashes]) -> None:
    assert first_damage(attack(new_disk())) is None


@pytest.mark.parametrize("site", REASONS)
def test_without_one_fsync_something_is_damaged(site: str) -> None:
    disk = new_disk()
    disk.ignored_site = site
    assert first_damage(REASONS[site](disk)) is not None


def test_every_fsync_has_its_reason() -> None:
    seen = set()
    for readers in Readers:
        plan = Plan(LAYOUT, readers=readers, limit_bytes=64 << 10)
        disk = record(new_disk(), plan)
        again = record(disk.killed(len(disk.log)), Plan(LAYOUT, readers=readers, closes=True))
        seen |= disk.sites | again.sites
    assert seen == set(REASONS)
