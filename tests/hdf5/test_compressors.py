"""The bytes of single chunks beside what HDF5's own filters make of the same rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulletdaq.errors import FileFormatError
from mulletdaq.hdf5 import compressors
from mulletdaq.hdf5.compressors import Packer, dataset_options, packer_of, shuffled

SIGNALS = {
    "zeros": np.zeros(5000),
    "stamps": 1_700_000_000_000_000_000 + 1000 * np.arange(5000),
    "adc": np.round(2000 * np.sin(np.arange(5000) / 50)).astype(np.int16),
    "noise": np.random.default_rng(1).normal(size=5000),
    "one": np.array([1.5]),
    "bytes": np.arange(256, dtype=np.uint8),
}


@pytest.fixture
def file() -> Iterator[h5py.File]:
    """A file in memory."""
    with h5py.File("in-memory", "w", driver="core", backing_store=False) as file:
        yield file


def made_by_hdf5(file: h5py.File, rows: Any, **options: Any) -> tuple[h5py.Dataset, bytes, int]:
    """A dataset of one chunk, and how HDF5's own filters store that."""
    dataset = file.create_dataset("hdf5", data=rows, chunks=rows.shape, **options)
    mask, stored = dataset.id.read_direct_chunk((0,) * rows.ndim)
    return dataset, stored, mask


@settings(deadline=None)
@given(st.integers(1, 16), st.lists(st.integers(1, 40), min_size=1, max_size=3), st.integers(0, 1 << 32))
def test_shuffle_is_that_of_hdf5(size: int, shape: list[int], seed: int) -> None:
    rows = np.frombuffer(np.random.default_rng(seed).bytes(size * math.prod(shape)), (np.void, size)).reshape(shape)
    with h5py.File("shuffle", "w", driver="core", backing_store=False) as file:
        _, stored, _ = made_by_hdf5(file, rows, shuffle=True)
    assert shuffled(rows).tobytes() == stored


def test_shuffle_takes_any_strides() -> None:
    rows = np.arange(3000).reshape(50, 60).T[::2]
    assert shuffled(rows).tobytes() == rows.reshape(-1).view((np.uint8, 8)).T.tobytes()


def test_shuffle_of_nothing() -> None:
    assert shuffled(np.zeros((0, 4))).shape == (0,)


@pytest.mark.parametrize("compression", ["gzip", "lzf", "zstd"])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("signal", SIGNALS)
def test_hdf5_reads_what_was_packed(file: h5py.File, signal: str, shuffle: bool, compression: str) -> None:
    rows = SIGNALS[signal]
    options = dict(dataset_options(compression)) | {"shuffle": shuffle}
    dataset = file.create_dataset("x", rows.shape, rows.dtype, chunks=rows.shape, **options)
    for values in (rows, np.zeros_like(rows), rows):
        dataset.id.write_direct_chunk((0,), packer_of(dataset)(values))
        assert np.array_equal(dataset[:], values)


@pytest.mark.parametrize("signal", SIGNALS)
def test_lzf_is_that_of_h5py(file: h5py.File, signal: str) -> None:
    """Byte for byte, but where it leaves the filter out."""
    dataset, stored, mask = made_by_hdf5(file, SIGNALS[signal], **dataset_options("lzf"))
    packed = packer_of(dataset)(SIGNALS[signal])
    assert (len(packed) > len(stored)) if mask else (packed == stored)


def test_both_ways_to_lzf_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where h5py's function is out of reach, its filter does it."""
    assert compressors._lzf_function() is not None
    plain = [shuffled(rows) for rows in SIGNALS.values()]
    directly = [compressors._lzf(one) for one in plain]
    monkeypatch.setattr(compressors, "_lzf_function", lambda: None)
    assert [compressors._lzf(one) for one in plain] == directly
    lengths = [(len(packed), one.nbytes) for packed, one in zip(directly, plain, strict=True)]
    assert any(packed > length for packed, length in lengths) and any(packed < length for packed, length in lengths)


def test_nothing_to_do_is_no_copy() -> None:
    rows = np.arange(100.0)
    assert np.shares_memory(Packer(False, None)(rows), rows)


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(1, 40), st.booleans())
def test_any_lzf_comes_back(data: bytes, repeats: int, directly: bool) -> None:
    rows = np.frombuffer(data * repeats + b"x", np.uint8)
    with h5py.File("lzf", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("x", rows.shape, rows.dtype, chunks=rows.shape, compression="lzf")
        dataset.id.write_direct_chunk((0,), compressors._lzf(rows) if directly else compressors._lzf_literals(rows))
        assert np.array_equal(dataset[:], rows)


@pytest.mark.parametrize(
    "options", [{"fletcher32": True}, {"scaleoffset": 4}, {"compression": "gzip", "fletcher32": True}]
)
def test_filters_of_others_are_refused(file: h5py.File, options: dict[str, Any]) -> None:
    dataset = file.create_dataset("x", data=np.arange(100), chunks=(100,), **options)
    with pytest.raises(FileFormatError, match="filters"):
        packer_of(dataset)


def test_pipeline_is_that_of_h5py(file: h5py.File, tmp_path: Path) -> None:
    """What a reader finds: the same filters, flags and parameters as h5py gives them."""
    rows = SIGNALS["noise"]
    for compression, options in {
        "gzip": {"compression": "gzip", "compression_opts": 4},
        "lzf": {"compression": "lzf"},
    }.items():
        ours = file.create_dataset(None, data=rows, chunks=True, **dataset_options(compression))
        theirs = file.create_dataset(None, data=rows, chunks=ours.chunks, shuffle=True, **options)
        assert pipeline(ours) == pipeline(theirs)


def pipeline(dataset: Any) -> list[Any]:
    plist = dataset.id.get_create_plist()
    return [plist.get_filter(index) for index in range(plist.get_nfilters())]
