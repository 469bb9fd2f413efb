"""One ring on its way into the file: what was read, what is written, what is committed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from mulletdaq.errors import FrameCorruptError, RingError, RingReplacedError, SinkLockedError
from mulletdaq.hdf5.batch_table import BatchTable
from mulletdaq.hdf5.beginning import first_cursor
from mulletdaq.hdf5.chain import Earlier
from mulletdaq.hdf5.columns import Column, columns_of
from mulletdaq.hdf5.continuous import ContinuousLayout, begin_data
from mulletdaq.hdf5.layouts import Batch, BatchLayout, Layout, check_place
from mulletdaq.hdf5.ledger import Losses, Run, begin_run, data_path, find_run, next_run_number
from mulletdaq.hdf5.options import Filters, RingAddress
from mulletdaq.hdf5.statistics import StreamStatistics
from mulletdaq.ring import Loss, RingBuffer

MAX_BATCH_BYTES = 64 << 20
"""A larger backlog is written in several batches, so that memory stays bounded."""


class Stream:
    """Reads one ring and writes its rows; the engine decides when.

    :meth:`collect` reads rows into memory, :meth:`write` puts them into the file with the cursor, :meth:`committed`
    lets go of them once the commit stands, :meth:`release` frees the ring. After a failed commit the file is back at
    the one before: :meth:`bind` looks at it anew, and :meth:`write` comes again.

    Parameters
    ----------
    name
        Name in the file; empty for a file's only stream.
    address
        The ring, opened here, the id it must have, and where a new run begins.
    layout
        Of a new run; one that was begun goes on as it is.

    Raises
    ------
    RingReplacedError
        If another ring lies at the path.
    """

    def __init__(self, name: str, address: RingAddress, layout: str = "batches") -> None:
        self.name = name
        self._address = address
        self._continuous = layout == "continuous"
        self._backlog_rows = 0
        self.failure: Exception | None = None
        self.holds_back = False
        self.ring = RingBuffer.open(address.path)
        if self.ring.stream_id != address.stream_id:
            self.ring.close()
            raise RingReplacedError(f"{address.path} was made anew since; make a new HDF5Writer for it")
        self.earlier = Earlier()
        self._run: Run | None = None
        self._layout: Layout | None = None
        self._pending: list[Batch] = []
        self._losses: list[Loss] = []
        self._sink: Any = None
        self._cursor: Any = None
        self._content = "none"
        try:
            self._learn_content()  # what cannot be stored is refused before a file is made for it
        except BaseException:
            self.ring.close()
            raise

    def open(self, file: Any, losses: Losses, table: BatchTable, filters: Filters, metadata: Mapping[str, Any]) -> None:
        """Take the sink's lock and go on where the file, or the one before it, says; or prepare a new run."""
        self._filters, self._metadata = filters, metadata
        self._take_sink()
        self.bind(file, losses, table)
        run = self._run or self.earlier.run
        if run is not None:
            self._cursor = self.ring.cursor(
                run.ring_position, start_row=run.next_row, start_sequence=run.ring_sequence, verify=True
            )
        else:
            self._cursor = first_cursor(self.ring, self._address)
        self._row = self._cursor.row
        self._start = (self._row, self._cursor.position, self._cursor.sequence)
        with suppress(RingError):  # the first read tells what is wrong
            self._backlog_rows = self._cursor.lag_rows
        self._begin_run()

    def bind(self, file: Any, losses: Losses, table: BatchTable) -> None:
        """Go on with a file as it is at its last commit."""
        self._file, self._ledger, self._table = file, losses, table
        self._run = find_run(file, self.ring.stream_id)
        if self._run is not None:
            self._layout = self._layout_of(self._run)
        elif self.name:
            check_place(file, self.name)
        self._count()

    def move(self, file: Any, losses: Losses, table: BatchTable) -> None:
        """Go on in another file, right behind what the last commit put into the one before."""
        self._start = (self._row, self._cursor.position, self._cursor.sequence)
        self.bind(file, losses, table)
        self._begin_run()

    def _layout_of(self, run: Run) -> Layout:
        if not data_path(run):
            return BatchLayout(self._file, run.stream, self._columns(growing=False), self._filters)
        columns = self._columns(growing=True)
        return ContinuousLayout(self._file, run, columns, self._filters, self._table, self._backlog_rows)

    def _columns(self, *, growing: bool) -> list[Column] | None:
        return columns_of(self.ring.schema, growing=growing) if self.ring.content == "arrow" else None

    def _learn_content(self) -> bool:
        """Whether the ring holds anything that can be stored; UnsupportedTypeError or SchemaError if it cannot."""
        if self._content == "none":
            content = self.ring.content
            if content == "arrow":
                columns_of(self.ring.schema)
            self._content = content
        return self._content != "none"

    def _begin_run(self) -> None:
        if self._run is not None or self._content == "none":
            return
        schema = self.ring.schema if self._content == "arrow" else None
        attributes: Mapping[str, Any] = {}
        if self._continuous:
            number, columns = next_run_number(self._file), self._columns(growing=True)
            attributes = begin_data(self._file, self.name, number, schema, columns)
        self._run = begin_run(
            self._file,
            self.name,
            self.ring.stream_id,
            schema=schema,
            start=self._start,
            start_ns=self.ring.created_ns,
            metadata=self._metadata,
            attributes=attributes,
        )
        self._layout = self._layout_of(self._run)

    @property
    def run_number(self) -> int:
        """Number of the run, 0 before it begins."""
        return 0 if self._run is None else self._run.number

    def kept_from(self, rows: int) -> Exception | None:
        """The failure of this stream, if it kept a row below ``rows`` from the file."""
        return self.failure if self._cursor.row < rows or self.unwritten else None

    @property
    def backlog_bytes(self) -> int:
        """Bytes of the ring between what was read and what is published."""
        return int(self.ring.write_head - self._cursor.position)

    @property
    def ring_fill(self) -> float:
        """Share of the ring that is not yet in the file, 0 to 1."""
        position = self._cursor.position if self._run is None else self._run.ring_position
        return min(1.0, max(0.0, (self.ring.write_head - position) / self.ring.capacity_bytes))

    @property
    def waiting(self) -> bool:
        """Whether there is anything that the file does not have."""
        if self.unwritten:
            return True
        try:
            return bool(self._cursor.lag_rows)
        except RingError:
            return False  # the next collect tells why, as this stream's failure

    @property
    def unwritten(self) -> bool:
        """Whether something was read and not yet written."""
        return bool(self._pending or self._losses)

    @property
    def pending_bytes(self) -> int:
        """Bytes of the rows read and not yet written."""
        return sum(batch.nbytes for batch in self._pending)

    @property
    def rows_in_file(self) -> int:
        """Rows of this stream in the file being written, as of the last commit."""
        return 0 if self._run is None else self._run.rows

    def collect(self, until_row: int | None, file_rows: int | None = None) -> None:
        """Read new rows into memory, up to ``until_row`` or a batch's bound; nothing while some are unwritten.

        Parameters
        ----------
        until_row
            The row before which to stop; the end of the ring when None.
        file_rows
            How many rows the file may have; any number when None.

        Raises
        ------
        RingError
            If the ring can no longer be read.
        UnsupportedTypeError, SchemaError
            If its schema, just learned, cannot be stored; no row was read.
        """
        if self.unwritten or not self._learn_content():
            return
        if file_rows is not None:
            end = self._cursor.row + file_rows - self.rows_in_file
            until_row = end if until_row is None else min(until_row, end)
        until_row = self._stop_row(until_row)
        collected = 0
        while collected < MAX_BATCH_BYTES and (until_row is None or self._cursor.row < until_row):
            position = self._cursor.position
            try:
                piece = self._cursor.read(None if until_row is None else until_row - self._cursor.row)
            except FrameCorruptError:
                if self._cursor.position == position:
                    raise
                continue  # the cursor is behind it, and counts its rows as lost
            self._losses += self._cursor.take_losses()
            if piece is None:
                break
            collected += self._keep(piece)

    def _stop_row(self, until_row: int | None) -> int | None:
        """Where the layout wants a commit to end; the rows behind are there for the next one."""
        self.holds_back = False
        if self._layout is None:
            return until_row
        try:
            available = self._cursor.lag_rows
        except RingError:
            return until_row  # the read tells
        if until_row is not None:
            available = min(available, until_row - self._cursor.row)
        taken = self._layout.rows_now(max(0, available))
        self.holds_back = taken < available
        return int(self._cursor.row + taken) if self.holds_back else until_row

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
            self._ledger.append(run.number, self._losses)
            run.lost_rows += sum(loss.rows for loss in self._losses)
        run.next_row = self._cursor.row
        run.ring_position, run.ring_sequence = self._cursor.position, self._cursor.sequence
        run.store_cursor()

    def committed(self) -> None:
        """The commit stands: what was written need not be kept."""
        self._pending, self._losses = [], []
        self._count()

    def release(self) -> None:
        """After a commit: let the producer overwrite what is in the file."""
        if self._run is None:
            return
        self._take_sink()
        if self._sink is not None and self._run.ring_position > self.ring.read_tail:
            self._sink.advance(self._run.ring_position)

    def settle(self) -> None:
        """Seal the frame that a dead producer left open, and let go of it: its rows are all in the file."""
        self.ring.seal_open_frame()
        if self._sink is not None and not self.unwritten and self._cursor.read() is None:
            self._sink.advance(self._cursor.position)

    def statistics(self) -> StreamStatistics:
        """Counts as of the last commit."""
        return self._counts

    def _count(self) -> None:
        run, earlier = self._run, self.earlier
        if run is None or self._layout is None:
            next_row = 0 if earlier.run is None else earlier.run.next_row
            self._counts = StreamStatistics(0, earlier.rows, earlier.lost_rows, 0, next_row)
        else:
            rows, lost_rows = earlier.rows + run.rows, earlier.lost_rows + run.lost_rows
            self._counts = StreamStatistics(run.number, rows, lost_rows, self._layout.batches, run.next_row)

    def close(self) -> None:
        """Let go of sink, cursor and ring."""
        if self._sink is not None:
            self._sink.close()
        if self._cursor is not None:
            self._cursor.close()
        self.ring.close()

    def _keep(self, piece: Any) -> int:
        if isinstance(piece, bytes):
            rows, nbytes, piece = 1, len(piece), (self._cursor.timestamp_ns, piece)
        else:
            rows, nbytes = piece.num_rows, piece.nbytes
        first_row = self._cursor.row - rows
        if not self._pending or first_row != self._row:
            self._pending.append(Batch(first_row, lost_rows=first_row - self._row))
        batch = self._pending[-1]
        batch.pieces.append(piece)
        batch.rows += rows
        batch.nbytes += nbytes
        batch.ring_position = self._cursor.position
        self._row = self._cursor.row
        return nbytes

    def _take_sink(self) -> None:
        """Become the ring's persisting sink if nobody else is: a writer that is just ending may let go later."""
        if self._sink is None and self._address.persist:
            try:
                self._sink = self.ring.sink()
            except SinkLockedError:
                self._sink = None


__all__ = ["MAX_BATCH_BYTES", "Stream"]
