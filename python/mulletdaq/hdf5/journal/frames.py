"""The journal itself: one file beside FILE that holds whole commits, each as a frame of pages."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

from mulletdaq.hdf5.journal import disk
from mulletdaq.hdf5.journal.layout import (
    FRAME_HEADER_BYTES,
    FRAMES_OFFSET,
    PAGE_BYTES,
    SALT_BYTES,
    Header,
    decode_frame_start,
    encode_frame,
    frame_bytes,
    frame_digest,
    frame_start,
    images_offset,
    newest_header,
    page_numbers,
    superblock_end,
    with_digest,
)

SUFFIX = "-journal"
_SHRINK_ABOVE_BYTES = 4 << 20


@dataclass
class Contents:
    """What the frames of one generation say together.

    Attributes
    ----------
    commit, end
        Number of the last commit, and FILE's logical end after it.
    index
        For each page the offset in the journal of its newest image.
    tail, digest
        Where the next frame goes, and the digest it continues.
    highest_end
        The largest end of all frames and of the generation's beginning.
    file_ends
        Every end that FILE's own superblock may rightly give.
    """

    commit: int
    end: int
    digest: bytes
    tail: int = FRAMES_OFFSET
    highest_end: int = 0
    index: dict[int, int] = field(default_factory=dict)
    file_ends: set[int] = field(default_factory=set)

    @classmethod
    def at_start(cls, header: Header) -> Contents:
        """What a generation without frames says."""
        return cls(
            commit=header.commit,
            end=header.base_end,
            digest=header.salt,
            highest_end=header.base_end,
            file_ends={header.file_end},
        )


def read_contents(fd: int, header: Header) -> Contents:
    """Follow the frames as far as they are whole."""
    contents = Contents.at_start(header)
    size = disk.size(fd)
    while (start := decode_frame_start(disk.read_at(fd, FRAME_HEADER_BYTES, contents.tail), header.salt)) is not None:
        length = frame_bytes(start.page_count)
        if contents.tail + length > size:
            break
        first_image = images_offset(start.page_count)
        beginning = disk.read_at(fd, first_image, contents.tail)
        numbers = page_numbers(beginning, start.page_count)
        digest = frame_digest(contents.digest, beginning)
        offsets = range(contents.tail + first_image, contents.tail + length, PAGE_BYTES)
        file_end = None
        for number, offset in zip(numbers, offsets, strict=True):
            image = disk.read_at(fd, PAGE_BYTES, offset)
            digest.update(image)
            if number == 0:
                file_end = superblock_end(image)
        if digest.digest() != start.digest or any(first >= second for first, second in pairwise(numbers)):
            break
        contents.index.update(zip(numbers, offsets, strict=True))
        contents.commit, contents.end, contents.digest = start.commit, start.end, start.digest
        contents.highest_end = max(contents.highest_end, start.end)
        contents.tail += length
        if file_end is not None:
            contents.file_ends.add(file_end)
    return contents


def read_header(fd: int) -> Header | None:
    """The header that holds; None in a journal that has none yet."""
    return newest_header(disk.read_at(fd, FRAMES_OFFSET, 0))


class Journal:
    """An open journal, locked against every other writer.

    Parameters
    ----------
    path
        The journal's own path.
    mode
        Permissions of a new one, before the umask.
    durable
        Whether to have every step on the disk before the next.

    Attributes
    ----------
    set_aside
        New name of the journal that lay here before, of a file that is gone; empty if none did.
    suspect
        Set when a write or fsync of the journal failed: what is on the disk is then unknown, and nothing may be
        appended before :meth:`renew`.

    Raises
    ------
    BlockingIOError
        If another process holds it.
    """

    def __init__(self, path: str, mode: int, *, durable: bool) -> None:
        self.path = path
        self._mode = mode
        self.suspect = False
        self.set_aside = ""
        self.header: Header | None = None
        self.contents = Contents(0, 0, b"")
        self._durable = durable
        self.fd = _open_locked(path, mode)
        try:
            disk.unlink_if_there(self._new_path)  # left by a writer that was killed while it renewed the journal
        except BaseException:
            self.close()
            raise

    @property
    def _new_path(self) -> str:
        return f"{self.path}-new"

    def load(self) -> None:
        """Read header and frames from the file."""
        self.header = read_header(self.fd)
        if self.header is not None:
            self.contents = read_contents(self.fd, self.header)

    def forget(self) -> None:
        """Let what the file says count no more, from the next generation on."""
        if self.header is not None:
            self.contents = Contents.at_start(self.header)

    @property
    def pending_commits(self) -> int:
        """Commits that are not yet applied to FILE."""
        return 0 if self.header is None else self.contents.commit - self.header.commit

    def begin(self, header: Header) -> None:
        """Write the header of the next generation; from then on older frames do not count."""
        header = replace(header, salt=disk.random_bytes(SALT_BYTES))
        self.suspect = True
        disk.write_at(self.fd, header.encode(), header.slot_offset)
        self.sync()
        self._take(header, Contents.at_start(header))
        if disk.size(self.fd) > _SHRINK_ABOVE_BYTES:
            disk.cut(self.fd, FRAMES_OFFSET)

    def append(self, pages: Mapping[int, bytes | bytearray], end: int) -> None:
        """Append one commit and have it on the disk. When this returns the commit stands."""
        contents, header = self.contents, self.header
        assert header is not None
        assert not self.suspect
        commit = contents.commit + 1
        frame, digest = encode_frame(contents.digest, header.salt, commit, end, pages)
        self.suspect = True
        disk.write_at(self.fd, frame, contents.tail)
        self.sync()
        self.suspect = False
        first_image = contents.tail + images_offset(len(pages))
        contents.index.update((number, first_image + place * PAGE_BYTES) for place, number in enumerate(sorted(pages)))
        contents.commit, contents.end, contents.digest = commit, end, digest
        contents.highest_end = max(contents.highest_end, end)
        contents.tail += len(frame)
        if 0 in pages and (file_end := superblock_end(pages[0])) is not None:
            contents.file_ends.add(file_end)

    def image(self, number: int) -> bytes | None:
        """The newest image of a page; None when the journal has none."""
        offset = self.contents.index.get(number)
        return None if offset is None else disk.read_at(self.fd, PAGE_BYTES, offset)

    def images(self) -> Iterator[tuple[int, bytes]]:
        """Every page with its newest image, in the order of the pages."""
        for number, offset in sorted(self.contents.index.items()):
            yield number, disk.read_at(self.fd, PAGE_BYTES, offset)

    def worth_renewing(self, limit_bytes: int) -> bool:
        """Whether it is half full, and mostly of images that newer ones have replaced."""
        tail = self.contents.tail
        return 2 * tail >= limit_bytes and 2 * PAGE_BYTES * len(self.contents.index) <= tail

    def renew(self, header: Header) -> None:
        """Put the journal into a new file under the same name: its header, and one frame with the newest images.

        What was read from the old one may be in the system's cache and not on the disk, and an fsync that failed
        once says nothing when it is tried again; a new file that is whole on the disk leaves no doubt.
        """
        header = replace(header, salt=disk.random_bytes(SALT_BYTES))
        path = self._new_path
        disk.unlink_if_there(path)  # left by a try that could not even remove it
        fd = disk.create(path, self._mode)
        try:
            _lock(fd, path)
            disk.write_at(fd, header.encode(), header.slot_offset)
            if self.contents.index:
                self._copy_frames(fd, header)
            if self._durable:
                disk.sync(fd)
            contents = read_contents(fd, header)
            if contents.commit != self.contents.commit:
                raise OSError(errno.EIO, "what was written is not what can be read", path)  # noqa: TRY301
            disk.rename(path, self.path)
        except BaseException:
            disk.close(fd)
            disk.unlink_if_there(path)
            raise
        disk.close(self.fd)
        self.fd = fd
        self._take(header, contents)
        self.suspect = True
        self.sync_folder()
        self.suspect = False

    def _copy_frames(self, fd: int, header: Header) -> None:
        contents = self.contents
        start = frame_start(header.salt, contents.commit, contents.end, sorted(contents.index))
        digest = frame_digest(header.salt, start)
        offset = FRAMES_OFFSET + len(start)
        for _, image in self.images():
            digest.update(image)
            disk.write_at(fd, image, offset)
            offset += PAGE_BYTES
        disk.write_at(fd, with_digest(start, digest.digest()), FRAMES_OFFSET)

    def sync(self) -> None:
        """Have the journal on the disk."""
        if self._durable:
            disk.sync(self.fd)

    def sync_folder(self) -> None:
        """Have the names beside the journal on the disk."""
        if self._durable:
            disk.sync_folder(self.path)

    def remove(self) -> None:
        """Remove the journal: FILE has everything."""
        disk.unlink_if_there(self.path)
        self.sync_folder()

    def remove_if_unused(self) -> None:
        """Remove a journal that never had a header."""
        if self.header is None:
            disk.unlink_if_there(self.path)

    def close(self) -> None:
        """Let go of the journal and its lock."""
        if self.fd >= 0:
            disk.close(self.fd)
            self.fd = -1

    def _take(self, header: Header, contents: Contents) -> None:
        self.header, self.contents, self.suspect = header, contents, False


def _open_locked(path: str, mode: int) -> int:
    while True:
        fd = disk.open_or_create(path, mode)
        try:
            _lock(fd, path)
            if disk.identity_at(path) == disk.identity(fd):
                return fd
        except disk.NoLocksError:
            if disk.size(fd) == 0:
                disk.unlink_if_there(path)  # made just now, and of no use
            disk.close(fd)
            raise
        except BaseException:
            disk.close(fd)
            raise
        disk.close(fd)  # removed or renewed between opening and locking


def _lock(fd: int, path: str) -> None:
    if not disk.lock(fd, exclusive=True):
        raise BlockingIOError(f"{path} is locked by another process")


__all__ = ["SUFFIX", "Contents", "Journal", "read_contents", "read_header"]
