"""The simulated disk itself: it behaves as the kernel does, and its crashes find what is wrong, and only that."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.faults.crashes import SECTOR, Directory, extremes, kills, power_cut
from tests.faults.simulated_disk import Fault, SimulatedDisk
from tests.faults.system import SimulatedFcntl, SimulatedOs

OLD, NEW = b"old" * 700, b"brand new" * 900
NAME = "/data/f"


def disk_with(content: bytes) -> SimulatedDisk:
    """A disk that holds one durable file."""
    disk = SimulatedDisk()
    system = SimulatedOs(disk)
    descriptor = system.open(NAME, os.O_RDWR | os.O_CREAT)
    system.pwrite(descriptor, content, 0)
    system.fsync(descriptor)
    system.fsync(system.open("/data", os.O_RDONLY | os.O_DIRECTORY))
    return SimulatedDisk(disk.now)


def replace(system: SimulatedOs, *, sync_file: bool = True, sync_folder: bool = True) -> None:
    """The well-known way to replace a file as a whole: write another, rename it; and its ways to forget something."""
    descriptor = system.open(f"{NAME}.new", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    for offset in range(0, len(NEW), 1000):
        system.pwrite(descriptor, NEW[offset : offset + 1000], offset)
    if sync_file:
        system.fsync(descriptor)
    system.close(descriptor)
    system.rename(f"{NAME}.new", NAME)
    if sync_folder:
        folder = system.open("/data", os.O_RDONLY | os.O_DIRECTORY)
        system.fsync(folder)
        system.close(folder)


def power_cuts(disk: SimulatedDisk, points: range) -> Iterator[SimulatedDisk]:
    """All sorts of them."""
    for point in points:
        for directory in Directory:
            yield from (cut for _, cut in extremes(disk, point, directory))
            for seed in range(10):
                yield power_cut(disk, point, directory, Random(seed), garbage=seed % 2 == 1)


def test_replacing_with_every_fsync_is_sound() -> None:
    disk = disk_with(OLD)
    replace(SimulatedOs(disk))
    end = len(disk.log)
    assert {cut.content(NAME) for cut in power_cuts(disk, range(end + 1))} == {OLD, NEW}
    assert {cut.content(NAME) for cut in power_cuts(disk, range(end, end + 1))} == {NEW}


@pytest.mark.parametrize("directory", Directory)
def test_replacing_without_the_files_fsync_is_found_broken(directory: Directory) -> None:
    disk = disk_with(OLD)
    replace(SimulatedOs(disk), sync_file=False)
    left = {cut.content(NAME) for _, cut in extremes(disk, len(disk.log), directory)}
    assert left - {OLD, NEW}


@pytest.mark.parametrize("directory", Directory)
def test_replacing_without_the_folders_fsync_may_be_undone(directory: Directory) -> None:
    disk = disk_with(OLD)
    replace(SimulatedOs(disk), sync_folder=False)
    assert {cut.content(NAME) for _, cut in extremes(disk, len(disk.log), directory)} == {OLD, NEW}


def test_a_files_fsync_settles_its_name_only_on_an_ordered_file_system() -> None:
    disk = SimulatedDisk()
    system = SimulatedOs(disk)
    system.fsync(system.open(NAME, os.O_RDWR | os.O_CREAT))
    end = len(disk.log)
    assert {cut.content(NAME) for _, cut in extremes(disk, end, Directory.ORDERED)} == {b""}
    assert {cut.content(NAME) for _, cut in extremes(disk, end, Directory.STRICT)} == {b"", None}


def test_overwriting_in_place_is_found_broken_by_a_kill() -> None:
    disk = disk_with(OLD)
    system = SimulatedOs(disk)
    system.pwrite(system.open(NAME, os.O_RDWR), NEW, 0)
    assert {killed.content(NAME) for _, killed in kills(disk)} - {OLD, NEW}


def test_a_kill_leaves_the_page_cache_and_a_power_cut_after_it_does_not() -> None:
    disk = disk_with(OLD)
    system = SimulatedOs(disk)
    system.pwrite(system.open(NAME, os.O_RDWR), NEW, 0)
    killed = disk.killed(len(disk.log))
    assert killed.content(NAME) == NEW
    assert OLD in {cut.content(NAME) for _, cut in extremes(killed, len(killed.log), Directory.ORDERED)}


@pytest.mark.parametrize("seed", range(50))
def test_a_power_cut_takes_nothing_that_was_synced_and_keeps_other_sectors_whole(seed: int) -> None:
    chance = Random(seed)
    disk = disk_with(bytes(range(256)) * 40)
    system = SimulatedOs(disk)
    descriptor = system.open(NAME, os.O_RDWR)
    before = disk.content(NAME) or b""
    touched = set()
    for _ in range(3):
        offset, length = chance.randrange(8000), chance.randrange(1, 1500)
        system.pwrite(descriptor, b"\xff" * length, offset)
        touched |= set(range(offset // SECTOR, (offset + length - 1) // SECTOR + 1))
    after = disk.content(NAME) or b""
    left = power_cut(disk, len(disk.log), Directory.STRICT, chance, garbage=False).content(NAME) or b""
    assert len(before) == len(after) == len(left)
    for place in range(len(left)):
        assert left[place] in ((before[place], after[place]) if place // SECTOR in touched else (before[place],))


def test_a_failed_fsync_that_drops_pages_shows_the_old_content() -> None:
    disk = disk_with(OLD)
    system = SimulatedOs(disk)
    descriptor = system.open(NAME, os.O_RDWR)
    system.pwrite(descriptor, NEW, 0)
    disk.fail(Fault.SYNC_REVERTS, 0)
    with pytest.raises(OSError, match="Input/output"):
        system.fsync(descriptor)
    assert disk.content(NAME) == OLD.ljust(len(NEW), b"\0")
    assert disk.killed(len(disk.log)).content(NAME) == disk.content(NAME)


def test_a_failed_fsync_that_marks_pages_clean_shows_the_new_content_and_never_writes_it() -> None:
    disk = disk_with(OLD)
    system = SimulatedOs(disk)
    descriptor = system.open(NAME, os.O_RDWR)
    system.pwrite(descriptor, NEW[: len(OLD)], 0)
    disk.fail(Fault.SYNC_FORGETS, 0)
    with pytest.raises(OSError, match="Input/output"):
        system.fsync(descriptor)
    system.fsync(descriptor)
    assert disk.content(NAME) == NEW[: len(OLD)]
    assert {cut.content(NAME) for _, cut in extremes(disk, len(disk.log), Directory.STRICT)} == {OLD}


def test_an_fsync_that_only_fails_may_be_tried_again() -> None:
    disk = disk_with(OLD)
    system = SimulatedOs(disk)
    descriptor = system.open(NAME, os.O_RDWR)
    system.pwrite(descriptor, NEW, 0)
    disk.fail(Fault.IO_ERROR, 0)
    with pytest.raises(OSError, match="Input/output"):
        system.fsync(descriptor)
    assert OLD in {cut.content(NAME) for _, cut in extremes(disk, len(disk.log), Directory.STRICT)}
    system.fsync(descriptor)
    assert {cut.content(NAME) for _, cut in extremes(disk, len(disk.log), Directory.STRICT)} == {NEW}


def test_faults_meet_the_call_they_are_meant_for_once_or_until_the_end() -> None:
    disk = disk_with(OLD)
    system = SimulatedOs(disk)
    descriptor = system.open(NAME, os.O_RDWR)
    disk.fail(Fault.SHORT_WRITE, 1)
    assert [system.pwrite(descriptor, b"12345678", 0) for _ in range(3)] == [8, 4, 8]
    disk.fail(Fault.SHORT_READ, 0)
    assert [len(system.pread(descriptor, 8, 0)) for _ in range(2)] == [4, 8]
    disk.fail(Fault.INTERRUPTED, 0)
    with pytest.raises(InterruptedError):
        system.pread(descriptor, 8, 0)
    disk.fail(Fault.NO_SPACE, 1, lasting=True)
    system.pwrite(descriptor, b"room", 0)
    for _ in range(2):
        assert system.pread(descriptor, 4, 0) == b"room"
        with pytest.raises(OSError, match="No space"):
            system.pwrite(descriptor, b"none", 0)
    disk.work_again()
    assert system.pwrite(descriptor, b"again", 0) == 5


def test_an_ignored_fsync_is_the_one_that_is_named() -> None:
    disk = disk_with(OLD)
    system = SimulatedOs(disk)

    def forgetful(descriptor: int) -> None:
        system.fsync(descriptor)

    descriptor = system.open(NAME, os.O_RDWR)
    disk.ignored_site = "forgetful f"
    system.pwrite(descriptor, NEW, 0)
    forgetful(descriptor)
    assert disk.sites == {"forgetful f"}
    assert OLD in {cut.content(NAME) for _, cut in extremes(disk, len(disk.log), Directory.STRICT)}
    system.fsync(descriptor)
    assert {cut.content(NAME) for _, cut in extremes(disk, len(disk.log), Directory.STRICT)} == {NEW}


def test_readers_keep_the_writer_from_locking_and_it_loses_what_it_held() -> None:
    disk = disk_with(OLD)
    system = SimulatedOs(disk)
    locks = SimulatedFcntl(system)
    writer, other = system.open(NAME, os.O_RDWR), system.open(NAME, os.O_RDONLY)
    locks.flock(writer, fcntl.LOCK_SH)
    disk.read_by_others = lambda name: name == NAME
    with pytest.raises(BlockingIOError):
        locks.flock(writer, fcntl.LOCK_EX | fcntl.LOCK_NB)
    disk.read_by_others = lambda name: False
    locks.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert disk.is_exclusive(NAME)
    system.close(other)
    assert not disk.is_exclusive(NAME)


def test_numbers_of_files_that_are_gone_are_given_again() -> None:
    disk = SimulatedDisk()
    system = SimulatedOs(disk)
    descriptor = system.open(NAME, os.O_RDWR | os.O_CREAT)
    number = system.fstat(descriptor).st_ino
    system.unlink(NAME)
    assert system.fstat(system.open(f"{NAME}2", os.O_RDWR | os.O_CREAT)).st_ino != number
    system.close(descriptor)
    assert system.fstat(system.open(f"{NAME}3", os.O_RDWR | os.O_CREAT)).st_ino == number


class Differential:
    """The same calls to the kernel and to the simulation, their results and errors side by side."""

    def __init__(self, folder: Path) -> None:
        simulated = SimulatedOs(SimulatedDisk(directory="/data"))
        self._sides: list[tuple[str, Any, Any, dict[int, int]]] = [
            (str(folder), os, fcntl, {}),
            ("/data", simulated, SimulatedFcntl(simulated), {}),
        ]

    def call(self, name: str, what: Callable[[str, Any, Any, dict[int, int]], Any]) -> None:
        """Do it on both sides; they must agree."""
        real, simulated = (self._outcome(what, *side) for side in self._sides)
        assert (name, real) == (name, simulated)

    def close(self) -> None:
        """Close what is open."""
        for _, system, _, descriptors in self._sides:
            for descriptor in descriptors.values():
                system.close(descriptor)

    @staticmethod
    def _outcome(what: Callable[..., Any], *side: Any) -> Any:
        try:
            return what(*side)
        except OSError as error:
            return type(error), error.errno


@pytest.mark.parametrize("seed", range(20))
def test_it_does_what_the_kernel_does(seed: int, tmp_path: Path) -> None:
    chance = Random(seed)
    both = Differential(tmp_path)
    try:
        for step in range(150):
            both.call(*_some_call(chance, step))
    finally:
        both.close()


_KINDS = ["open", "open", "close", "read", "write", "write", "cut", "grow", "size", "sync", "flock", "flock"]
_KINDS += ["link", "unlink", "rename", "list", "stat", "folder"]


def _some_call(chance: Random, step: int) -> tuple[str, Callable[[str, Any, Any, dict[int, int]], Any]]:
    """A call with arguments by chance; descriptors are known by the step that opened them."""
    name, other = chance.choice("abc"), chance.choice("abc")
    which, offset, count = chance.random(), chance.randrange(3000), chance.randrange(1, 3000)
    access = chance.choice((os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR))
    extra = chance.choice((0, os.O_CREAT, os.O_CREAT, os.O_CREAT | os.O_EXCL, os.O_CREAT | os.O_TRUNC, os.O_DIRECTORY))
    lock = chance.choice((fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_EX, fcntl.LOCK_UN))
    kind = chance.choice(_KINDS)

    def call(folder: str, system: Any, locks: Any, descriptors: dict[int, int]) -> Any:
        def chosen() -> int:
            return list(descriptors.values())[int(which * len(descriptors))] if descriptors else 999_999

        match kind:
            case "open":
                descriptors[step] = system.open(f"{folder}/{name}", access | extra, 0o600)
            case "folder":
                descriptors[step] = system.open(folder, access | os.O_DIRECTORY)
            case "close":
                descriptor = chosen()
                system.close(descriptor)
                del descriptors[next(key for key, value in descriptors.items() if value == descriptor)]
            case "read":
                buffer = bytearray(count)
                return system.preadv(chosen(), [buffer], offset), bytes(buffer), system.pread(chosen(), count, offset)
            case "write":
                return system.pwrite(chosen(), bytes([step]) * count, offset)
            case "cut":
                system.ftruncate(chosen(), offset)
            case "grow":
                system.posix_fallocate(chosen(), offset, count)
            case "size":
                return system.fstat(chosen()).st_size if not _is_folder(system, chosen()) else None
            case "sync":
                system.fsync(chosen())
            case "flock":
                locks.flock(chosen(), lock | fcntl.LOCK_NB)
            case "link":
                system.link(f"{folder}/{name}", f"{folder}/{other}")
            case "unlink":
                system.unlink(f"{folder}/{name}")
            case "rename":
                system.rename(f"{folder}/{name}", f"{folder}/{other}")
            case "list":
                return sorted(system.listdir(folder))
            case "stat":
                status, second = system.stat(f"{folder}/{name}"), system.stat(f"{folder}/{other}")
                return status.st_size, status.st_nlink, status.st_mode & 0o170000, status.st_ino == second.st_ino
        return None

    return kind, call


def _is_folder(system: Any, descriptor: int) -> bool:
    return bool(system.fstat(descriptor).st_mode & 0o040000)


def test_what_is_not_simulated_is_not_there() -> None:
    with pytest.raises(AttributeError, match="not simulated"):
        SimulatedOs(SimulatedDisk()).sendfile  # noqa: B018
    with pytest.raises(OSError, match="No such file") as caught:
        SimulatedOs(SimulatedDisk()).open("/elsewhere/f", os.O_RDWR | os.O_CREAT)
    assert caught.value.errno == errno.ENOENT
