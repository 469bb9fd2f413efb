"""The commit engine: several streams into one file, in any thread or process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress

from mulletdaq.errors import FileError, FileFormatError, FileWriteError, MulletError, RingError, WriterError
from mulletdaq.hdf5.batch_table import BatchTable
from mulletdaq.hdf5.chain import continue_chain, open_chain, rotation_due
from mulletdaq.hdf5.journal import JournalStatistics, undisturbed
from mulletdaq.hdf5.ledger import Annotations, Losses, Runs
from mulletdaq.hdf5.messages import Note
from mulletdaq.hdf5.options import EngineOptions
from mulletdaq.hdf5.row_source import RowSource
from mulletdaq.hdf5.statistics import WriterStatistics
from mulletdaq.hdf5.storage import HDF5_ERRORS, Storage, one_line, open_output, write_errors
from mulletdaq.hdf5.stream import Stream, Target
from mulletdaq.hdf5.templates import escaped

_ALL_ROWS = 1 << 62
_OWED_POLL_S = 0.01


class Engine:
    """Brings streams into a file, one commit after the other.

    Attributes
    ----------
    commits
        How many were made.
    rotation_error
        Why no other file can be begun, though it is time; empty otherwise.

    Raises
    ------
    FileError, RingError, SchemaError
        If the file or a ring cannot be opened, or a schema cannot be stored.

    Notes
    -----
    To be used by one thread. Whoever makes one closes it, on every path.
    """

    def __init__(self, options: EngineOptions) -> None:
        self.options, self.commits = options, 0
        self._notes: list[Note] = []
        self._last_note = self._last_commit_ns = 0
        self._next_due = time.monotonic() + options.flush_interval_s
        self._broken, self.rotation_error = False, ""
        self._streams: list[Stream] = []
        try:
            for name, ring in options.rings.items():
                self._streams.append(Stream(name, ring, options.layout))
            self._chain = open_chain(options.path, self._open_storage)
        except BaseException:
            for stream in self._streams:
                stream.close()
            raise
        try:
            self._open_streams()
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> str:
        """The file being written: the output, or one that continues it."""
        return self._chain.storage.path

    @property
    def held(self) -> bool:
        """Whether readers hold a file that this one continues."""
        return bool(self._chain.held)

    @property
    def set_aside(self) -> str:
        """New name of a journal that lay here, of a file that is gone; empty if there was none."""
        return self._chain.storage.set_aside

    @property
    def pending(self) -> bool:
        """Whether commits wait for readers to let go of the file."""
        return self._chain.pending

    @property
    def pending_paths(self) -> list[str]:
        """The files for which they wait."""
        return self._chain.pending_paths

    @property
    def ring_fill(self) -> float:
        """Share of the fullest ring that is not in the file, 0 to 1."""
        return max((stream.ring_fill for stream in self._living_streams()), default=0.0)

    def due(self, *, by_backlog: bool = True) -> bool:
        """Whether it is time to commit: the interval is over, or a quarter of a ring waits."""
        full = by_backlog and any(source.backlog_due for source in self.sources.values())
        return full or time.monotonic() >= self._next_due

    def commit(self, until: Mapping[str, int] | None = None) -> bool:
        """Bring what the rings hold into the file, all or nothing.

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
            If the file could not be written. It is at its last commit, the rows stay in memory and in the ring; call
            again.
        """
        began_ns = time.time_ns()
        now, interval_s = time.monotonic(), self.options.flush_interval_s
        self._next_due = min(max(self._next_due + interval_s, now), now + interval_s)
        with undisturbed():
            if self._broken:
                self._roll_back()
            self._rotate_if_due()
            self._collect(until)
            if not self._unwritten():
                self._note_persisted(began_ns)
                return False
            try:
                with self._write_errors():
                    self._write()
                    self._chain.storage.commit()
            except BaseException:
                self._broken = True
                stands = False
                with suppress(FileWriteError):  # the next commit begins with it otherwise
                    stands = self._roll_back()
                if not stands:
                    raise
            else:
                self._committed()
        self._note_persisted(began_ns)
        return True

    def apply(self) -> None:
        """Try again to bring waiting commits into the file."""
        if self.pending and not self._broken:
            try:
                self._chain.apply()
            except FileWriteError:
                self._broken = True  # the next commit tells

    def drain(
        self,
        rows: Mapping[str, int],
        timeout_s: float | None = None,
        tell: Callable[[], None] = lambda: None,
        *,
        ask: bool = True,
    ) -> None:
        """Commit until every stream has its row of ``rows``, or nothing more is there.

        Parameters
        ----------
        rows
            The row before which to stop, by stream; a stream not named goes to the newest row as it is now.
        timeout_s
            How long that may take; a commit under way is finished. None has no limit.
        tell
            Called after each commit.
        ask
            Whether sources elsewhere are asked how far they are, and waited for; else they end.

        Raises
        ------
        FileWriteError
            If the file could not be written.
        WriterError
            If time was over before; the ring keeps the rest.
        MulletError
            The failure of a stream whose ring or schema is beyond writing, or that could not be reached.
        """
        rows = {**self._heads(ask=ask), **rows}
        deadline = time.monotonic() + (math.inf if timeout_s is None else timeout_s)
        while (committed := self.commit(rows)) | any(source.owes for source in self.sources.values()):
            tell() if committed else time.sleep(_OWED_POLL_S)
            if time.monotonic() >= deadline:
                raise WriterError(
                    f"could not bring everything into {self.path} within {timeout_s:g} s; the ring keeps the rest"
                )
        for stream in self._streams:
            failure = stream.kept_from(rows.get(stream.name, 0))
            if failure is not None:
                raise failure

    def settle(self) -> None:
        """After the last drain: show in the rings that nothing of them is missing in the file."""
        for stream in self._living_streams():
            with suppress(RingError):
                stream.settle()

    def _heads(self, *, ask: bool) -> dict[str, int]:
        """For each stream the number of rows written to its ring so far, an open frame's included."""
        heads = {}
        for stream in self._living_streams():
            heads[stream.name] = _ALL_ROWS  # of a ring that cannot be read: the drain meets what is wrong, and tells
            with suppress(RingError):
                heads[stream.name] = stream.source.head(ask=ask)
        return heads

    def annotate(self, note: Note) -> None:
        """Keep a note for the next commit."""
        self._notes.append(note)

    def failures(self) -> list[Exception]:
        """What ended single streams, in their order."""
        return [stream.failure for stream in self._streams if stream.failure is not None]

    def producing(self) -> bool:
        """Whether a producer of any ring here lives."""
        return any(stream.source.producing for stream in self._living_streams())

    @property
    def sources(self) -> dict[str, RowSource]:
        """Where the rows of each stream come from."""
        return {stream.name: stream.source for stream in self._living_streams()}

    def statistics(self) -> WriterStatistics:
        """Counts as of the last commit."""
        now_ns = time.time_ns()
        behind = self._unwritten() or any(stream.behind for stream in self._living_streams())
        if not behind:
            self._persisted_until_ns = now_ns
        streams = {stream.name: stream.statistics() for stream in self._streams}
        journal = self.journal_statistics()
        return WriterStatistics(
            rows_persisted=sum(stream.rows_persisted for stream in streams.values()),
            rows_lost=sum(stream.rows_lost for stream in streams.values()),
            batches=sum(stream.batches for stream in streams.values()),
            commits=self.commits,
            lag_s=max(0, now_ns - self._persisted_until_ns) / 1e9 if behind else 0.0,
            file_bytes=self._chain.storage.size_bytes,
            last_commit_ns=self._last_commit_ns,
            persisted_until_ns=self._persisted_until_ns,
            ring_fill=self.ring_fill,
            path=self.path,
            pending_commits=journal.pending_commits,
            apply_lag_s=journal.apply_lag_s,
            journal_bytes=journal.journal_bytes,
            apply_error=journal.apply_error,
            last_note=self._last_note,
            streams=streams,
        )

    def journal_statistics(self) -> JournalStatistics:
        """Counts of the journal of the file being written."""
        return self._chain.storage.journal_statistics()

    def close(self, *, ended: bool = False) -> None:
        """Close file and rings, saying in the file whether all is there; harmless when closed.

        Raises
        ------
        FileWriteError
            If another program wrote the file.
        """
        streams, self._streams = self._streams, []
        try:
            with self._write_errors():
                self._chain.close(ended=ended)
        finally:
            for stream in streams:
                stream.close()

    def _open_storage(self, path: str, continues: str) -> Storage:
        return open_output(path, self.options, continues)

    def _open_streams(self) -> None:
        storage = self._chain.storage
        run_metadata = {} if storage.created else self.options.metadata
        self._persisted_until_ns = self._began_ns = time.time_ns()
        with undisturbed():
            try:
                self._bind_ledgers()
                for stream in self._streams:
                    stream.open(self._target, self.options.filters, run_metadata, self._chain.earlier)
            except MulletError:
                raise
            except HDF5_ERRORS as error:
                message = f"{storage.path} is damaged: {one_line(error)}; move it away and write to another file"
                raise FileFormatError(message) from error
            with self._write_errors():
                storage.commit()
        self._release()

    def _bind_ledgers(self) -> None:
        file = self._chain.storage.file
        self._target = Target(file, Losses(file), BatchTable(file), Runs(file))
        self._annotations = Annotations(file)

    def _roll_back(self) -> bool:
        """Go back to the last commit, which the failed one may be after all: whether it is."""
        with self._write_errors():
            stands = self._chain.storage.roll_back()
            self._bind_ledgers()
            for stream in self._streams:
                stream.bind(self._target)
        self._broken = False
        if stands:
            self._committed()
        return stands

    def _rotate_if_due(self) -> None:
        """Go on in another file when this one is full; in this one as long as no other can be made."""
        rows = max((stream.rows_in_file for stream in self._streams), default=0)
        due = rotation_due(self._chain.storage, self.options.rotation, rows)
        if due and (self._notes or any(stream.waiting for stream in self._living_streams())):
            self._rotate()

    def rotate(self) -> None:
        """Go on in another file from here, unless this one has no rows yet.

        Raises
        ------
        FileWriteError
            If none can be begun; this one goes on.
        """
        with undisturbed():
            if any(stream.rows_in_file for stream in self._streams) and not self._broken:
                self._rotate()
            if error := self.rotation_error:
                raise FileWriteError(f"no other file can be begun: {error}; {self.path} goes on")

    def _rotate(self) -> None:
        try:
            with self._write_errors():
                template = self.options.template or escaped(self.options.path)
                continue_chain(self._chain, template, self._open_storage)
                self._bind_ledgers()
                for stream in self._streams:
                    stream.move(self._target)
            self.rotation_error = ""
        except FileError as error:
            self.rotation_error = str(error)

    def _collect(self, until: Mapping[str, int] | None) -> None:
        rows = None if self.rotation_error else self.options.rotation.rows
        for stream in self._living_streams():
            try:
                stream.collect(None if until is None else until.get(stream.name, 0), rows)
            except MulletError as error:
                stream.failure = error

    def _unwritten(self) -> bool:
        return bool(self._notes) or any(stream.unwritten for stream in self._streams)

    def _write(self) -> None:
        for stream in self._streams:
            stream.write()
        runs = {stream.name: stream.run_number for stream in self._streams}
        for note in self._notes:
            if not (note.again and self._annotations.has(note)):
                self._annotations.append(note, runs)

    def _note_persisted(self, began_ns: int) -> None:
        """Until when all is in the file: until this commit began, or, where rows are held back, the one before."""
        before_ns, self._began_ns = self._began_ns, began_ns
        streams = self._living_streams()
        if not any(stream.source.trouble for stream in streams):
            self._persisted_until_ns = before_ns if any(stream.holds_back for stream in streams) else began_ns

    def _committed(self) -> None:
        for stream in self._streams:
            stream.committed()
        self._last_note = max([self._last_note, *(note.number for note in self._notes)])
        self._notes = []
        self.commits += 1
        self._last_commit_ns = time.time_ns()
        self._release()

    def _release(self) -> None:
        for stream in self._living_streams():
            try:
                stream.release()
            except MulletError as error:
                stream.failure = error

    def _living_streams(self) -> list[Stream]:
        return [stream for stream in self._streams if stream.failure is None]

    def _write_errors(self) -> AbstractContextManager[None]:
        return write_errors(self.path)


__all__ = ["Engine"]
