"""A fault in any one system call of a writer's life, and what the writer, its file and its next life make of it."""

from __future__ import annotations

import enum
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import h5py

from mulletdaq.errors import FileError
from mulletdaq.hdf5.journal import JournaledFile, undisturbed
from tests.faults.attack import Attack, Crash, Report
from tests.faults.chains import cut_anywhere
from tests.faults.process import FILE, new_disk, process
from tests.faults.sessions import Plan, Readers, commit, open_h5, open_journal, record
from tests.faults.simulated_disk import Fault, SimulatedDisk
from tests.faults.system import SimulatedOs
from tests.faults.workload import Damage, Layout, state, write

OURS = (OSError, FileError)
H5PY = (OSError, RuntimeError, ValueError, KeyError)
"""What HDF5 may raise when it read something else than it wrote."""


class Writer:
    """A writer that goes on after an error as a recording does: back to the last commit, and once more."""

    def __init__(self, disk: SimulatedDisk, system: SimulatedOs, layout: Layout, *, littering: bool = False) -> None:
        self.disk = disk
        self.layout = layout
        self.count = 0
        self.journal: JournaledFile | None = None
        self._littering = littering
        self._system = system
        self._file: Any = None

    def open(self) -> None:
        """Open everything, and count what is there."""
        self.journal = open_journal(Plan(self.layout))
        self._open_h5()

    def commit(self) -> None:
        """One more commit."""
        assert self.journal is not None
        if self._littering:
            litter(self._file)
        commit(self.disk, self.journal, self._file, self.layout, self.count)
        self.count += 1

    def write(self) -> None:
        """What another commit would hold, and no commit."""
        if self._littering:
            litter(self._file)
        self.disk.promise(self.count, self.count + 1)
        with undisturbed():
            write(self._file, self.layout, self.count)

    def rollback(self) -> None:
        """Back to the last commit that stands."""
        assert self.journal is not None
        self.journal.rollback()
        self._open_h5()

    def apply(self) -> None:
        """Bring what is pending into the file."""
        assert self.journal is not None
        self.journal.apply()

    def check(self) -> None:
        """What can be read now is what was committed."""
        with undisturbed():
            found = state(self._file, self.layout)
        if found != self.count:
            raise Damage(f"{found} commits can be read, not {self.count}")

    def close(self) -> None:
        """Close everything; all descriptors are gone, even if it raises."""
        assert self.journal is not None
        journal, self.journal = self.journal, None
        try:
            journal.close()
        finally:
            self.require_nothing_open()

    def abandon(self) -> None:
        """Close what is open still, on a disk that does nothing wrong any more."""
        self.disk.work_again()
        if self.journal is not None:
            self.journal.close(commit=False)

    def require_failure(self) -> None:
        """The journal knows that something went wrong: nothing of it can be committed."""
        assert self.journal is not None
        try:
            self.journal.commit()
        except OURS:
            return
        raise Damage("wrong bytes were read, and the journal commits all the same")

    def require_nothing_open(self) -> None:
        """No descriptor of the journal may be left."""
        if self._system.descriptions:
            names = [self.disk.name_of(description.inode) for description in self._system.descriptions.values()]
            raise Damage(f"left open: {names}")

    def _open_h5(self) -> None:
        assert self.journal is not None
        self._file = open_h5(self.journal)
        with undisturbed():
            found = state(self._file, self.layout)
        promise = self.disk.promised(len(self.disk.log))
        if not promise.least <= found <= promise.most:
            raise Damage(f"{found} commits after opening, not {promise.least} to {promise.most}")
        self.count = found
        self.disk.promise(found, found)


class Garbage:
    """An object that only a collection can free, with what it holds."""

    def __init__(self, *held: Any) -> None:
        self.itself = self
        self.held = held


def litter(file: Any) -> None:
    """Drop objects of the file, and other files with something unwritten in them."""
    for name in file:
        Garbage(file[name], file[name].attrs)
    for _ in range(3):
        other = h5py.File(io.BytesIO(), "w")
        other["values"] = range(100)
        Garbage(other)


