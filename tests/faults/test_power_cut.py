"""No power at any moment: what is lost was never promised, and what is left of it harms nobody."""

from __future__ import annotations

from random import Random

import pytest

from tests.faults.attack import Attack, Crash, Report
from tests.faults.chains import attacks_on, chain, cut_anywhere
from tests.faults.crashes import Directory, power_cut
from tests.faults.process import new_disk
from tests.faults.sessions import Plan, Readers, record
from tests.faults.workload import Layout

LAYOUTS = (Layout.BATCH, Layout.CONTINUOUS)
SEEDS = 200
CHAINS = 75


@pytest.mark.parametrize("layout", LAYOUTS)
def test_power_cut_at_any_operation(layout: Layout) -> None:
    attack = Attack(layout, Crash.POWER_CUT)
    assert not attack.run(cut_anywhere(record(new_disk(), Plan(layout, commits=3, closes=True)))).damaged


@pytest.mark.parametrize("layout", LAYOUTS)
def test_power_cut_by_chance(layout: Layout) -> None:
    """Sectors kept, lost and torn one by one, and any length of the files."""
    attack = Attack(layout, Crash.POWER_CUT)
    disks = {readers: record(new_disk(), Plan(layout, readers=readers), Random(2)) for readers in Readers}
    for seed in range(SEEDS):
        chance = Random(seed)
        readers, directory = chance.choice(list(Readers)), chance.choice(list(Directory))
        disk = disks[readers]
        point = chance.choice(disk.points())
        cut = power_cut(disk, point, directory, chance, garbage=seed % 2 == 1)
        attack.look(f"seed {seed}: power cut after {point} operations", cut, chance.choice(list(Readers)))
    assert not attack.report.damaged


@pytest.mark.parametrize("layout", LAYOUTS)
def test_lives_that_end_in_kills_and_power_cuts(layout: Layout) -> None:
    report = Report()
    attacks = attacks_on(layout, report)
    for seed in range(CHAINS):
        chain(seed, layout, new_disk(), attacks)
    assert not report.damaged
    assert report.counts["stock opens"]
