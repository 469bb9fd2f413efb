"""Datasets written past HDF5's pipeline, read back through it, and by h5dump."""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulletdaq.hdf5.chunks import PackingThreads
from mulletdaq.hdf5.filters import make_growing, write_dataset
from mulletdaq.hdf5.options import Filters
from tests.examples import examples
from tests.ring.support import run_python

from .conftest import COMPRESSIONS, compression_of

LIBVER = ("earliest", "v108")
DTYPES = [
    *(f"{order}{kind}{size}" for order in "<>" for kind in "iu" for size in (1, 2, 4, 8)),
    *(f"{order}f{size}" for order in "<>" for size in (2, 4, 8)),
    *(f"{order}c{size}" for order in "<>" for size in (8, 16)),
    "?",
    "longdouble",
    *(f"S{size}" for size in range(1, 17)),
    *(f"V{size}" for size in range(1, 17)),
]


def any_values(dtype: Any, shape: tuple[int, ...], seed: int = 3) -> Any:
    """Numbers that compress somewhat; of numbers that are no numbers, bytes."""
    dtype = np.dtype(dtype)
    numbers = np.random.default_rng(seed).integers(0, 50, shape)
    if dtype.kind in "SV":
        return (
            np.random.default_rng(seed).integers(1, 50, (*shape, dtype.itemsize)).astype(np.uint8).view(dtype)[..., 0]
        )
    return numbers.astype(dtype)


def same(stored: Any, values: Any) -> bool:
    return bool(stored.dtype == values.dtype and stored.tobytes() == values.tobytes())


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(0,), (1,), (511,), (600_000,), (70, 100, 50), (3, 1_000_000)])
def test_values_survive(tmp_path: Path, shape: tuple[int, ...], dtype: str, compression: str | None) -> None:
    values = any_values(dtype, shape)
    with h5py.File(tmp_path / "a.h5", "w", libver=LIBVER) as file:
        write_dataset(file, "x", values, compression)
    with h5py.File(tmp_path / "a.h5") as file:
        dataset = file["x"]
        assert np.array_equal(dataset[:], values) and dataset.dtype == dtype
        if compression is None or values.nbytes < 4096:
            assert dataset.chunks is None
        else:
            assert compression_of(dataset) == compression and dataset.shuffle
            assert dataset.chunks[0] <= len(values) and dataset.chunks[1:] == values.shape[1:]
            row_bytes = values.nbytes // len(values)
            assert np.prod(dataset.chunks) * values.itemsize <= max(1 << 20, row_bytes)
            assert dataset.id.get_storage_size() < values.nbytes * (1 if compression != "lzf" else 1.04)
            if compression == "gzip":
                assert dataset.compression_opts == 4


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(tmp_path: Path, dtype: str, compression: str | None) -> None:
    values = any_values(dtype, (5003,))
    with h5py.File(tmp_path / "a.h5", "w", libver=LIBVER) as file:
        write_dataset(file, "x", values, Filters(compression, chunk_rows=1000))
    with h5py.File(tmp_path / "a.h5") as file:
        assert same(file["x"][:], values)
        assert file["x"].chunks == ((1000,) if values.nbytes >= 4096 else None)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_records_and_noise(tmp_path: Path, compression: str | None) -> None:
    """Items of odd sizes whose bytes cannot be compressed: LZF leaves such chunks out."""
    records = np.dtype([("a", "i1"), ("b", ">f8"), ("c", "i2", (3,))])
    noise = np.frombuffer(np.random.default_rng(1).bytes(15 * 7001), records)
    with h5py.File(tmp_path / "a.h5", "w", libver=LIBVER) as file:
        write_dataset(file, "x", noise, Filters(compression, chunk_rows=500))
        write_dataset(file, "y", noise.view(np.uint8), Filters(compression, chunk_rows=500))
    with h5py.File(tmp_path / "a.h5") as file:
        assert same(file["x"][:], noise)
        assert same(file["y"][:], noise.view(np.uint8))


@settings(deadline=None, max_examples=examples(150))
@given(
    st.sampled_from(DTYPES),
    st.lists(st.integers(1, 60), min_size=1, max_size=4),
    st.sampled_from(COMPRESSIONS),
    st.none() | st.integers(1, 100),
    st.integers(1, 3),
)
def test_any_shape_and_chunk(
    dtype: str, shape: list[int], compression: str | None, chunk_rows: int | None, threads: int
) -> None:
    packing = PackingThreads(threads)
    values = any_values(dtype, (shape[0] * 17, *shape[1:])[: 4 if math.prod(shape) < 50_000 else 2])
    with h5py.File("any", "w", driver="core", backing_store=False, libver=LIBVER) as file:
        dataset = write_dataset(file, "x", values, Filters(compression, chunk_rows), threads=packing)
        del dataset
        assert same(file["x"][:], values)
    packing.close()


def test_strided_values(tmp_path: Path) -> None:
    values: Any = np.arange(40_000.0).reshape(200, 200).T[::2]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for compression in COMPRESSIONS:
            write_dataset(file, str(compression), values, compression)
            assert np.array_equal(file[str(compression)][:], values)


@pytest.mark.parametrize("compression", ["gzip", None])
def test_h5dump_reads_the_same_bytes(tmp_path: Path, compression: str | None) -> None:
    h5dump = shutil.which("h5dump")
    if h5dump is None:
        pytest.skip("h5dump is not installed (Debian: hdf5-tools)")
    arrays = {dtype: any_values(dtype, (300, 7)) for dtype in ("i1", "<i2", ">i4", "<u8", "<f4", ">f8", "S13")}
    arrays["periodic"] = np.resize(np.random.default_rng(1).normal(size=2000), 300_000)
    with h5py.File(tmp_path / "a.h5", "w", libver=LIBVER) as file:
        for name, values in arrays.items():
            write_dataset(file, name, values, Filters(compression, chunk_rows=128 if values.ndim > 1 else None))
    for name, values in arrays.items():
        command = [h5dump, "-d", name, "-b", "FILE", "-o", "dumped", "a.h5"]
        subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
        assert (tmp_path / "dumped").read_bytes() == values.tobytes(), name


