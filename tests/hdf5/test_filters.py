"""Chunks and filters, read back through HDF5's own pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mulletdaq.hdf5.filters import write_dataset


@pytest.mark.parametrize("compression", ["gzip", "lzf", None])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(0,), (1,), (511,), (600_000,), (70, 100, 50), (3, 1_000_000)])
def test_values_survive(tmp_path: Path, shape: tuple[int, ...], dtype: str, compression: str | None) -> None:
    values = np.random.default_rng(3).integers(0, 50, shape).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w", libver=("earliest", "v108")) as file:
        write_dataset(file, "x", values, compression)
    with h5py.File(tmp_path / "a.h5") as file:
        dataset = file["x"]
        assert np.array_equal(dataset[:], values) and dataset.dtype == dtype
        if compression is None or values.nbytes < 4096:
            assert dataset.chunks is None
        else:
            assert (dataset.compression, dataset.shuffle) == (compression, True)
            assert dataset.chunks[0] <= len(values) and dataset.chunks[1:] == values.shape[1:]
            row_bytes = values.nbytes // len(values)
            assert np.prod(dataset.chunks) * values.itemsize <= max(1 << 20, row_bytes)
            if compression == "gzip":
                assert dataset.compression_opts == 4
                assert dataset.id.get_storage_size() < values.nbytes


def test_strided_values(tmp_path: Path) -> None:
    values: Any = np.arange(40_000.0).reshape(200, 200).T[::2]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_dataset(file, "x", values, "gzip")
        assert np.array_equal(file["x"][:], values)
