"""What a crash can leave of a disk: by a kill a prefix of the operations, by a power cut what the platter got."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator
from dataclasses import replace
from random import Random

from tests.faults.operations import Change, Entry, Inode, Rename, Write
from tests.faults.platter import Platter, size_after
from tests.faults.simulated_disk import SimulatedDisk

SECTOR = 512
_MOST_ENTRIES = 4  # operations on names of which all subsets are tried
_MOST_WRITES = 3
_MOST_PARTS = 8


class Directory(enum.Enum):
    """When an operation on names is durable."""

    ORDERED = "any file's fsync settles all earlier ones, and they go in order"
    STRICT = "only the directory's fsync settles them, and each is kept or lost by itself"


def kills(disk: SimulatedDisk, begin: int = 0) -> Iterator[tuple[str, SimulatedDisk]]:
    """Every disk that a kill can leave, with a name: each prefix of the operations, and parts of each write.

    Parts are one byte, a half, a sector and all but one byte.
    """
    for point in range(begin, len(disk.log) + 1):
        yield f"killed after {point} operations", disk.killed(point)
        if point < len(disk.log) and isinstance(write := disk.log[point], Write):
            length = len(write.data)
            for part in sorted({1, length // 2, SECTOR, length - 1} & set(range(1, length))):
                yield f"killed after {point} operations and {part} bytes", disk.killed(point, part)


def extremes(disk: SimulatedDisk, point: int, directory: Directory) -> Iterator[tuple[str, SimulatedDisk]]:
    """Power cuts without chance: of each file the telling choices of what waits, and likewise of the names."""
    platter = Platter.after(disk.origin, disk.log[:point], ordered=directory is Directory.ORDERED)
    for entries in _choices(platter.entries, directory):
        names = platter.durable.copy_of_names(entries)
        waiting = [inode for inode in names.inodes if inode in platter.waiting]
        fates = [_fates(platter.waiting[inode]) for inode in waiting]
        for number, fate in enumerate(itertools.product(*fates)):
            image = names.copy()
            for inode, changes in zip(waiting, fate, strict=True):
                for change in changes:
                    image.inodes[inode].apply(change)
            what = f"{len(entries)} of {len(platter.entries)} names, choice {number} of contents"
            yield f"power cut after {point} operations: {what}", disk.rebooted(image, point)


def _fates(changes: list[Change]) -> list[list[Change]]:
    """Which of the changes to a file may be there: any, if they are few; of the last one alone also only the rear."""
    if len(changes) <= _MOST_WRITES:
        fates = [list(itertools.compress(changes, kept)) for kept in itertools.product((1, 0), repeat=len(changes))]
    else:
        fates = [changes, [], changes[:-1], changes[1:], changes[:1], changes[-1:], changes[::2]]
    last = changes[-1]
    if isinstance(last, Write):
        fates.append([replace(last, data=Random(0).randbytes(len(last.data)))])
        step = SECTOR * max(1, len(last.data) // (_MOST_PARTS * SECTOR))
        for begin in range(step, len(last.data), step):
            fates.append([replace(last, offset=last.offset + begin, data=last.data[begin:])])
    return fates


def power_cut(disk: SimulatedDisk, point: int, directory: Directory, chance: Random, *, garbage: bool) -> SimulatedDisk:
    """One disk that a power cut can leave: sectors and names kept, lost or, with `garbage`, torn, by chance."""
    platter = Platter.after(disk.origin, disk.log[:point], ordered=directory is Directory.ORDERED)
    image = platter.durable.copy_of_names(_chosen(platter.entries, directory, chance))
    for entry in platter.entries:
        if directory is Directory.STRICT and isinstance(entry, Rename) and chance.random() < 0.2:
            image.keep_name(entry.old, entry.inode, platter.durable)  # the new name is there, the old one still too
    for inode in set(image.names.values()) & set(platter.waiting):
        _cut_short(image.inodes[inode], platter.waiting[inode], chance, garbage)
    return disk.rebooted(image, point)


def _choices(entries: list[Entry], directory: Directory) -> Iterator[list[Entry]]:
    if directory is Directory.ORDERED or len(entries) > _MOST_ENTRIES:
        yield from (entries[:count] for count in range(len(entries) + 1))
    else:
        for kept in itertools.product((True, False), repeat=len(entries)):
            yield list(itertools.compress(entries, kept))


def _chosen(entries: list[Entry], directory: Directory, chance: Random) -> list[Entry]:
    if directory is Directory.ORDERED:
        return entries[: chance.randint(0, len(entries))]
    share = chance.choice((0.0, 0.5, 0.9, 1.0))
    return [entry for entry in entries if chance.random() < share]


def _cut_short(node: Inode, changes: list[Change], chance: Random, garbage: bool) -> None:
    """Bring some of the changes to a file's platter."""
    match chance.choice(("all", "nothing", "writes", "sectors", "sectors")):
        case "all":
            for change in changes:
                node.apply(change)
        case "writes":
            share = chance.random()
            for change in changes:
                if chance.random() < share:
                    node.apply(change)
        case "sectors":
            _cut_sectors(node, changes, chance, garbage)
    if chance.random() < 0.5:
        node.modified = chance.choice([node.modified, *(change.time for change in changes)])


