"""The same attacks for as long as one likes: every layout, every operation, any number of seeds.

python -m tests.faults.soak [--seeds 10000] [--first-seed 0] [--only power]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from random import Random

from tests.faults.attack import Attack, Crash, Report
from tests.faults.chains import attacks_on, chain, cut_anywhere, killed_and_cut
from tests.faults.crashes import Directory, kills, power_cut
from tests.faults.io_faults import FaultAttack, Moment, cases
from tests.faults.process import new_disk
from tests.faults.sessions import Plan, Readers, record
from tests.faults.workload import Layout

_PROGRESS_S = 10.0
_FEW = 20
"""How many damaged states are shown."""


def killed(layout: Layout, seeds: range, report: Report) -> Iterator[None]:
    """A kill at each operation, healed with and without readers in the way."""
    for readers in Readers:
        attack = Attack(layout, Crash.KILL, report)
        disk = record(new_disk(), Plan(layout, commits=9, readers=readers, closes=True), Random(seeds.start))
        for what, crashed in kills(disk):
            for later in (Readers.NEVER, Readers.ALWAYS):
                attack.look(f"{readers}: {what}", crashed, later)
                yield


def killed_twice(layout: Layout, seeds: range, report: Report) -> Iterator[None]:
    """A kill at each operation, and at each of the recovery after it."""
    attack = Attack(layout, Crash.LATER_KILL, report)
    disk = record(new_disk(), Plan(layout, commits=3, readers=Readers.HALF), Random(seeds.start))
    for point in disk.points():
        recovering = record(disk.killed(point), Plan(layout, commits=1))
        for what, crashed in kills(recovering, point):
            attack.look(f"killed after {point}, {what}", crashed)
            yield


def powerless(layout: Layout, seeds: range, report: Report) -> Iterator[None]:
    """Power cuts at each operation, all that is telling."""
    for readers in Readers:
        attack = Attack(layout, Crash.POWER_CUT, report)
        disk = record(new_disk(), Plan(layout, commits=6, readers=readers, closes=True), Random(seeds.start))
        for what, crashed in cut_anywhere(disk):
            attack.look(f"{readers}: {what}", crashed)
            yield


def powerless_after_a_kill(layout: Layout, seeds: range, report: Report) -> Iterator[None]:
    """A kill at each operation, power cuts at each operation of the next life."""
    for readers in (Readers.NEVER, Readers.ALWAYS):
        attack = Attack(layout, Crash.POWER_CUT, report)
        disk = record(new_disk(), Plan(layout, commits=2, readers=readers), Random(seeds.start))
        for what, crashed in killed_and_cut(disk, layout, readers=readers):
            attack.look(f"{readers}: {what}", crashed)
            yield


def powerless_by_chance(layout: Layout, seeds: range, report: Report) -> Iterator[None]:
    """Power cuts by chance, sector by sector, with and without garbage."""
    attack = Attack(layout, Crash.POWER_CUT, report)
    disks = [record(new_disk(), Plan(layout, readers=readers), Random(2)) for readers in Readers]
    for seed in seeds:
        chance = Random(seed)
        disk, directory = chance.choice(disks), chance.choice(list(Directory))
        point = chance.choice(disk.points())
        cut = power_cut(disk, point, directory, chance, garbage=seed % 2 == 1)
        attack.look(f"seed {seed}: power cut after {point} operations", cut, chance.choice(list(Readers)))
        yield


def chained(layout: Layout, seeds: range, report: Report) -> Iterator[None]:
    """Several lives, each ended by a kill or a power cut."""
    attacks = attacks_on(layout, report)
    for seed in seeds:
        chain(seed, layout, new_disk(), attacks)
        yield


def faulty(layout: Layout, seeds: range, report: Report) -> Iterator[None]:
    """Every fault at every system call, crashes at each operation since."""
    for moment in Moment:
        attack = FaultAttack(layout, report, thorough=True)
        for case in cases(moment, layout):
            attack.run(case)
            yield


ATTACKS: dict[str, Callable[[Layout, range, Report], Iterator[None]]] = {
    "kill": killed,
    "kill, kill": killed_twice,
    "power": powerless,
    "kill, power": powerless_after_a_kill,
    "power by chance": powerless_by_chance,
    "chains": chained,
    "faults": faulty,
}


def _run(name: str, layout: Layout, seeds: range) -> Report:
    """One attack to its end, with a line now and then."""
    report = Report()
    shown = time.monotonic()
    for _ in ATTACKS[name](layout, seeds, report):
        if time.monotonic() - shown > _PROGRESS_S:
            shown = time.monotonic()
            print(f"    {name}, {layout.name}: {report}", flush=True)
    return report


def main(words: list[str]) -> int:
    """Run what is asked for; the exit code is 1 if anything was damaged."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10_000, help="power cuts by chance; a tenth of it chains")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", choices=ATTACKS, action="append", help="may be given several times")
    parser.add_argument("--layout", choices=[layout.name for layout in Layout], action="append")
    chosen = parser.parse_args(words)
    rows, damaged = [], []
    for name in chosen.only or ATTACKS:
        count = max(1, chosen.seeds // 10) if name == "chains" else chosen.seeds
        for layout in map(Layout.__getitem__, chosen.layout or Layout.__members__):
            begin = time.monotonic()
            report = _run(name, layout, range(chosen.first_seed, chosen.first_seed + count))
            damaged += [f"{name}, {layout.name}: {what}" for what in report.damaged]
            rows.append(f"{name:16} {layout.name:11} {time.monotonic() - begin:6.0f} s  {report}")
            print(rows[-1], flush=True)
    print("\n" + "\n".join(rows))
    for what in damaged[:_FEW]:
        print(what)
    return 1 if damaged else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
