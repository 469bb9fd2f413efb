"""All storms of real kills, and plain h5py beside them, in one table.

python -m tests.faults.kill_storm [KILLS] [LANES]

Everything is real: the processes, their SIGKILLs, the disk, and a stock h5py that opens each file as it lies.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .lane import Lane, Tally
from .nursery import Nursery
from .plain_h5py import Plain, PlainWithFsync
from .record_storm import Recordings
from .ring_storm import Apart, Sniped, Threaded, Together

SHARES: list[tuple[type[Lane], float]] = [
    (Apart, 0.4),
    (Together, 0.1),
    (Threaded, 0.2),
    (Recordings, 0.2),
    (Sniped, 0.1),
]
PLAIN: list[type[Lane]] = [Plain, PlainWithFsync]
_TELL_EVERY_S = 20
_STATES = ("untouched", "sealed", "locked", "absent", "damaged", "unopenable", "wrong content", "missing rows")


def storm(
    kind: type[Lane],
    folder: Path,
    kills: int,
    *,
    lanes: int = 1,
    seed: int = 0,
    tell: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    """Strike in several places at once; what was found in all of them."""
    with Nursery() as nursery, ThreadPoolExecutor(lanes) as pool:
        shares = [kills // lanes + (lane < kills % lanes) for lane in range(lanes)]
        running = [
            pool.submit(kind(nursery, folder, seed + 1000 * lane, tell).run, share) for lane, share in enumerate(shares)
        ]
        return sum((one.result() for one in running), Tally())


class Progress:
    """Says now and then how far the lanes of a storm are."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._began = self._told_at = time.monotonic()

    def __call__(self, tally: Tally) -> None:
        now = time.monotonic()
        if now - self._told_at >= _TELL_EVERY_S:
            self._told_at = now
            wrong = f", WRONG: {tally.wrong}" if tally.wrong else ""
            print(f"{self._name}: {tally.kills} kills in one lane in {now - self._began:.0f} s{wrong}", flush=True)


def print_table(tallies: dict[str, Tally]) -> None:
    """One line a storm."""
    columns = ["kills", *_STATES, "healed", "sealed before", "acknowledged", "stored", "lost, in ledger", "wrong"]
    print(" | ".join(["storm".ljust(16), *columns]))
    for name, tally in tallies.items():
        figures = [tally.kills, *(tally.looks[state] for state in _STATES), tally.healed, tally.sealed_healed]
        figures += [tally.acknowledged, tally.rows, tally.lost, len(tally.wrong)]
        cells = (str(figure).rjust(len(column)) for figure, column in zip(figures, columns, strict=True))
        print(" | ".join([name.ljust(16), *cells]))


def main(words: list[str]) -> int:
    kills, lanes = (int(word) for word in [*words, *["1000", "2"][len(words) :]])
    folder = Path(tempfile.mkdtemp(prefix="mulletdaq-kills-"))
    rings = folder / "rings"
    rings.mkdir(mode=0o700)
    os.environ["MULLET_RING_DIR"] = str(rings)
    tallies: dict[str, Tally] = {}
    for kind, share in [*SHARES, *((kind, 0.5) for kind in PLAIN)]:
        began = time.monotonic()
        own_lanes = 1 if kind is Sniped else lanes  # one cannot aim while others strike
        seed, progress = int(time.time()) % 1000, Progress(kind.__name__)
        tally = storm(kind, folder, round(kills * share), lanes=own_lanes, seed=seed, tell=progress)
        tallies[kind.__name__] = tally
        print(f"{kind.__name__}: {tally.kills} kills in {time.monotonic() - began:.0f} s", flush=True)
    print_table(tallies)
    for name, tally in tallies.items():
        for reason, count in tally.reasons.most_common(5):
            print(f"{name}: {count} times: {reason[:150]}")
    wrong = [line for tally in tallies.values() for line in tally.wrong]
    print("\n".join(wrong) or "nothing is wrong with ours")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
