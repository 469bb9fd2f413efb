"""Show the journal beside an HDF5 file, and write the file as of its newest commit: read_journal.py FILE [NEWEST].

Written from docs/reference/journal-format.md alone, with nothing but what Python brings.
"""

import fcntl
import os
import struct
import sys
from collections import namedtuple
from hashlib import blake2b

PAGE, SECTOR = 4096, 512
HEADER, FRAME = struct.Struct("<8sII6QII16s16s"), struct.Struct("<8sIIQQ16s16s")
FIELDS = "magic version page generation base_end file_end commit device inode pid flags salt digest"
Header = namedtuple("Header", FIELDS)


def headers(journal):
    """The valid headers; the one that holds comes last."""
    slots = [os.pread(journal, HEADER.size, offset) for offset in (0, SECTOR)]
    whole = [HEADER.unpack(slot) for slot in slots if blake2b(slot[:88], digest_size=16).digest() == slot[88:]]
    valid = [Header(*fields) for fields in whole if fields[:3] == (b"MULLETJ1", 1, PAGE)]
    return sorted(valid, key=lambda header: header.generation)


def frames(journal, header):
    """Offset, commit, end, and images by page, of each whole frame of a generation."""
    offset, previous = 2 * SECTOR, header.salt
    while len(start := os.pread(journal, FRAME.size, offset)) == FRAME.size:
        magic, count, _, commit, end, salt, digest = FRAME.unpack(start)
        images = -(-(FRAME.size + 8 * count) // SECTOR) * SECTOR
        length = images + PAGE * count
        if (magic, salt) != (b"MULLETF1", header.salt) or offset + length > os.fstat(journal).st_size:
            return
        frame = os.pread(journal, length, offset)
        pages = struct.unpack_from(f"<{count}Q", frame, FRAME.size)
        sound = blake2b(previous + frame[:48] + frame[64:], digest_size=16).digest() == digest
        if not sound or list(pages) != sorted(set(pages)):
            return
        yield offset, commit, end, {page: frame[images + PAGE * k :][:PAGE] for k, page in enumerate(pages)}
        offset, previous = offset + length, digest


def snapshot(path):
    """Headers and frames that belong together: read again if a new generation began meanwhile."""
    with open(path, "rb") as journal:
        while True:
            found = headers(journal.fileno())
            read = list(frames(journal.fileno(), found[-1])) if found else []
            if headers(journal.fileno())[-1:] == found[-1:]:
                return found, read


def main(path, newest=None):
    """Print the journal of the file at a path, and write its newest image to another."""
    journal = os.path.realpath(path) + "-journal"
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # before the journal: from here on, nothing that counts changes in the file
        found, read = snapshot(journal) if os.path.exists(journal) else ([], [])
        inode, image = os.fstat(file.fileno()).st_ino, bytearray(file.read())
    for header in found:
        print(f"generation {header.generation}: commit {header.commit}, end {header.base_end}, writer {header.pid}")
    for offset, commit, end, images in read:
        print(f"frame at {offset}: commit {commit}, end {end}, pages {' '.join(map(str, images))}")
        image = image.ljust(PAGE * (max(images, default=0) + 1), b"\0")
        for page, content in images.items():
            image[PAGE * page : PAGE * (page + 1)] = content
    if found and found[-1].inode == inode:
        image = image[: read[-1][2] if read else found[-1].base_end]
    elif read:
        sys.exit(f"{journal} holds commits of another file than the present {path}")
    if newest is not None:
        with open(newest, "wb") as output:
            output.write(image)


if __name__ == "__main__":
    main(*sys.argv[1:])
