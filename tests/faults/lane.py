"""What every storm shares: one file that is killed again and again, looked at, healed, and checked to the last row."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

import mulletdaq
from mulletdaq.hdf5.verify import verify

from .judge import Look, RunFound, judge, look
from .nursery import Nursery
from .roles import Role, all_gone, eventually

OPTIONS: list[dict[str, Any]] = [
    {"flush_interval_s": interval_s, "poll_interval_s": 0.001, "fsync": fsync, "compression": compression}
    for interval_s, fsync, compression in (
        (0.005, "commit", "gzip"),
        (0.02, "commit", None),
        (0.001, "never", None),
        (0.001, "commit", None),
        (0.01, "never", "gzip"),
    )
]
"""What writers of successive files are given, in turn."""


@dataclass
class Tally:
    """What a storm found.

    Attributes
    ----------
    kills
        Blows; each killed one process or several.
    looks
        What a stock h5py found right after each, by state.
    healed
        How often the file was found whole after a next writer or a recovery had come.
    sealed_healed
        How many of these had been found sealed before.
    rows, lost
        Rows stored in all files, and rows in their ledgers.
    acknowledged
        Rows that a living process had seen as stored before some kill; every one is in the file.
    wrong
        What is not as it must be.
    reasons
        Why files of a writer that nothing is expected of were spoilt.
    """

    kills: int = 0
    looks: Counter[str] = field(default_factory=Counter)
    healed: int = 0
    sealed_healed: int = 0
    files: int = 0
    rows: int = 0
    lost: int = 0
    acknowledged: int = 0
    wrong: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


class WrongError(AssertionError):
    """A file is not as it must be."""


class Lane(ABC):
    """Kills over one file after the other.

    Parameters
    ----------
    nursery
        Who starts the processes.
    folder
        Where the files go; those with something wrong stay.
    seed
        Of what is left to chance, and of the options of the first file.
    tell
        Called after each file.
    """

    kills_a_file = 8

    def __init__(
        self, nursery: Nursery, folder: Path, seed: int, tell: Callable[[Tally], None] = lambda _: None
    ) -> None:
        self._tell = tell
        self._nursery = nursery
        self.folder = folder
        self.chosen = np.random.default_rng(seed)
        self.tally = Tally()
        self._number = seed
        self._was_sealed = False

    def run(self, kills: int) -> Tally:
        """Strike so many times."""
        while self.tally.kills < kills and len(self.tally.wrong) < 10:
            self._number += 1
            self.place = self.folder / f"{type(self).__name__.lower()}-{self._number}"
            self.place.mkdir()
            self.path = self.place / "out.h5"
            self.options = dict(OPTIONS[self._number % len(OPTIONS)])
            self.roles: list[Role] = []
            self.tally.files += 1
            try:
                with all_gone(self.roles):
                    self._one_file(min(self.kills_a_file, kills - self.tally.kills))
            except (WrongError, AssertionError) as error:
                self.tally.wrong.append(f"{self.place}: {error}")
            else:
                shutil.rmtree(self.place)
            self._tell(self.tally)
        return self.tally

    def _one_file(self, kills: int) -> None:
        self.begin()
        for _ in range(kills):
            self.tally.kills += 1
            self.strike()
        self.finish()

    @abstractmethod
    def begin(self) -> None:
        """Start what records to the next file."""

    @abstractmethod
    def strike(self) -> None:
        """Kill somebody, look, have it healed, check."""

    @abstractmethod
    def finish(self) -> None:
        """End in good order, and check that every row is there."""

    @abstractmethod
    def check(self, found: Look) -> None:
        """Compare a healed file with what is known of it."""

    @abstractmethod
    def check_acknowledged(self, found: Look) -> None:
        """Find in a file what was acknowledged before a kill."""

    # ---- steps

    def start(self, *words: object, module: str = "roles") -> Role:
        """Start a process of this storm."""
        role = Role(self._nursery, self.place / "stderr.txt", *words, module=module)
        self.roles.append(role)
        return role

    def look_as_it_lies(self, *, writer_alive: bool = False) -> None:
        """What a stock h5py finds right after a kill, before anybody healed it; and what is there with the journal."""
        found = look(self.path)
        self.tally.looks[found.state] += 1
        self._was_sealed |= found.state == "sealed"
        self.expect(found.state != "damaged", f"as it lay after a kill: {found.why}")
        if not writer_alive:
            self.expect(found.state != "locked", "the dead hold it locked")
            newest = judge(mulletdaq.open(self.path)) if self.path.exists() else Look("absent")
            self.expect(newest.state != "damaged", f"with its journal, after a kill: {newest.why}")
            self.check_acknowledged(newest)

    def look_healed(self) -> Look:
        """What it finds when all is well again: the newest commit, with everything acknowledged."""
        # A living writer may be just applying.
        found: Look = eventually(lambda: (now := look(self.path)).state != "locked" and now, "the file can be opened")
        self.expect(found.state == "untouched", f"after healing: {found.state} {found.why}")
        self.check(found)
        self.tally.healed += 1
        self.tally.sealed_healed += self._was_sealed
        self._was_sealed = False
        return found

    def look_dead(self) -> Look:
        """When nobody has the file any more: whole, alone in its folder, and verify says so too."""
        found = self.look_healed()
        beside = sorted(entry.name for entry in self.place.iterdir() if "journal" in entry.name)
        self.expect(not beside, f"left behind: {beside}")
        report = verify(self.path)
        self.expect(report.ok, f"verify: {report.problems}")
        return found

    def expect(self, right: object, what: str) -> None:
        """Raise unless all is right."""
        if not right:
            raise WrongError(what)

    def add_rows(self, run: RunFound) -> None:
        """Count a finished run."""
        self.tally.rows += run.rows
        self.tally.lost += run.lost_rows


__all__ = ["OPTIONS", "Lane", "Tally", "WrongError"]
