"""Rows appended to growing datasets, their chunks packed and written here, the open one at the edge kept in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from mulletdaq.errors import FileFormatError, WriterError
from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.chunks import SHARED, Chunk, PackingThreads, padded
from mulletdaq.hdf5.compressors import BARE, Packer, packer_of

with needs_extra("hdf5"):
    import numpy as np


class ChunkedAppender:
    """Appends rows to one dataset that grows, as :func:`~mulletdaq.hdf5.filters.make_growing` makes it.

    Every append leaves the file complete: full chunks are written once, the open chunk at the edge is written again
    with each append that adds to it. Its rows stay in memory, so nothing is ever read back.

    Parameters
    ----------
    dataset
        The ``h5py.Dataset``; its filters say how chunks are packed.
    rows
        How many of its rows count, all by default; the next append overwrites those behind.
    bare
        Whether an open chunk is written without filters. It then keeps its place in the file and its size, and an
        append changes only the bytes of its own rows, until one fills it and so packs it. In HDF5 2.0 such chunks
        cannot be read through a file in which they were written since the dataset was opened; everyone else reads them.
    threads
        Which threads pack.

    Raises
    ------
    FileFormatError
        If the dataset does not grow, is chunked along another axis than its first, or has filters not written here.
    OSError, RuntimeError
        Whatever HDF5 raises on reading the chunk at the edge.

    Notes
    -----
    To be used by one thread, the one that uses the file. At most two chunks are kept between and during appends, beside
    those that are being packed.
    """

    def __init__(
        self, dataset: Any, rows: int | None = None, *, bare: bool = False, threads: PackingThreads = SHARED
    ) -> None:
        self._threads = threads
        self._bare = bare
        self.rebind(dataset, rows)

    @property
    def rows(self) -> int:
        """How many rows are in the dataset."""
        return self._rows

    @property
    def chunk_rows(self) -> int:
        """How many rows a chunk has."""
        return int(self._chunk_rows)

    @property
    def axes(self) -> int:
        """How many axes the dataset has."""
        return 1 + len(self._row_shape)

    def rebind(self, dataset: Any, rows: int | None = None) -> None:
        """Go on in a dataset that was opened again; reads the rows of the chunk at its edge, once.

        Parameters and errors are those of the class. After a failed append nothing else may have the dataset open,
        best by closing its file: HDF5 takes a chunk that it failed to write for written as long as somebody has.
        """
        self._packer = packer_of(dataset)
        _check_growing(dataset)
        # h5py asks HDF5 each time: with hundreds of channels asking is two fifths of a commit.
        self._dataset, self._chunk_rows, self._dtype = dataset, dataset.chunks[0], dataset.dtype
        self._length, *row_shape = dataset.shape
        self._row_shape = tuple(row_shape)
        self._rows = self._length if rows is None else rows
        if not 0 <= self._rows <= self._length:
            raise FileFormatError(f"{dataset.name} has {self._length} rows, not the {rows} that it is said to have")
        filled = self._rows % self._chunk_rows
        self._edge: Any = padded(dataset[self._rows - filled : self._rows], self._chunk_rows) if filled else None
        self._edge_is_bare = bool(filled) and self._bare and self._found_bare(self._rows - filled)

    def append(self, values: Any) -> None:
        """Append rows, shape (rows, ...).

        Raises
        ------
        TypeError, ValueError
            If the values are not of the dataset's dtype or row shape.
        OSError, RuntimeError
            Whatever HDF5 raises. The appender stays at the rows it had, and lets go of its dataset, which may have
            grown by rows that do not count.
        WriterError
            If an append failed before, and it has not been bound again since.
        """
        append_together([(self, values)], threads=self._threads)

    def _found_bare(self, first_row: int) -> bool:
        """Whether a chunk is there without filters, or not there at all. A packed one stays packed: were it as long as
        a bare one, HDF5 would not notice the difference."""
        place = Chunk(self._dataset, first_row, self._edge).place
        try:
            mask, _ = self._dataset.id.read_direct_chunk(place)
        except (OSError, RuntimeError, ValueError, MemoryError):  # it is not there: the fill value stands for its rows
            return True
        return bool(mask == self._packer.all_filters)

    def _plan(self, values: Any) -> _Plan:
        values = self._conform(values)
        step, filled = self._chunk_rows, self._rows % self._chunk_rows
        edge, first_row = self._edge, self._rows - filled
        is_bare = self._edge_is_bare
        jobs: list[tuple[Chunk, Packer]] = []
        head = min(len(values), step - filled) if filled else 0
        if head:
            edge[filled : filled + head] = values[:head]  # behind the rows that count, until the plan is adopted
            edge[filled + head :] = np.zeros((), values.dtype)
            jobs.append(self._job(first_row, edge, is_bare, full=filled + head == step))
            first_row += step
        for start in range(head, len(values), step):
            edge = values[start : start + step]
            is_bare = self._bare and len(edge) < step
            if len(edge) < step:
                edge = padded(edge, step)
            jobs.append(self._job(first_row, edge, is_bare))
            first_row += step
        rows = self._rows + len(values)
        return _Plan(self, jobs, rows, edge if rows % step else None, is_bare)

    def _job(self, first_row: int, rows: Any, is_bare: bool, *, full: bool = False) -> tuple[Chunk, Packer]:
        mask = self._packer.all_filters if is_bare else 0
        if is_bare and not full:
            return Chunk(self._dataset, first_row, rows, mask), BARE
        return Chunk(self._dataset, first_row, rows, bare_before=mask), self._packer

    def _conform(self, values: Any) -> Any:
        if self._dataset is None:
            raise WriterError("an append to this dataset failed; open it again and rebind")
        values = np.asarray(values)
        if values.shape[1:] != self._row_shape or not values.ndim:
            expected = ", ".join(map(str, ("rows", *self._row_shape)))
            raise ValueError(f"{self._dataset.name} takes values of shape ({expected}), not {values.shape}")
        return values.astype(self._dtype, casting="equiv", copy=False)

    def _grow(self, plan: _Plan) -> None:
        if self._length != plan.rows:
            self._dataset.id.set_extent((plan.rows, *self._row_shape))
            self._length = plan.rows

    def _let_go(self) -> None:
        self._dataset = None

    def _adopt(self, plan: _Plan) -> None:
        self._rows, self._edge, self._edge_is_bare = plan.rows, plan.edge, plan.edge_is_bare


@dataclass(frozen=True)
class _Plan:
    """What one append is to write, and what the appender then keeps."""

    appender: ChunkedAppender
    jobs: list[tuple[Chunk, Packer]]
    rows: int
    edge: Any
    edge_is_bare: bool


def append_together(appends: Iterable[tuple[ChunkedAppender, Any]], *, threads: PackingThreads = SHARED) -> None:
    """Append to several datasets of one file, the chunks of all of them packed side by side.

    Parameters
    ----------
    appends
        Appenders, each once, and the rows for each.
    threads
        Which threads pack.

    Raises
    ------
    TypeError, ValueError
        If values do not fit their dataset, or an appender is there twice; then nothing is written.
    OSError, RuntimeError
        Whatever HDF5 raises; then all the appenders stay at the rows they had, and let go of their datasets.
    WriterError
        If one of them has not been bound again after a failure.
    """
    pairs = list(appends)
    if len({id(appender) for appender, _ in pairs}) < len(pairs):
        raise ValueError("an appender is there twice; join its rows first")
    plans = [appender._plan(values) for appender, values in pairs]
    try:
        for plan in plans:
            plan.appender._grow(plan)
        # The first chunks of all, then the second: index nodes that are needed at once then lie side by side.
        threads.write(job for together in zip_longest(*(plan.jobs for plan in plans)) for job in together if job)
    except BaseException:
        for plan in plans:
            plan.appender._let_go()
        raise
    for plan in plans:
        plan.appender._adopt(plan)


def _check_growing(dataset: Any) -> None:
    if dataset.chunks is None or dataset.maxshape[0] is not None or dataset.chunks[1:] != dataset.shape[1:]:
        raise FileFormatError(
            f"{dataset.name} does not grow chunk by chunk along its first axis; let mulletdaq make a new dataset"
        )


__all__ = ["ChunkedAppender", "append_together"]
