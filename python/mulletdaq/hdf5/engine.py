"""The commit engine: several rings into one file, in any thread or process."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from mulletdaq.errors import FileFormatError, FileWriteError, MulletError, RingError
from mulletdaq.hdf5.ledger import Annotations, Losses
from mulletdaq.hdf5.messages import Note
from mulletdaq.hdf5.options import EngineOptions
from mulletdaq.hdf5.statistics import WriterStatistics
from mulletdaq.hdf5.storage import HDF5_ERRORS, Storage, one_line
from mulletdaq.hdf5.stream import Stream

_ALL_ROWS = 1 << 62
_DISK_MARGIN_BYTES = 256 << 10


class Engine:
    """Brings rings into a file, one commit after the other.

    Raises
    ------
    FileError, RingError, SchemaError
        If the file or a ring cannot be opened, or a schema cannot be stored.

    Notes
    -----
    To be used by one thread. Whoever makes one closes it, on every path.
    """

    def __init__(self, options: EngineOptions) -> None:
        self.options = options
        self.commits = 0
        self._notes: list[Note] = []
        self._last_commit_ns = 0
        self._next_due = time.monotonic() + options.flush_interval_s
        self._uncommitted = False
        self._streams: list[Stream] = []
        try:
            for name, ring in options.rings.items():
                self._streams.append(Stream(name, ring.path, ring.stream_id))
            self._storage = self._open_storage()
        except BaseException:
            for stream in self._streams:
                stream.close()
            raise
        try:
            self._open_streams()
        except BaseException:
            self.close()
            raise

    def due(self, *, by_backlog: bool = True) -> bool:
        """Whether it is time to commit: the interval is over, or a quarter of a ring waits."""
        if time.monotonic() >= self._next_due:
            return True
        return by_backlog and any(
            stream.backlog_bytes * 4 >= stream.ring.capacity_bytes for stream in self._living_streams()
        )

    def commit(self, until: Mapping[str, int] | None = None) -> bool:
        """Bring what the rings hold into the file.

        Parameters
        ----------
        until
            For each stream the row before which to stop; all there is when None.

        Returns
        -------
        bool
            False when there was nothing to do.

        Raises
        ------
        FileWriteError
            If the file could not be written. The rows stay in memory and in the ring; call again.
        """
        began_ns = time.time_ns()
        self._next_due = max(self._next_due + self.options.flush_interval_s, time.monotonic())
        with self._write_errors():
            self._collect(until)
            if not self._uncommitted and not self._unwritten():
                self._persisted_until_ns = began_ns
                return False
            self._check_room()
            self._uncommitted = True
            self._write()
            self._storage.settle()
            for stream in self._streams:
                stream.store_cursor()
            self._storage.commit()
            self._uncommitted = False
        self._release()
        self.commits += 1
        self._last_commit_ns = time.time_ns()
        self._persisted_until_ns = began_ns
        return True

    def drain(self, rows: Mapping[str, int]) -> None:
        """Commit until every stream has its row of ``rows``, or nothing more is there.

        Parameters
        ----------
        rows
            The row before which to stop, by stream; a stream not named goes to the end of its ring as it is now.

        Raises
        ------
        FileWriteError
            If the file could not be written.
        MulletError
            The failure of a stream whose ring or schema is beyond writing.
        """
        rows = {**self.heads(), **rows}
        while self.commit(rows):
            pass
        for stream in self._streams:
            failure = stream.kept_from(rows.get(stream.name, 0))
            if failure is not None:
                raise failure

    def settle(self) -> None:
        """After the last drain: show in the rings that nothing of them is missing in the file."""
        for stream in self._living_streams():
            with suppress(RingError):
                stream.settle()

    def heads(self) -> dict[str, int]:
        """For each stream the number of rows written to its ring so far, an open frame's included."""
        heads = {}
        for stream in self._living_streams():
            heads[stream.name] = _ALL_ROWS  # of a ring that cannot be read: the drain meets what is wrong, and tells
            with suppress(RingError):
                heads[stream.name] = stream.ring.newest_row
        return heads

    def annotate(self, note: Note) -> None:
        """Keep a note for the next commit."""
        self._notes.append(note)

    def failures(self) -> list[Exception]:
        """What ended single streams, in their order."""
        return [stream.failure for stream in self._streams if stream.failure is not None]

    def producing(self) -> bool:
        """Whether a producer of any ring lives."""
        return any(stream.ring.producer_alive for stream in self._living_streams())

    def statistics(self) -> WriterStatistics:
        """Counts as of the last commit."""
        now_ns = time.time_ns()
        if not self._uncommitted and not any(stream.waiting for stream in self._living_streams()):
            self._persisted_until_ns = now_ns
        streams = {stream.name: stream.statistics() for stream in self._streams}
        return WriterStatistics(
            rows_persisted=sum(stream.rows_persisted for stream in streams.values()),
            rows_lost=sum(stream.rows_lost for stream in streams.values()),
            batches=sum(stream.batches for stream in streams.values()),
            commits=self.commits,
            file_bytes=self._storage.file.id.get_filesize(),
            last_commit_ns=self._last_commit_ns,
            persisted_until_ns=self._persisted_until_ns,
            streams=streams,
        )

    def close(self) -> None:
        """Close file and rings; harmless when closed.

        Raises
        ------
        FileWriteError
            If HDF5 could not write what it still held.
        """
        streams, self._streams = self._streams, []
        try:
            with self._write_errors():
                self._storage.close()
        finally:
            for stream in streams:
                stream.close()

    def _open_storage(self) -> Storage:
        options = self.options
        return Storage(
            options.path,
            creator=options.creator,
            metadata=options.metadata,
            fsync=options.fsync,
            lock_timeout_s=options.lock_timeout_s,
        )

    def _open_streams(self) -> None:
        file = self._storage.file
        run_metadata = {} if self._storage.created else self.options.metadata
        self._persisted_until_ns = time.time_ns()
        try:
            losses = Losses(file)
            self._annotations = Annotations(file)
            for stream in self._streams:
                stream.open(file, losses, self.options.filters, run_metadata)
        except MulletError:
            raise
        except HDF5_ERRORS as error:
            message = f"{self.options.path} is damaged: {one_line(error)}; move it away and write to another file"
            raise FileFormatError(message) from error
        with self._write_errors():
            self._storage.commit()
        self._release()

    def _collect(self, until: Mapping[str, int] | None) -> None:
        for stream in self._living_streams():
            try:
                stream.collect(None if until is None else until.get(stream.name, 0))
            except MulletError as error:
                stream.failure = error

    def _unwritten(self) -> bool:
        return bool(self._notes) or any(stream.unwritten for stream in self._streams)

    def _write(self) -> None:
        for stream in self._streams:
            stream.write()
        while self._notes:
            self._annotations.append(self._notes[0], {stream.name: stream.run_number for stream in self._streams})
            self._notes.pop(0)

    def _release(self) -> None:
        for stream in self._living_streams():
            try:
                stream.release()
            except MulletError as error:
                stream.failure = error

    def _living_streams(self) -> list[Stream]:
        return [stream for stream in self._streams if stream.failure is None]

    def _check_room(self) -> None:
        """Find a full disk before HDF5 does: what it has half written no one can read."""
        needed_bytes = sum(stream.pending_bytes for stream in self._streams) + _DISK_MARGIN_BYTES
        disk = os.statvfs(os.path.dirname(os.path.abspath(self.options.path)))
        free_bytes = disk.f_bavail * disk.f_frsize
        if disk.f_blocks and free_bytes < needed_bytes:
            raise OSError(f"its disk is full: {free_bytes} bytes free, {needed_bytes} needed")

    @contextmanager
    def _write_errors(self) -> Iterator[None]:
        try:
            yield
        except MulletError:
            raise
        except HDF5_ERRORS as error:
            message = f"cannot write {self.options.path}: {one_line(error)}; the ring keeps what is not written"
            raise FileWriteError(message) from error


__all__ = ["Engine"]