class Moment(enum.Enum):
    """What the writer is doing when the fault comes; its value says after which commits."""

    OPEN_NEW = "opening a file that is not there"
    OPEN_LEFT = "opening a file that a kill left with commits pending"
    OPEN_SEALED = "opening a file that a kill left sealed"
    FIRST_COMMIT = "the first commit"
    LATER_COMMIT = "a commit that makes the file shorter"
    PENDING_COMMIT = "a commit while earlier ones are pending"
    APPLY = "applying what is pending"
    ROLLBACK = "rolling back after an fsync of the journal failed"
    CLOSE = "closing with something to commit"


@dataclass(frozen=True)
class Case:
    """One fault: at the moment's call of that number, or from there on."""

    moment: Moment
    fault: Fault
    call: int
    lasting: bool

    def __str__(self) -> str:
        return f"{self.moment.name}: {self.fault.name} {'from' if self.lasting else 'at'} call {self.call}"


def cases(moment: Moment, layout: Layout) -> Iterator[Case]:
    """Every fault at every call that it can meet; a full or broken disk also stays so."""
    for call, name in enumerate(_calls(moment, layout)):
        for fault in Fault:
            if fault.meets(name):
                yield Case(moment, fault, call, lasting=False)
                if fault in (Fault.NO_SPACE, Fault.IO_ERROR):
                    yield Case(moment, fault, call, lasting=True)


class FaultAttack:
    """Lives through faults, goes on, crashes in all sorts of ways after them; what was wrong is in the report.

    A writer must see an error of ours or have everything done; whichever it is, its file must be at a commit, the
    writer can go on once the fault is over, and every later crash finds what was promised.

    Parameters
    ----------
    report
        Where to count; one of its own when None.
    littering
        Whether the writer leaves garbage that holds objects of HDF5, for a collection to meet at the worst moment.
    thorough
        Whether power cuts come at each operation since the fault, and not only after the writer has recovered.
    """

    def __init__(
        self, layout: Layout, report: Report | None = None, *, littering: bool = False, thorough: bool = False
    ) -> None:
        self.report = Report() if report is None else report
        self._layout = layout
        self._littering = littering
        self._thorough = thorough
        self._kills = Attack(layout, Crash.LATER_KILL, self.report)
        self._cuts = Attack(layout, Crash.POWER_CUT, self.report)

    def run(self, case: Case) -> None:
        """Live through one fault."""
        disk = _disk_before(case.moment, self._layout)
        try:
            with process(disk) as system:
                writer = Writer(disk, system, self._layout, littering=self._littering)
                act = _prepare(case.moment, writer)
                disk.fail(case.fault, case.call, lasting=case.lasting)
                begin = len(disk.log)
                try:
                    _live_through(writer, act)
                    self._crash(disk, f"{case}, after it", begin if self._thorough else len(disk.log))
                    _go_on(writer)
                finally:
                    writer.abandon()
            self._crash(disk, f"{case}, closed", len(disk.log))
        except (Damage, AssertionError, *H5PY, FileError) as error:
            self._kills.blame(f"{case}: {type(error).__name__}: {error}")

    def _crash(self, disk: SimulatedDisk, what: str, begin: int) -> None:
        """A kill now, and power cuts at each operation from `begin` on."""
        self._kills.look(f"{what}, killed", disk.killed(len(disk.log)))
        for which, cut in cut_anywhere(disk, begin):
            self._cuts.look(f"{what}, {which}", cut)


def _calls(moment: Moment, layout: Layout) -> list[str]:
    """The system calls that a moment consists of when nothing goes wrong."""
    disk = _disk_before(moment, layout)
    with process(disk) as system:
        writer = Writer(disk, system, layout)
        act = _prepare(moment, writer)
        before = len(disk.calls)
        act()
        calls = disk.calls[before:]
        disk.read_by_others = lambda name: False
        if writer.journal is not None:
            writer.close()
    return calls


@cache
def _recorded(plan: Plan) -> SimulatedDisk:
    return record(new_disk(), plan)


