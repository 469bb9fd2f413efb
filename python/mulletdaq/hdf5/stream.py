"""One stream on its way into the file: what was read, what is written, what is committed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mulletdaq.errors import FrameCorruptError, RingError
from mulletdaq.hdf5.batch_table import BatchTable
from mulletdaq.hdf5.chain import Earlier
from mulletdaq.hdf5.columns import Column, columns_of
from mulletdaq.hdf5.continuous import ContinuousLayout, begin_data
from mulletdaq.hdf5.layouts import Batch, BatchLayout, Layout, check_place
from mulletdaq.hdf5.ledger import (
    Losses,
    Place,
    Run,
    Runs,
    begin_run,
)
from mulletdaq.hdf5.options import Filters, RemoteAddress, RingAddress
from mulletdaq.hdf5.row_source import open_source
from mulletdaq.hdf5.statistics import StreamStatistics
from mulletdaq.ring import Loss

MAX_BATCH_BYTES = 64 << 20
"""A larger backlog is written in several batches, so that memory stays bounded."""


@dataclass(frozen=True)
class Target:
    """The file being written, with its ledger of losses, its table of batches and its runs."""

    file: Any
    losses: Losses
    table: BatchTable
    runs: Runs


class Stream:
    """Reads one source and writes its rows; the engine decides when.

    :meth:`collect` reads rows into memory, :meth:`write` puts them into the file with the cursor, :meth:`committed`
    lets go of them once the commit stands, :meth:`release` frees the ring. After a failed commit the file is back at
    the one before: :meth:`bind` looks at it anew, and :meth:`write` comes again.

    Parameters
    ----------
    name
        Name in the file; empty for a file's only stream.
    address
        Where its rows come from; opened here.
    layout
        Of a new run; one that was begun goes on as it is.

    Raises
    ------
    MulletError
        As :func:`~mulletdaq.hdf5.row_source.open_source`.
    """

    def __init__(self, name: str, address: RingAddress | RemoteAddress, layout: str = "batches") -> None:
        self.name = name
        self._continuous = layout == "continuous"
        self._backlog_rows = 0
        self.failure: Exception | None = None
        self.holds_back = False
        self.source = open_source(address)
        self._earlier: Mapping[int, Earlier] = {}
        self._run: Run | None = None
        self._layout: Layout | None = None
        self._pending: list[Batch] = []
        self._losses: list[Loss] = []
        self._content = "none"
        try:
            self._learn_content()  # what cannot be stored is refused before a file is made for it
        except BaseException:
            self.source.close()
            raise

    def open(
        self,
        target: Target,
        filters: Filters,
        metadata: Mapping[str, Any],
        earlier: Mapping[int, Earlier],
    ) -> None:
        """Go on where the file, or one before it, says; or prepare a new run.

        Parameters
        ----------
        target
            The file.
        filters, metadata
            How larger datasets of new runs are stored, and what to say of them.
        earlier
            What files before this one hold, by stream id; it grows as files are added.
        """
        self._filters, self._metadata, self._earlier = filters, metadata, earlier
        runs = {number: one.run for number, one in earlier.items() if one.run is not None} | target.runs.newest()
        self.source.begin({number: run.place for number, run in runs.items()})
        self.bind(target)
        self._go_on()
        self._begin_run()

    def _go_on(self) -> None:
        """Set out from where the source is."""
        self._row, self._start = self.source.row, self._place
        with suppress(RingError):  # the first read tells what is wrong
            self._backlog_rows = self.source.lag_rows

    @property
    def _place(self) -> Place:
        return Place(self.source.row, self.source.position, self.source.sequence, self.source.origin)

    def bind(self, target: Target) -> None:
        """Go on with a file as it is at its last commit."""
        self._target, self._file = target, target.file
        self._run = target.runs.find(self.source.stream_id)
        if self._run is not None:
            self._layout = self._layout_of(self._run)
        elif self.name:
            check_place(target.file, self.name)
        self._count()

    def move(self, target: Target) -> None:
        """Go on in another file, right behind what the last commit put into the one before."""
        self._start = self._place
        self.bind(target)
        self._begin_run()

    def _turn(self) -> None:
        """Leave a ring whose rows are all in the file for the one that took its place."""
        self._run, self._layout, self._content = None, None, "none"
        self.bind(self._target)
        self._go_on()

    def _layout_of(self, run: Run) -> Layout:
        if not run.data:
            return BatchLayout(self._file, run.stream, self._columns(growing=False), self._filters)
        columns = self._columns(growing=True)
        target = self._target
        return ContinuousLayout(self._file, run, columns, self._filters, target.table, target.runs, self._backlog_rows)

    def _columns(self, *, growing: bool) -> list[Column] | None:
        return columns_of(self.source.schema, growing=growing) if self.source.content == "arrow" else None

    def _learn_content(self) -> bool:
        """Whether there is anything that can be stored; UnsupportedTypeError or SchemaError if it cannot."""
        if self._content == "none":
            content = self.source.content
            if content == "arrow":
                columns_of(self.source.schema)
            self._content = content
        return self._content != "none"

    def _begin_run(self) -> None:
        if self._run is not None or self._content == "none":
            return
        schema = self.source.schema if self._content == "arrow" else None
        attributes: Mapping[str, Any] = {}
        runs = self._target.runs
        number = runs.next_number
        if self._continuous:
            attributes = begin_data(self._file, self.name, number, schema, self._columns(growing=True), runs)
        self._run = begin_run(
            self._file,
            self.name,
            self.source.stream_id,
            number=number,
            schema=schema,
            start=self._start,
            start_ns=self.source.created_ns,
            metadata=self._metadata,
            attributes=attributes,
        )
        runs.add(self._run)
        self._layout = self._layout_of(self._run)

    @property
    def run_number(self) -> int:
        """Number of the run, 0 before it begins."""
        return 0 if self._run is None else self._run.number

    def kept_from(self, rows: int) -> Exception | None:
        """The failure of this stream, if it kept a row below ``rows`` from the file."""
        if self.failure is not None:
            return self.failure if self.source.row < rows or self.unwritten else None
        return self.source.kept

    @property
    def ring_fill(self) -> float:
        """Share of the ring that is not yet in the file, 0 to 1."""
        return self.source.fill(-1 if self._run is None else self._run.ring_position)

    @property
    def waiting(self) -> bool:
        """Whether there is anything that the file does not have."""
        return self.unwritten or self._asked(lambda: bool(self.source.lag_rows))

    @property
    def behind(self) -> bool:
        """The same, or whether there may be, where that is not seen from here."""
        return self.unwritten or self._asked(lambda: self.source.behind)

    def _asked(self, question: Callable[[], bool]) -> bool:
        try:
            return question()
        except RingError:
            return False  # the next collect tells why, as this stream's failure

    @property
    def unwritten(self) -> bool:
        """Whether something was read and not yet written."""
        return bool(self._pending or self._losses)

    @property
    def rows_in_file(self) -> int:
        """Rows of this stream in the file being written, as of the last commit."""
        return 0 if self._run is None else self._run.rows

    def collect(self, until_row: int | None, file_rows: int | None = None) -> None:
        """Read new rows into memory, up to ``until_row`` or a batch's bound; nothing while some are unwritten.

        Parameters
        ----------
        until_row
            The row before which to stop; where there are no more when None.
        file_rows
            How many rows the file may have; any number when None.

        Raises
        ------
        RingError
            If they can no longer be read.
        UnsupportedTypeError, SchemaError
            If its schema, just learned, cannot be stored; no row was read.
        """
        if self.unwritten:
            return
        if self.source.turn():
            self._turn()
        if not self._learn_content():
            return
        if until_row is not None:
            until_row = self.source.limit(until_row)
        if file_rows is not None:
            end = self.source.row + file_rows - self.rows_in_file
            until_row = end if until_row is None else min(until_row, end)
        until_row = self._stop_row(until_row)
        source, collected = self.source, 0
        while collected < MAX_BATCH_BYTES and (until_row is None or source.row < until_row):
            position = source.position
            try:
                piece = source.read(None if until_row is None else until_row - source.row)
            except FrameCorruptError:
                if source.position == position:
                    raise
                continue  # it went on behind it, and counts its rows as lost
            self._losses += source.take_losses()
            if piece is None:
                break
            collected += self._keep(piece)

    def _stop_row(self, until_row: int | None) -> int | None:
        """Where the layout wants a commit to end; the rows behind are there for the next one."""
        self.holds_back = False
        if self._layout is None:
            return until_row
        try:
            available = self.source.lag_rows
        except RingError:
            return until_row  # the read tells
        if until_row is not None:
            available = min(available, until_row - self.source.row)
        taken = self._layout.rows_now(max(0, available))
        self.holds_back = taken < available
        return int(self.source.row + taken) if self.holds_back else until_row

    def write(self) -> None:
        """Write what was collected, with the losses, and where to go on after it."""
        self._begin_run()
        run = self._run
        if run is None or self._layout is None:
            return
        for batch in self._pending:
            self._layout.append(run, batch)
            run.rows += batch.rows
        if self._losses:
            self._target.losses.append(run.number, self._losses)
            run.lost_rows += sum(loss.rows for loss in self._losses)
        place = self._place
        run.next_row, run.ring_position, run.ring_sequence = place.row, place.position, place.sequence
        run.store_cursor()

    def committed(self) -> None:
        """The commit stands: what was written need not be kept."""
        self._pending, self._losses = [], []
        self._count()

    def release(self) -> None:
        """After a commit: let the producer overwrite what is in the file."""
        if self._run is not None:
            self.source.release(self._run.ring_position)

    def settle(self) -> None:
        """Show at the end that nothing is missing in the file."""
        self.source.settle(unwritten=self.unwritten)

    def statistics(self) -> StreamStatistics:
        """Counts as of the last commit."""
        return self._counts

    def _count(self) -> None:
        run, earlier = self._run, self._earlier.get(self.source.stream_id, Earlier())
        if run is None or self._layout is None:
            next_row = 0 if earlier.run is None else earlier.run.next_row
            self._counts = StreamStatistics(0, earlier.rows, earlier.lost_rows, 0, next_row)
        else:
            rows, lost_rows = earlier.rows + run.rows, earlier.lost_rows + run.lost_rows
            self._counts = StreamStatistics(run.number, rows, lost_rows, self._layout.batches, run.next_row)

    def close(self) -> None:
        """Let go of the source."""
        self.source.close()

    def _keep(self, piece: Any) -> int:
        if isinstance(piece, bytes):
            rows, nbytes, piece = 1, len(piece), (self.source.timestamp_ns, piece)
        else:
            # What its buffers take; nbytes, what its rows take of them, costs as much as a tenth of writing them.
            rows, nbytes = piece.num_rows, piece.get_total_buffer_size()
        first_row = self.source.row - rows
        if not self._pending or first_row != self._row:
            self._pending.append(Batch(first_row, lost_rows=first_row - self._row))
        batch = self._pending[-1]
        batch.pieces.append(piece)
        batch.rows += rows
        batch.nbytes += nbytes
        batch.ring_position = self.source.position
        self._row = self.source.row
        return nbytes


__all__ = ["MAX_BATCH_BYTES", "Stream", "Target"]
