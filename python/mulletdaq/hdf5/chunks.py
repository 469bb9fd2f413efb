"""Chunks of datasets: how many rows they have, packed by several threads, written in order by one."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.compressors import BARE, Packer
from mulletdaq.hdf5.journal.guard import forbid_collection_in_this_thread

with needs_extra("hdf5"):
    import numpy as np

CHUNK_BYTES = 1 << 20
"""What a chunk holds at most, unless told otherwise: what HDF5 before version 2 keeps in its chunk cache."""

_LEAST_CHUNK_BYTES = 16 << 10
_MOST_CHUNK_BYTES = 64 << 20
_MOST_THREADS = 4
_WORTHWHILE = 7 / 8
"""A chunk that lies there without filters moves to another place if they save an eighth of it."""


def choose_chunk_rows(row_bytes: int, expected_rows: int | None = None, chunk_rows: int | None = None) -> int:
    """How many rows a chunk is to have, at least one.

    Parameters
    ----------
    row_bytes
        Bytes of one row.
    expected_rows
        How many rows the dataset will have, if that is known: they are shared out evenly over the chunks, so that the
        last one is nearly full.
    chunk_rows
        A number to take instead; only bounded, to 64 MiB.
    """
    row_bytes = max(1, row_bytes)
    if chunk_rows is not None:
        return max(1, min(chunk_rows, _MOST_CHUNK_BYTES // row_bytes))
    most = max(1, CHUNK_BYTES // row_bytes)
    if not expected_rows:
        return most
    chunks = -(-expected_rows // most)
    return min(most, max(-(-expected_rows // chunks), _LEAST_CHUNK_BYTES // row_bytes))


@dataclass(frozen=True)
class Chunk:
    """One chunk on its way into the file.

    Attributes
    ----------
    dataset
        The ``h5py.Dataset``; its chunks divide the first axis only.
    first_row
        Where it goes, a multiple of the chunk's rows.
    rows
        Exactly as many rows as a chunk has; those beyond the dataset's end are padding.
    without
        Which of the dataset's filters are left out, a bit for each, noted in the file: HDF5's filter mask.
    bare_before
        The filter mask of what lies in its place already, if that has no filters. It stays so where they save little:
        HDF5 notes another mask only for a chunk whose size changes.
    """

    dataset: Any
    first_row: int
    rows: Any
    without: int = 0
    bare_before: int = 0

    @property
    def place(self) -> tuple[int, ...]:
        """Where it begins, on all axes."""
        return (self.first_row, *(0 for _ in self.rows.shape[1:]))

    def write(self, packed: Any) -> None:
        """Write it as it stands, past HDF5's filters and its cache."""
        without = self.without
        if self.bare_before and len(packed) > _WORTHWHILE * self.rows.nbytes:
            packed, without = BARE(self.rows), self.bare_before
        self.dataset.id.write_direct_chunk(self.place, packed, without)


class PackingThreads:
    """Threads that pack chunks, shared by any number of datasets.

    They see bytes only, never an HDF5 object: whoever waits for them may hold h5py's lock. May be used by several
    threads at once, and after a fork.

    Parameters
    ----------
    count
        How many; as many as there are processors for this process, at most 4, by default. They are started when the
        first two chunks come together.
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = count or min(_available_processors(), _MOST_THREADS)
        self._executor: ThreadPoolExecutor | None = None
        self._pid = os.getpid()

    def write(self, chunks: Iterable[tuple[Chunk, Packer]]) -> None:
        """Pack chunks side by side and write them, in their order, in the calling thread.

        No more of them are taken from ``chunks`` than there are threads, and two: memory is bounded by that, not by
        their number. When this returns or raises, nothing reads their rows any more.

        Raises
        ------
        OSError, RuntimeError
            Whatever HDF5 raises; chunks before that one are written.
        """
        coming = iter(chunks)
        first = list(islice(coming, 2))
        if self.count == 1 or len(first) < 2:  # nothing to do side by side
            for chunk, packer in chain(first, coming):
                chunk.write(packer(chunk.rows))
            return
        under_way: deque[tuple[Chunk, Future[Any]]] = deque()
        try:
            for chunk, packer in chain(first, coming):
                under_way.append((chunk, self._start(packer, chunk.rows)))
                if len(under_way) > self.count + 1:
                    _finish(*under_way.popleft())
            while under_way:
                _finish(*under_way.popleft())
        finally:
            wait_for([packing for _, packing in under_way if not packing.cancel()])

    def close(self) -> None:
        """End the threads; the next chunks start them again."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown()

    def _start(self, packer: Packer, rows: Any) -> Future[Any]:
        if packer.compress is not None and packer.any_thread:
            try:
                return self._threads().submit(packer, rows)
            except RuntimeError:
                pass  # no thread can be started, as at the end of the interpreter: then it is done here
        done: Future[Any] = Future()
        done.set_result(packer(rows))
        return done

    def _threads(self) -> ThreadPoolExecutor:
        if self._executor is None or self._pid != os.getpid():  # a forked child has none of its parent's threads
            self._executor = ThreadPoolExecutor(
                self.count, "mulletdaq-packing", initializer=forbid_collection_in_this_thread
            )
            self._pid = os.getpid()
        return self._executor


def _finish(chunk: Chunk, packing: Future[Any]) -> None:
    chunk.write(packing.result())


def _available_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


SHARED = PackingThreads()
"""The threads of this process."""


def padded(rows: Any, chunk_rows: int) -> Any:
    """A copy of ``rows`` followed by zeros: HDF5 stores the chunk at a dataset's edge whole."""
    chunk = np.zeros((chunk_rows, *rows.shape[1:]), rows.dtype)
    chunk[: len(rows)] = rows
    return chunk


__all__ = ["CHUNK_BYTES", "SHARED", "Chunk", "PackingThreads", "choose_chunk_rows", "padded"]
