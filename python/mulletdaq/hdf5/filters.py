"""Datasets with the standard filters, their chunks made here rather than in HDF5's pipeline.

A chunk that meets a full disk inside HDF5's own chunk cache is written again when its dataset is let go,
and that crashes the interpreter. Chunks written directly raise at once, and leave nothing behind.
"""

from __future__ import annotations

import zlib
from typing import Any

from mulletdaq.extras import needs_extra

with needs_extra("hdf5"):
    import numpy as np

SMALL_BYTES = 4096
"""Below this a dataset is stored in one piece: filters would cost more room than they save."""

_CHUNK_BYTES = 1 << 20
_GZIP_LEVEL = 4


def write_dataset(group: Any, name: str, values: Any, compression: str | None) -> Any:
    """Make a dataset of the array ``values``, shape (rows, ...), and return it.

    Parameters
    ----------
    group
        The ``h5py.Group`` it goes to.
    compression
        ``"gzip"`` and ``"lzf"`` mean chunks of about 1 MiB and the shuffle filter; None and small data mean one piece.
    """
    if compression is None or values.nbytes < SMALL_BYTES:
        return group.create_dataset(name, data=values)
    chunk_rows = min(len(values), max(1, _CHUNK_BYTES * len(values) // values.nbytes))
    chunks = (chunk_rows, *values.shape[1:])
    if compression != "gzip":
        return group.create_dataset(name, data=values, chunks=chunks, compression=compression, shuffle=True)
    dataset = group.create_dataset(
        name, shape=values.shape, dtype=values.dtype, chunks=chunks, compression=_GZIP_LEVEL, shuffle=True
    )
    for row in range(0, len(values), chunk_rows):
        offset = (row, *(0 for _ in values.shape[1:]))
        dataset.id.write_direct_chunk(offset, _gzip_chunk(values[row : row + chunk_rows], chunk_rows))
    return dataset


def _gzip_chunk(rows: Any, chunk_rows: int) -> bytes:
    if len(rows) < chunk_rows:  # HDF5 stores the chunk at the edge whole
        padding = np.zeros((chunk_rows - len(rows), *rows.shape[1:]), rows.dtype)
        rows = np.concatenate([rows, padding])
    as_bytes = np.ascontiguousarray(rows).reshape(-1).view(np.uint8).reshape(-1, rows.dtype.itemsize)
    return zlib.compress(as_bytes.T.tobytes(), _GZIP_LEVEL)


__all__ = ["SMALL_BYTES", "write_dataset"]
