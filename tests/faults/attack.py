"""Crashed disks looked at in three ways: untouched by any program of ours, through the overlay, and healed."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import h5py

from mulletdaq.errors import FileError
from mulletdaq.hdf5.journal import undisturbed
from mulletdaq.hdf5.journal.reader import OverlayFile
from tests.faults.process import FILE, process
from tests.faults.sessions import Plan, Readers, open_journal
from tests.faults.simulated_disk import Promise, SimulatedDisk
from tests.faults.workload import Damage, Layout, state

ABSENT, SEALED, TORN = "absent", "sealed", "torn"
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


class Crash(enum.Enum):
    """What a file may be, before anything heals it."""

    KILL = "sound, or sealed and still locked at the moment of the kill"
    LATER_KILL = "sound, or sealed: by a writer killed while it applied, or by one killed before that"
    POWER_CUT = "anything"


@dataclass(frozen=True)
class Finding:
    """What a crashed disk holds.

    Attributes
    ----------
    untouched
        The file as it lies, opened by a stock h5py: its commits, or that it is absent, sealed or torn, with a reason.
    overlay
        The commits that the overlay shows; None when there is no file.
    healed
        The commits after the next opening by a writer.
    """

    untouched: int | str
    overlay: int | None
    healed: int


@dataclass
class Report:
    """The crashed disks of one kind, counted."""

    counts: Counter[str] = field(default_factory=Counter)
    damaged: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counted = ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items()))
        return f"{self.counts.total()} states: {counted or 'none'}, {len(self.damaged)} damaged"


class Attack:
    """Looks at crashed disks and counts what it finds; equal disks are looked at once.

    Parameters
    ----------
    layout
        What was written.
    crash
        What happened.
    report
        Where to count; one of its own when None.
    """

    def __init__(self, layout: Layout, crash: Crash, report: Report | None = None) -> None:
        self.report = Report() if report is None else report
        self._layout = layout
        self._crash = crash
        self._known: dict[tuple[bytes, Readers], Finding | Damage] = {}

    def run(self, crashes: Iterable[tuple[str, SimulatedDisk]], readers: Readers = Readers.NEVER) -> Report:
        """Look at all of them; readers are those that the healing writer meets."""
        for what, disk in crashes:
            self.look(what, disk, readers)
        return self.report

    def look(self, what: str, disk: SimulatedDisk, readers: Readers = Readers.NEVER) -> Finding | None:
        """Look at one; None if it is damaged."""
        promise = disk.promised(len(disk.log))
        try:
            finding = self._find(disk, readers)
            self._judge(finding, promise, disk)
        except Damage as damage:
            self.blame(f"{what}: {damage}")
            return None
        self.report.counts[_category(finding)] += 1
        return finding

    def blame(self, what: str) -> None:
        """Count a state as damaged."""
        self.report.damaged.append(what)
        self.report.counts["damaged"] += 1

    def _find(self, disk: SimulatedDisk, readers: Readers) -> Finding:
        key = disk.now.digest(), readers
        if key not in self._known:
            try:
                self._known[key] = _examine(disk, self._layout, readers)
            except Damage as damage:
                self._known[key] = damage
        known = self._known[key]
        if isinstance(known, Damage):
            raise known
        return known

    def _judge(self, finding: Finding, promise: Promise, disk: SimulatedDisk) -> None:
        untouched, least, most = finding.untouched, promise.least, promise.most
        if not least <= finding.healed <= most:
            raise Damage(f"healed has {finding.healed} commits, not {least} to {most}")
        if finding.overlay is not None and finding.overlay != finding.healed:
            raise Damage(f"the overlay has {finding.overlay} commits, the healed file {finding.healed}")
        if untouched == ABSENT and least:
            raise Damage("the file is gone")
        if promise.exact and promise.exact != disk.now.digest():
            raise Damage("changed after it was closed")
        if self._crash is Crash.POWER_CUT:
            return
        if untouched == SEALED and self._crash is Crash.KILL and not disk.is_exclusive(FILE):
            raise Damage("sealed, though nothing was being applied")
        if isinstance(untouched, str) and untouched.startswith(TORN):
            raise Damage(f"untouched: {untouched}")
        if isinstance(untouched, int) and untouched > finding.healed:
            raise Damage(f"untouched has {untouched} commits, healed {finding.healed}")


def stock(content: bytes, layout: Layout) -> int:
    """How many commits a stock program finds in a file of that content; Damage if it cannot say."""
    found = _stock(content, layout)
    if isinstance(found, str):
        raise Damage(found)
    return found


@lru_cache(maxsize=1000)
def _stock(content: bytes, layout: Layout) -> int | str:
    if not content:
        return "cannot be opened: it is empty"
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fapl_core(backing_store=False)
    access.set_file_image(content)
    try:
        file = h5py.File(h5py.h5f.open(b"image", h5py.h5f.ACC_RDONLY, access))
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        return f"cannot be opened: {' '.join(str(error).split())}"
    with file:
        try:
            return state(file, layout)
        except Damage as damage:
            return str(damage)


def _category(finding: Finding) -> str:
    if isinstance(finding.untouched, int):
        return "stock opens"
    return finding.untouched.partition(":")[0]


def _untouched(disk: SimulatedDisk, layout: Layout) -> int | str:
    content = disk.content(FILE)
    if content is None:
        return ABSENT
    try:
        return stock(content, layout)
    except Damage as damage:
        is_refused = not content.startswith(_SIGNATURE) and "signature not found" in str(damage)
        return SEALED if is_refused else f"{TORN}: {damage}"


def _examine(disk: SimulatedDisk, layout: Layout, readers: Readers) -> Finding:
    """Look at a copy: nothing is done to the disk itself."""
    untouched = _untouched(disk, layout)
    copy = disk.killed(len(disk.log))
    overlay = None if untouched == ABSENT else _overlay(copy, layout)
    return Finding(untouched, overlay, _healed(copy, layout, readers))


def _overlay(disk: SimulatedDisk, layout: Layout) -> int:
    before = disk.now.digest()
    with process(disk) as system:
        try:
            overlay = OverlayFile(FILE)
        except (OSError, FileError) as error:
            raise Damage(f"the overlay refuses: {error}") from error
        try:
            count = _state_over(overlay, layout, "overlay")
        finally:
            overlay.close()
        if system.descriptions:
            raise Damage("the overlay leaves the file open")
    if disk.now.digest() != before:
        raise Damage("reading through the overlay changed the disk")
    return count


def _healed(disk: SimulatedDisk, layout: Layout, readers: Readers) -> int:
    with process(disk) as system:
        disk.read_by_others = lambda name: name == FILE and readers is Readers.ALWAYS
        try:
            journal = open_journal(Plan(layout))
        except (OSError, FileError) as error:
            raise Damage(f"the writer refuses: {type(error).__name__}: {error}") from error
        is_new = journal.created
        try:
            count = 0 if is_new else _state_over(journal, layout, "healed")
            is_pending = not journal.apply()
            if not is_pending and not is_new:
                _require_stock(disk, layout, count, "applied")
        finally:
            journal.close(commit=False)
        if system.descriptions:
            raise Damage("the writer leaves descriptors open")
        _check_left(disk, layout, count, is_pending=is_pending, is_new=is_new)
    return count


def _check_left(disk: SimulatedDisk, layout: Layout, count: int, *, is_pending: bool, is_new: bool) -> None:
    """What lies in the folder after a writer closed the file without writing anything."""
    left = set(disk.now.names)
    if is_new:
        expected = set()
    elif is_pending:
        expected = {FILE, f"{FILE}-journal"}
    else:
        expected = {FILE}
    if left != expected:
        raise Damage(f"left after closing: {sorted(left)}")
    if is_pending:
        if (again := _overlay(disk, layout)) != count:
            raise Damage(f"the overlay has {again} commits after closing, {count} before")
    elif not is_new:
        _require_stock(disk, layout, count, "closed")


def _require_stock(disk: SimulatedDisk, layout: Layout, count: int, when: str) -> None:
    found = stock(disk.content(FILE) or b"", layout)
    if found != count:
        raise Damage(f"a stock program finds {found} commits once {when}, not {count}")


def _state_over(fileobject: Any, layout: Layout, what: str) -> int:
    with undisturbed():
        try:
            with h5py.File(fileobject, "r") as file:
                return state(file, layout)
        except (OSError, RuntimeError, ValueError, KeyError, Damage) as error:
            raise Damage(f"{what}: {' '.join(str(error).split())}") from error


__all__ = ["Attack", "Crash", "Finding", "Report", "stock"]
