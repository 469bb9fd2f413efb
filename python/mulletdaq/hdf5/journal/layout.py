"""The bytes of a journal: headers, frames, and the parts of HDF5's superblock that matter here.

Documented for others in ``docs/reference/journal-format.md``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

PAGE_BYTES = 4096
SECTOR_BYTES = 512
FRAMES_OFFSET = 2 * SECTOR_BYTES
VERSION = 1
SALT_BYTES = 16
DIGEST_BYTES = 16

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SEAL = bytes(len(SIGNATURE))
"""What stands in place of the signature while pages are being applied."""

_HEADER = struct.Struct("<8sII6QII16s")
_HEADER_MAGIC = b"MULLETJ1"
_UNPUBLISHED = 1
_FRAME = struct.Struct("<8sIIQQ16s")
_FRAME_MAGIC = b"MULLETF1"
FRAME_HEADER_BYTES = _FRAME.size + DIGEST_BYTES


@dataclass(frozen=True)
class Header:
    """One generation of the journal: what was true of FILE when it began.

    Attributes
    ----------
    generation
        Counts up; the valid slot with the higher one holds.
    base_end
        Logical end of FILE, in bytes.
    file_end
        End that the superblock in FILE itself gives; it tells whether another program wrote FILE.
    commit
        Number of the last commit before this generation.
    device, inode
        FILE; the inode must still be the same.
    pid
        The writer.
    unpublished
        Whether FILE had only its temporary name yet.
    salt
        Random; keeps frames of other generations from being taken for this one's.
    """

    generation: int
    base_end: int
    file_end: int
    commit: int
    device: int
    inode: int
    pid: int
    unpublished: bool
    salt: bytes

    @property
    def slot_offset(self) -> int:
        """Where this generation's header lies: the slots take turns, so that the last one stays valid."""
        return self.generation % 2 * SECTOR_BYTES

    def encode(self) -> bytes:
        """The header's bytes, its digest last."""
        packed = _HEADER.pack(
            _HEADER_MAGIC,
            VERSION,
            PAGE_BYTES,
            self.generation,
            self.base_end,
            self.file_end,
            self.commit,
            self.device % (1 << 64),
            self.inode,
            self.pid,
            _UNPUBLISHED if self.unpublished else 0,
            self.salt,
        )
        return packed + _digest(packed)


HEADER_BYTES = _HEADER.size + DIGEST_BYTES


def newest_header(start: bytes) -> Header | None:
    """The header that holds, out of a journal's first bytes; None when neither slot is valid."""
    headers = [header for offset in (0, SECTOR_BYTES) if (header := _decode_header(start[offset:])) is not None]
    return max(headers, key=lambda header: header.generation, default=None)


def _decode_header(slot: bytes) -> Header | None:
    packed, digest = slot[: _HEADER.size], slot[_HEADER.size : HEADER_BYTES]
    if len(digest) < DIGEST_BYTES or _digest(packed) != digest:
        return None
    magic, version, page_bytes, generation, base_end, file_end, commit, device, inode, pid, flags, salt = (
        _HEADER.unpack(packed)
    )
    if (magic, version, page_bytes) != (_HEADER_MAGIC, VERSION, PAGE_BYTES):
        return None
    unpublished = bool(flags & _UNPUBLISHED)
    return Header(generation, base_end, file_end, commit, device, inode, pid, unpublished, salt)


def images_offset(page_count: int) -> int:
    """Where in a frame the first image lies: behind header and page numbers, at a sector's start."""
    return round_up(FRAME_HEADER_BYTES + 8 * page_count, SECTOR_BYTES)


def frame_bytes(page_count: int) -> int:
    """Length of a frame: a whole number of sectors."""
    return images_offset(page_count) + page_count * PAGE_BYTES


def frame_start(salt: bytes, commit: int, end: int, numbers: Iterable[int]) -> bytes:
    """The start of a frame up to its images, its digest left open."""
    table = b"".join(number.to_bytes(8, "little") for number in numbers)
    count = len(table) // 8
    packed = _FRAME.pack(_FRAME_MAGIC, count, 0, commit, end, salt)
    return (packed + bytes(DIGEST_BYTES) + table).ljust(images_offset(count), b"\0")


def frame_digest(previous: bytes, start: bytes) -> blake2b:
    """The digest of a frame, begun: over the frame before it, and its own start. Its images come next."""
    digest = blake2b(previous, digest_size=DIGEST_BYTES)
    digest.update(start[: _FRAME.size])
    digest.update(start[FRAME_HEADER_BYTES:])
    return digest


def with_digest(start: bytes, digest: bytes) -> bytes:
    """A frame's start with its digest in place."""
    return start[: _FRAME.size] + digest + start[FRAME_HEADER_BYTES:]


def encode_frame(
    previous: bytes, salt: bytes, commit: int, end: int, pages: Mapping[int, bytes | bytearray]
) -> tuple[bytes, bytes]:
    """A whole frame, and its digest."""
    numbers = sorted(pages)
    start = frame_start(salt, commit, end, numbers)
    digest = frame_digest(previous, start)
    for number in numbers:
        digest.update(pages[number])
    done = digest.digest()
    return b"".join([with_digest(start, done), *(pages[number] for number in numbers)]), done


@dataclass(frozen=True)
class FrameStart:
    """A frame's header: how many pages, which commit, the new logical end, and its digest."""

    page_count: int
    commit: int
    end: int
    digest: bytes


def decode_frame_start(header: bytes, salt: bytes) -> FrameStart | None:
    """The header of a frame of this generation; None for anything else. Its digest is not yet checked."""
    if len(header) < FRAME_HEADER_BYTES:
        return None
    magic, page_count, _, commit, end, found_salt = _FRAME.unpack(header[: _FRAME.size])
    if magic != _FRAME_MAGIC or found_salt != salt:
        return None
    return FrameStart(page_count, commit, end, header[_FRAME.size : FRAME_HEADER_BYTES])


def page_numbers(start: bytes, page_count: int) -> tuple[int, ...]:
    """The page numbers in a frame's start."""
    return struct.unpack_from(f"<{page_count}Q", start, FRAME_HEADER_BYTES)


def superblock_end(start: bytes | bytearray) -> int | None:
    """The end of the file that an HDF5 superblock gives; None where there is none at offset 0, or it is sealed."""
    if start[: len(SIGNATURE)] != SIGNATURE or len(start) < 56:
        return None
    offset = {0: 40, 1: 44, 2: 28, 3: 28}.get(start[8])
    width = start[13] if start[8] < 2 else start[9]
    if offset is None or width != 8:
        return None
    return int.from_bytes(start[offset : offset + 8], "little")


def is_sealed(start: bytes) -> bool:
    """Whether a file begins as ours does while pages are being applied to it."""
    return start[: len(SEAL)] == SEAL and any(start[len(SEAL) :])


def round_up(value: int, unit: int) -> int:
    """The next multiple of a unit."""
    return -(-value // unit) * unit


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=DIGEST_BYTES).digest()
