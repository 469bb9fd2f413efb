"""Datasets with the standard filters, their chunks made here rather than in HDF5's pipeline.

A chunk that meets a full disk inside HDF5's own chunk cache is written again when its dataset is let go,
and that crashes the interpreter. Chunks written directly raise at once, and leave nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.chunks import SHARED, Chunk, PackingThreads, choose_chunk_rows, padded
from mulletdaq.hdf5.compressors import Packer, dataset_options, packer_of
from mulletdaq.hdf5.options import Filters

with needs_extra("hdf5"):
    import numpy as np

SMALL_BYTES = 4096
"""Below this a dataset is stored in one piece: filters would cost more room than they save."""


def write_dataset(
    group: Any, name: str, values: Any, compression: Filters | str | None, *, threads: PackingThreads = SHARED
) -> Any:
    """Make a dataset of the array ``values``, shape (rows, ...), and return it.

    Parameters
    ----------
    group
        The ``h5py.Group`` it goes to.
    values
        Any dtype that h5py stores. Objects, such as strings of any length, are stored in one piece.
    compression
        A compression, or how to store altogether. Chunks are about 1 MiB; without compression, and with small data,
        the dataset is one piece, unless ``chunk_rows`` asks for chunks.

    Raises
    ------
    MissingExtraError
        If the compression needs a package that is not installed.
    OSError, RuntimeError
        Whatever HDF5 raises; an unfinished dataset stays.
    """
    filters = compression if isinstance(compression, Filters) else Filters(compression)
    in_one_piece = filters.compression is None and filters.chunk_rows is None
    if in_one_piece or values.nbytes < SMALL_BYTES or values.dtype.hasobject:
        return group.create_dataset(name, data=values)
    rows = len(values)
    chunk_rows = min(rows, choose_chunk_rows(values.nbytes // rows, rows, filters.chunk_rows))
    dataset = group.create_dataset(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=(chunk_rows, *values.shape[1:]),
        **dataset_options(filters.compression),
    )
    threads.write(_chunks(dataset, values, chunk_rows))
    return dataset


def _chunks(dataset: Any, values: Any, chunk_rows: int) -> Iterator[tuple[Chunk, Packer]]:
    packer = packer_of(dataset)
    for first_row in range(0, len(values), chunk_rows):
        rows = values[first_row : first_row + chunk_rows]
        yield Chunk(dataset, first_row, rows if len(rows) == chunk_rows else padded(rows, chunk_rows)), packer


def make_growing(
    group: Any,
    name: str,
    dtype: Any,
    row_shape: tuple[int, ...] = (),
    filters: Filters | None = None,
    *,
    expected_rows: int | None = None,
    fill: Any = None,
) -> Any:
    """Make an empty dataset whose first axis grows, for a :class:`~mulletdaq.hdf5.appender.ChunkedAppender`.

    Parameters
    ----------
    group
        The ``h5py.Group`` it goes to.
    dtype, row_shape
        Of one row.
    filters
        How to store it; gzip and chunks of about 1 MiB by default.
    expected_rows
        How many rows will come, if that is known; a short or slow stream gets smaller chunks.
    fill
        What rows that are never written read as; 0 by default.

    Raises
    ------
    MissingExtraError
        If the compression needs a package that is not installed.
    """
    filters = filters or Filters()
    row_bytes = int(np.dtype(dtype).itemsize * np.prod(row_shape, dtype=np.int64))
    chunk_rows = choose_chunk_rows(row_bytes, expected_rows, filters.chunk_rows)
    return group.create_dataset(
        name,
        shape=(0, *row_shape),
        maxshape=(None, *row_shape),
        dtype=dtype,
        chunks=(chunk_rows, *row_shape),
        fillvalue=fill,
        **dataset_options(filters.compression),
    )


__all__ = ["SMALL_BYTES", "make_growing", "write_dataset"]
