"""A writer killed at each of its operations, and within each write: nothing committed is ever lost or changed."""

from __future__ import annotations

from random import Random

import pytest

from tests.faults.attack import Attack, Crash
from tests.faults.crashes import kills
from tests.faults.process import new_disk
from tests.faults.sessions import Plan, Readers, record
from tests.faults.workload import Layout

LAYOUTS = (Layout.BATCH, Layout.CONTINUOUS)


@pytest.mark.parametrize("readers", Readers)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_killed_at_any_operation(layout: Layout, readers: Readers) -> None:
    disk = record(new_disk(), Plan(layout, readers=readers, closes=readers is not Readers.ALWAYS))
    attack = Attack(layout, Crash.KILL)
    untouched = [0]
    for what, killed in kills(disk):
        finding = attack.look(what, killed)
        if finding is not None and isinstance(finding.untouched, int):
            untouched.append(finding.untouched)
    assert not attack.report.damaged
    assert untouched == sorted(untouched), "a stock program saw the file go back"
    assert attack.report.counts["absent"] and attack.report.counts["stock opens"]
    assert bool(attack.report.counts["sealed"]) is (readers is not Readers.ALWAYS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_killed_and_healed_while_readers_hold_the_file(layout: Layout) -> None:
    attack = Attack(layout, Crash.KILL)
    disk = record(new_disk(), Plan(layout, commits=3, readers=Readers.HALF), Random(1))
    assert not attack.run(kills(disk), Readers.ALWAYS).damaged


@pytest.mark.parametrize("layout", LAYOUTS)
def test_killed_again_at_any_operation_of_the_recovery(layout: Layout) -> None:
    attack = Attack(layout, Crash.LATER_KILL)
    disk = record(new_disk(), Plan(layout, commits=2))
    last_commit = next(point for point in disk.points() if disk.promised(point).most == 2)
    for point in disk.points(last_commit)[::3]:
        recovering = record(disk.killed(point), Plan(layout, commits=0))
        attack.run((f"killed after {point}, {what}", again) for what, again in kills(recovering, point))
    assert not attack.report.damaged


def test_killed_without_any_fsync() -> None:
    attack = Attack(Layout.CONTINUOUS, Crash.KILL)
    disk = record(new_disk(), Plan(Layout.CONTINUOUS, commits=4, fsync="never"))
    assert disk.sites == set()
    assert not attack.run(kills(disk)).damaged


def test_killed_while_the_journal_is_written_anew_for_lack_of_room() -> None:
    attack = Attack(Layout.CONTINUOUS, Crash.KILL)
    disk = record(new_disk(), Plan(Layout.CONTINUOUS, commits=8, readers=Readers.ALWAYS, limit_bytes=64 << 10))
    assert any(site.startswith("renew") for site in disk.sites)
    assert not attack.run(kills(disk)).damaged