def _cut_sectors(node: Inode, changes: list[Change], chance: Random, garbage: bool) -> None:
    """Each sector as it was at some time since the last sync; the size likewise, whatever the sectors."""
    before = bytes(node.content)
    sizes = list(itertools.accumulate(changes, size_after, initial=len(before)))
    content = bytearray(before.ljust(-(-max(sizes) // SECTOR) * SECTOR, b"\0"))
    share = chance.choice((0.0, 0.5, 1.0, chance.random()))
    for sector, touching in _by_sector(changes, sizes).items():
        count = len(touching) if chance.random() < share else chance.randint(0, len(touching) - 1)
        if garbage and count < len(touching) and chance.random() < 0.3:
            torn = _torn(content, sector, touching, chance)
        else:
            torn = _sector(content, sector, touching[:count])
        content[sector * SECTOR : (sector + 1) * SECTOR] = torn
    node.content = content[: _some_size(sizes, chance)]


def _by_sector(changes: list[Change], sizes: list[int]) -> dict[int, list[Change]]:
    """The changes that touch each sector; a cut touches all that it takes away."""
    touched: dict[int, list[Change]] = {}
    for change, size in zip(changes, sizes, strict=False):
        begin, end = (
            (change.offset, change.offset + len(change.data)) if isinstance(change, Write) else (change.size, size)
        )
        for sector in range(begin // SECTOR, -(-end // SECTOR)):
            touched.setdefault(sector, []).append(change)
    return touched


def _sector(content: bytearray, sector: int, changes: list[Change]) -> bytes:
    """The sector after the changes."""
    begin = sector * SECTOR
    data = bytearray(content[begin : begin + SECTOR])
    for change in changes:
        if isinstance(change, Write):
            low, high = max(change.offset, begin), min(change.offset + len(change.data), begin + SECTOR)
            data[low - begin : high - begin] = change.data[low - change.offset : high - change.offset]
        elif change.size < begin + SECTOR:
            low = max(0, change.size - begin)
            data[low:] = bytes(SECTOR - low)
    return bytes(data)


def _torn(content: bytearray, sector: int, changes: list[Change], chance: Random) -> bytes:
    """A sector that the power left in the middle of its writing: half and half, or anything."""
    if chance.random() < 0.5:
        return chance.randbytes(SECTOR)
    cut = chance.randint(1, SECTOR - 1)
    return _sector(content, sector, changes)[:cut] + bytes(content[sector * SECTOR + cut : (sector + 1) * SECTOR])


def _some_size(sizes: list[int], chance: Random) -> int:
    """A size that the file had, or one between two that followed each other."""
    index = chance.randrange(len(sizes))
    if index and chance.random() < 0.5:
        return chance.randint(*sorted(sizes[index - 1 : index + 1]))
    return sizes[index]
