"""Short storms of kills; ``python -m tests.faults.kill_storm`` has the long ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from .kill_storm import storm
from .lane import Lane
from .plain_h5py import Plain
from .record_storm import Recordings
from .ring_storm import Apart, Sniped, Threaded, Together


@pytest.mark.parametrize(
    ("kind", "kills"),
    [(Apart, 16), (Together, 4), (Threaded, 26), (Recordings, 8)],
    ids=["apart", "together", "threaded", "recordings"],
)
def test_no_kill_damages_a_file_or_loses_a_row(tmp_path: Path, kind: type[Lane], kills: int) -> None:
    tally = storm(kind, tmp_path, kills, lanes=2)
    assert not tally.wrong
    assert tally.kills == kills == tally.looks.total()
    assert set(tally.looks) <= {"untouched", "sealed", "locked", "absent"}
    assert tally.healed and tally.acknowledged and tally.rows


def test_a_file_whose_writer_died_while_it_was_sealed_is_healed(tmp_path: Path) -> None:
    """Aimed at, for by chance one kill in hundreds meets it: a stock tool finds no file, rather than a wrong one."""
    tally = storm(Sniped, tmp_path, 6)
    assert not tally.wrong
    assert tally.looks["sealed"] >= 1
    assert tally.sealed_healed == tally.looks["sealed"]
    assert tally.looks["sealed"] + tally.looks["untouched"] == tally.kills == 6


def test_plain_h5py_is_struck_and_judged_in_the_same_way(tmp_path: Path) -> None:
    """No claim about it; only that its storm works."""
    tally = storm(Plain, tmp_path, 2)
    assert tally.kills == tally.looks.total() == 2
    assert tally.acknowledged and not tally.wrong
