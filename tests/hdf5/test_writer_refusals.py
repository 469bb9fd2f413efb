"""What a writer refuses, where, and by which error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pyarrow as pa
import pytest

from mulletdaq import errors
from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.ring import RingBuffer

from .conftest import rows, stored_rows

MakeRing = Callable[..., RingBuffer]


def unstorable() -> Any:
    """A batch with a field, inside another, that has no place in HDF5."""
    return pa.record_batch({"shutter": pa.array([{"open": 1, "name": None}])})


@pytest.mark.parametrize("run_in", ["thread", "process"])
def test_start_raises_by_class(path: Path, make_ring: MakeRing, run_in: Any) -> None:
    ring = make_ring()
    for content, error in ((b"x" * 100, errors.FileFormatError), (None, errors.FileWriteError)):
        target = path if content else path / "missing" / "out.h5"
        if content:
            target.write_bytes(content)
        writer = HDF5Writer(target, ring, run_in=run_in)
        with pytest.raises(error) as caught:
            writer.start()
        assert type(caught.value) is error and "\n" not in str(caught.value)
        assert not writer.alive
        path.unlink(missing_ok=True)
    assert ring.statistics().sink_pid is None


def test_unsupported_schema_is_refused_when_the_writer_is_made(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    ring.write_arrow_batch(unstorable())
    with pytest.raises(errors.UnsupportedTypeError, match=r"'shutter\.name'"):
        HDF5Writer(path, ring)
    assert not path.exists()


@pytest.mark.parametrize("run_in", ["thread", "process"])
def test_unsupported_schema_that_comes_later_spares_the_other_streams(
    path: Path, make_ring: MakeRing, run_in: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    good, bad = make_ring("good"), make_ring("bad")
    writer = HDF5Writer(path, {"good": good, "bad": bad}, run_in=run_in, flush_interval_s=0.02)
    writer.start()
    bad.write_arrow_batch(unstorable())
    good.write_arrow_batch(rows(0, 10))
    for attempt in (writer.flush, writer.stop):
        with pytest.raises(errors.UnsupportedTypeError, match=r"'shutter\.name'"):
            attempt()
    assert stored_rows(path, "good") == list(range(10))
    with h5py.File(path) as file:
        assert list(file["measurements"]) == ["good"]
    assert capfd.readouterr().err.count("'shutter.name'") <= 1


@pytest.mark.parametrize("name", ["batch_1", "a/b", ""])
def test_impossible_stream_names_are_refused(path: Path, make_ring: MakeRing, name: str) -> None:
    with pytest.raises(errors.SchemaError):
        HDF5Writer(path, {name: make_ring()})


def test_impossible_options_are_refused(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    for options in ({"layout": "x"}, {"run_in": "x"}, {"compression": "x"}, {"flush_interval_s": -1}):
        with pytest.raises(ValueError, match=str(next(iter(options.values())))):
            HDF5Writer(path, ring, **options)  # type: ignore[arg-type]
    with pytest.raises(errors.UnsupportedTypeError, match="laser"):
        HDF5Writer(path, ring, metadata={"laser": object()})


def test_ring_made_anew_is_not_mixed_in(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    ring.write_arrow_batch(rows(0, 5))
    writer = HDF5Writer(path, ring)
    ring.close()
    make_ring(force=True)
    with pytest.raises(errors.RingReplacedError):
        writer.flush()
    assert not path.exists()