def test_objects_are_left_to_hdf5(tmp_path: Path) -> None:
    """Strings of any length lie elsewhere in the file: their chunks would hold addresses of this process."""
    values = np.array(["α" * (number % 50) for number in range(1000)], object)
    with h5py.File(tmp_path / "a.h5", "w", libver=LIBVER) as file:
        write_dataset(file, "x", values.astype(h5py.string_dtype()), "gzip")
    with h5py.File(tmp_path / "a.h5") as file:
        assert list(file["x"].asstr()[:]) == list(values)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_growing_datasets_are_chunked(tmp_path: Path, compression: str | None) -> None:
    with h5py.File(tmp_path / "a.h5", "w", libver=LIBVER) as file:
        long = make_growing(file, "long", np.float64, filters=Filters(compression))
        short = make_growing(file, "short", np.float64, filters=Filters(compression), expected_rows=10_000)
        image = make_growing(file, "image", np.uint16, (1000, 800), Filters(compression))
        asked = make_growing(file, "asked", np.uint16, (4,), Filters(compression, chunk_rows=99))
        assert (long.chunks, short.chunks, image.chunks, asked.chunks) == (
            (131_072,),
            (10_000,),
            (1, 1000, 800),
            (99, 4),
        )
        assert long.maxshape == (None,) and image.maxshape == (None, 1000, 800) and not len(long)


def test_chunks_can_be_had_without_compression(tmp_path: Path) -> None:
    values = np.arange(10_000.0)
    with h5py.File(tmp_path / "a.h5", "w", libver=LIBVER) as file:
        dataset = write_dataset(file, "x", values, Filters(None, chunk_rows=3000))
        assert dataset.chunks == (3000,) and dataset.compression is None and np.array_equal(dataset[:], values)


@pytest.mark.parametrize("compression", ["zip", 4, True])
def test_unknown_compressions_are_refused(compression: Any) -> None:
    with pytest.raises(ValueError, match="choose from 'gzip', 'lzf', 'zstd', None"):
        Filters(compression)


@pytest.mark.parametrize("chunk_rows", [0, -1, 1.5, True, "10"])
def test_impossible_chunks_are_refused(chunk_rows: Any) -> None:
    with pytest.raises(ValueError, match="chunk_rows"):
        Filters("gzip", chunk_rows)


BLOCKED = """
    import os, sys
    import numpy as np
    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in {blocked}:
                raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
    sys.meta_path.insert(0, Blocker())
    os.chdir(sys.argv[1])
    import mulletdaq as mullet
    from mulletdaq.errors import MissingExtraError
    from mulletdaq.ring import create_ring
"""


def test_missing_zstd_is_told_when_the_writer_is_made(tmp_path: Path) -> None:
    """Before a row, a file or a ring is there, and h5py need not be loaded for it."""
    script = (
        BLOCKED.format(blocked=["hdf5plugin"])
        + """
    with create_ring("x", 1) as ring:
        try:
            mullet.HDF5Writer("a.h5", ring, compression="zstd")
        except MissingExtraError as error:
            print(error)
        assert "h5py" not in sys.modules
        try:
            mullet.record("b.h5", {"x": "V"}, compression="zstd").start()
        except MissingExtraError as error:
            print(error)
    print(os.listdir())
    """
    )
    printed = run_python(script, tmp_path).splitlines()
    assert printed == ["hdf5plugin is not installed; pip install 'mulletdaq[zstd]' brings it"] * 2 + ["[]"]


def test_missing_zstd_is_told_to_readers(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    script = """
    import sys
    import numpy as np
    import mulletdaq as mullet
    with mullet.record(sys.argv[1], {"x": "V"}, compression="zstd") as rec:
        rec.write_block(np.arange(10_000.0))
    from mulletdaq.hdf5.verify import verify
    print(verify(sys.argv[1]).ok)
    """
    assert run_python(script, path) == "True\n"
    script = (
        BLOCKED.format(blocked=["hdf5plugin"])
        + """
    from mulletdaq.hdf5.verify import verify
    for problem in verify("a.h5").problems:
        print("pip install 'mulletdaq[zstd]'" in problem)
    """
    )
    assert set(run_python(script, tmp_path).split()) == {"True"}


@pytest.mark.parametrize("blocked", ["isal", "zlib_ng"])
def test_gzip_needs_nothing_but_the_standard_library(tmp_path: Path, blocked: str) -> None:
    script = (
        BLOCKED.format(blocked=[blocked])
        + """
    with mullet.record("a.h5", {"x": "V"}) as rec:
        rec.write_block(np.arange(100_000.0))
    from mulletdaq.hdf5 import deflate
    assert deflate.igzip_lib is None
    from mulletdaq.hdf5.filters import write_dataset
    import h5py
    with h5py.File("b.h5", "w") as file:
        write_dataset(file, "x", np.arange(100_000.0), "gzip")
    """
    )
    run_python(script, tmp_path)
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.array_equal(file["measurements/batch_000001/x"][:], np.arange(100_000.0))
    with h5py.File(tmp_path / "b.h5") as file:
        assert np.array_equal(file["x"][:], np.arange(100_000.0))