def _disk_before(moment: Moment, layout: Layout) -> SimulatedDisk:
    """A disk of its own, as the moment finds it."""
    match moment:
        case Moment.OPEN_NEW | Moment.FIRST_COMMIT:
            return new_disk()
        case Moment.OPEN_LEFT | Moment.APPLY | Moment.PENDING_COMMIT:
            disk = _recorded(Plan(layout, commits=3, readers=Readers.ALWAYS))
        case Moment.OPEN_SEALED:
            disk = _recorded(Plan(layout, commits=2))
            sealed = [point for point in range(len(disk.log)) if disk.killed(point).is_exclusive(FILE)]
            return disk.killed(sealed[-2])
        case Moment.LATER_COMMIT:
            disk = _recorded(Plan(layout, commits=5, closes=True))
        case Moment.ROLLBACK | Moment.CLOSE:
            disk = _recorded(Plan(layout, commits=2, closes=True))
    return disk.killed(len(disk.log))


def _prepare(moment: Moment, writer: Writer) -> Callable[[], None]:
    """Come to the moment; what is done in it."""
    disk = writer.disk
    if moment in (Moment.OPEN_NEW, Moment.OPEN_LEFT, Moment.OPEN_SEALED):
        return writer.open
    if moment in (Moment.APPLY, Moment.PENDING_COMMIT):
        disk.read_by_others = lambda name: name == FILE
    writer.open()
    if moment is Moment.APPLY:
        disk.read_by_others = lambda name: False
        return writer.apply
    if moment is Moment.ROLLBACK:
        _fail_to_commit(writer)
        return writer.rollback
    if moment is Moment.CLOSE:
        writer.write()
        return writer.close
    return writer.commit


def _fail_to_commit(writer: Writer) -> None:
    """Have the last fsync of a commit fail, so that nobody knows whether it stands."""
    appended = _last_sync_of_append(writer.layout)
    writer.disk.fail(Fault.IO_ERROR, appended)
    try:
        writer.commit()
    except OURS:
        return
    finally:
        writer.disk.work_again()
    raise AssertionError("the commit was to fail")


def _last_sync_of_append(layout: Layout) -> int:
    """Which call of a commit brings its frame to the disk: the first that makes a power cut keep it."""
    disk = _disk_before(Moment.ROLLBACK, layout)
    with process(disk) as system:
        writer = Writer(disk, system, layout)
        writer.open()
        before = len(disk.calls)
        writer.commit()
        syncs = [call for call, name in enumerate(disk.calls[before:]) if Fault.SYNC_REVERTS.meets(name)]
        writer.close()
    return syncs[1]  # the first is that of the file


def _live_through(writer: Writer, act: Callable[[], None]) -> None:
    """Do it under the fault; if it fails, once more under a fault that lasts, and then without."""
    disk = writer.disk
    failed = _fails(writer, act)
    if writer.journal is None:
        writer.require_nothing_open()
    elif failed:
        failed = _fails(writer, writer.rollback) or _fails(writer, writer.commit)
    disk.work_again()
    disk.read_by_others = lambda name: False
    if writer.journal is None:
        writer.open()
    elif failed:
        writer.rollback()
    writer.check()


def _fails(writer: Writer, act: Callable[[], None]) -> bool:
    """Whether it fails, in a way that the writer is told of."""
    try:
        act()
    except OURS:
        return True
    except (Damage, *H5PY):  # HDF5 read what the disk refused to give
        writer.require_failure()
        return True
    return False


def _go_on(writer: Writer) -> None:
    """The fault is over: two more commits, and a good end."""
    before = writer.count
    for _ in range(2):
        try:
            writer.commit()
        except OURS:  # a failed apply may make the commit under way void; the one after it must go through
            writer.rollback()
            writer.commit()
    writer.check()
    if writer.count < before + 2:
        raise Damage(f"{writer.count - before} commits after the fault was over, not 2")
    writer.close()
    writer.disk.promise(writer.count, writer.count, exactly_this=True)
