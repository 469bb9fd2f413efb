"""The bytes of the commit under way: small changes to what is committed, and what is new behind it."""

from __future__ import annotations

from mulletdaq.errors import FileWriteError
from mulletdaq.hdf5.journal import disk
from mulletdaq.hdf5.journal.fileobject import FileObject, lay_over, load
from mulletdaq.hdf5.journal.frames import Journal
from mulletdaq.hdf5.journal.layout import PAGE_BYTES, round_up


class Transaction(FileObject):
    """Keeps what HDF5 writes below FILE's end in memory, and puts what lies behind the end straight into FILE.

    Nobody looks behind the end until a commit moves it; below it FILE stays as it was at the last commit.

    Parameters
    ----------
    path
        FILE's name in messages.
    durable
        Whether to have every step on the disk before the next.

    Attributes
    ----------
    _changes
        Pages below the end as this transaction has them.
    _floor
        The highest end that any reader may hold FILE to have; grows until pending commits are applied.
    _extent
        FILE is at least this long.
    _straight
        Whether anything was written to FILE since its last fsync.
    """

    _journal: Journal

    def __init__(self, path: str, *, durable: bool) -> None:
        super().__init__()
        self.path = path
        self._durable = durable
        self._fd = -1
        self._changes: dict[int, bytearray] = {}
        self._floor = self._extent = 0
        self._straight = False

    @property
    def end(self) -> int:
        """The size of the file as of the last commit, in bytes."""
        return self._journal.contents.end

    @property
    def last_commit(self) -> int:
        """Number of the last commit that stands; tells after :meth:`rollback` whether a failed one went through."""
        return self._journal.contents.commit

    @property
    def pending(self) -> bool:
        """Whether commits wait to be applied to FILE."""
        return self._journal.pending_commits > 0

    def _drop_changes(self) -> None:
        self._changes.clear()
        self._straight = False

    def _sync_file(self) -> None:
        """Have what was written straight on the disk."""
        if self._durable:
            disk.sync(self._fd)
        self._straight = False

    def _cut_to(self, end: int) -> None:
        """Cut off what a commit that never was had begun.

        At a page's end: a cut within one has the file system write that page again, and a power cut could tear what is
        committed there.
        """
        end = round_up(end, PAGE_BYTES)
        if disk.size(self._fd) > end:
            disk.cut(self._fd, end)
        self._extent = min(self._extent, end)

    def _load(self, view: memoryview, offset: int) -> None:
        load(self._fd, view, offset)
        if self._changes or self._journal.contents.index:
            lay_over(view, offset, self._image)

    def _store(self, view: memoryview, offset: int) -> None:
        if self._failure is not None:
            self._change(view, offset)  # of a commit that will not be; HDF5 may still want to read it
            return
        boundary = round_up(self._floor, PAGE_BYTES)
        below = max(0, min(len(view), boundary - offset))
        if below:
            self._change(view[:below], offset)
        if below < len(view):
            try:
                self._check_length()
                self._straight = True
                disk.write_at(self._fd, view[below:], offset + below)
                self._extent = max(self._extent, offset + len(view))
            except BaseException as error:
                self._fail(error)
                self._change(view[below:], offset + below)

    def _check_length(self) -> None:
        """Before writing to FILE: after a cut that would make it long again, with a hole where commits were."""
        if disk.size(self._fd) < self._extent:
            raise FileWriteError(f"{self.path} was cut short by another program; restore it from a copy")

    def _change(self, view: memoryview, offset: int) -> None:
        done = 0
        while done < len(view):
            number, start = divmod(offset + done, PAGE_BYTES)
            count = min(len(view) - done, PAGE_BYTES - start)
            page = self._changes.get(number)
            if page is None:
                page = bytearray(PAGE_BYTES) if count == PAGE_BYTES else bytearray(self._committed(number))
                self._changes[number] = page
            page[start : start + count] = view[done : done + count]
            done += count

    def _changed_pages(self) -> dict[int, bytearray]:
        """The changes that change anything."""
        return {number: page for number, page in self._changes.items() if page != self._committed(number)}

    def _image(self, number: int) -> bytes | bytearray | None:
        """A page as HDF5 sees it; None where FILE has it."""
        page = self._changes.get(number)
        return self._journal.image(number) if page is None else page

    def _committed(self, number: int) -> bytes:
        """A page as of the last commit."""
        image = self._journal.image(number)
        if image is None:
            image = disk.read_at(self._fd, PAGE_BYTES, number * PAGE_BYTES).ljust(PAGE_BYTES, b"\0")
        return image


__all__ = ["Transaction"]
