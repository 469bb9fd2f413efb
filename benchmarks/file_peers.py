"""What others do for one array on its way into a file, each as a function of path and values.

All write chunks of the same shape with the byte shuffle before the same kind of compression, and close the file.
A peer that is not installed raises ImportError.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

CHUNK_ROWS = 131_072

Write = Callable[[Path, Any], object]


def os_write(path: Path, values: Any) -> None:
    """The bytes, and nothing else: the limit."""
    left = memoryview(values).cast("B")
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    while left:
        left = left[os.write(descriptor, left) :]
    os.close(descriptor)


def h5py_filters(**options: Any) -> Write:
    """create_dataset with h5py's own filters."""

    def write(path: Path, values: Any) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("x", data=values, chunks=(CHUNK_ROWS,), shuffle=True, **options)

    return write


def h5py_growing(commits: int, **options: Any) -> Write:
    """The same, in commits: resize and assign."""

    def write(path: Path, values: Any) -> None:
        step = -(-len(values) // commits)
        with h5py.File(path, "w") as file:
            dataset = file.create_dataset(
                "x", (0,), values.dtype, maxshape=(None,), chunks=(CHUNK_ROWS,), shuffle=True, **options
            )
            for row in range(0, len(values), step):
                piece = values[row : row + step]
                dataset.resize(row + len(piece), axis=0)
                dataset[row:] = piece
                file.flush()

    return write


def h5py_zstd(level: int) -> Write:
    """hdf5plugin's filter, in HDF5's pipeline."""
    import hdf5plugin

    return h5py_filters(**hdf5plugin.Zstd(clevel=level))


def pytables(library: str, level: int) -> Write:
    """PyTables' compressed array."""
    import tables

    filters = tables.Filters(complevel=level, complib=library, shuffle=True)

    def write(path: Path, values: Any) -> None:
        with tables.open_file(path, "w") as file:
            file.create_carray("/", "x", obj=values, filters=filters, chunkshape=(CHUNK_ROWS,))

    return write


def zarr_array(codec: str, level: int) -> Write:
    """A Zarr array, version 2 of the format, one file a chunk; its own threads."""
    import numcodecs
    import zarr

    compressor = {"gzip": numcodecs.GZip, "zstd": numcodecs.Zstd}[codec](level=level)

    def write(path: Path, values: Any) -> None:
        shuffle = numcodecs.Shuffle(elementsize=values.itemsize)
        zarr.create_array(
            str(path),
            data=values,
            chunks=(CHUNK_ROWS,),
            zarr_format=2,
            filters=[shuffle],
            compressors=compressor,
        )

    return write
