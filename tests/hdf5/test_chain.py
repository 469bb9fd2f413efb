"""Readers that never let go: the recording goes on in another file, and the files know of one another."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import h5py
import pytest

from mulletdaq import errors
from mulletdaq.hdf5.engine import Engine
from mulletdaq.hdf5.options import EngineOptions, RingAddress
from mulletdaq.hdf5.verify import verify
from mulletdaq.recording import recover_recording
from mulletdaq.ring import RingBuffer

from .conftest import rows, stored_rows

MakeRing = Callable[..., RingBuffer]


def engine_of(path: Path, ring: RingBuffer) -> Engine:
    address = RingAddress(ring.path, ring.stream_id)
    return Engine(EngineOptions(str(path), {"": address}, lock_timeout_s=0, journal_limit_bytes=200_000))


def fill(engine: Engine, ring: RingBuffer, first: int) -> int:
    """Commit rows until the engine goes on in another file; the next row."""
    before = engine.path
    while engine.path == before:
        ring.write_arrow_batch(rows(first, 10))
        first += 10
        engine.commit()
    return first


def test_rows_go_on_in_numbered_files_and_none_is_missing(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    parts = [path, path.with_name("out_part2.h5"), path.with_name("out_part3.h5")]
    with closing(engine_of(path, ring)) as engine:
        with h5py.File(path) as first:
            row = fill(engine, ring, 0)
            with h5py.File(parts[1]) as second:
                row = fill(engine, ring, row)
                assert engine.path == str(parts[2])
                assert not len(first["measurements"]) and len(second["measurements"]) == 1
            engine.apply()
            assert stored_rows(parts[1])[-1] == row - 11, "whoever let go has everything"
        ring.write_arrow_batch(rows(row, 10))
        engine.commit()
        engine.apply()
        assert not engine.pending
        statistics = engine.statistics()
        assert (statistics.rows_persisted, statistics.rows_lost, statistics.path) == (row + 10, 0, str(parts[2]))
        assert statistics.streams[""].next_row == row + 10
    assert [one for part in parts for one in stored_rows(part)] == list(range(row + 10))
    for part in parts:
        assert verify(part).ok, verify(part).problems
    with h5py.File(parts[0]) as first, h5py.File(parts[1]) as second:
        assert first.attrs["continued_in"] == b"out_part2.h5" and second.attrs["continues"] == b"out.h5"
        assert second["runs/run_000001"].attrs["first_row"] == len(stored_rows(parts[0]))
        assert second["runs/run_000001"].attrs["stream_id"] == first["runs/run_000001"].attrs["stream_id"]


def test_restarted_writer_goes_on_in_the_last_file(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    with closing(engine_of(path, ring)) as engine, h5py.File(path):
        row = fill(engine, ring, 0)
    ring.write_arrow_batch(rows(row, 10))
    with closing(engine_of(path, ring)) as engine:
        assert engine.path == str(path.with_name("out_part2.h5"))
        engine.drain({})
        assert engine.statistics().rows_persisted == row + 10
    assert stored_rows(path) + stored_rows(path.with_name("out_part2.h5")) == list(range(row + 10))


def test_killed_between_the_promise_and_the_next_file(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    ring.write_arrow_batch(rows(0, 10))
    with closing(engine_of(path, ring)) as engine:
        engine.drain({})
    with h5py.File(path, "r+") as file:
        file.attrs["continued_in"] = "next.h5"
    ring.write_arrow_batch(rows(10, 10))
    with closing(engine_of(path, ring)) as engine:
        engine.drain({})
    assert stored_rows(path) == list(range(10))
    assert stored_rows(path.with_name("next.h5")) == list(range(10, 20))
    assert list(recover_recording(str(path)).files) == [str(path), str(path.with_name("next.h5"))]


@pytest.mark.parametrize("name", ["../x.h5", "/etc/x.h5", "..", "a/b.h5"])
def test_name_that_leads_elsewhere_is_refused(path: Path, make_ring: MakeRing, name: str) -> None:
    ring = make_ring()
    with closing(engine_of(path, ring)):
        pass
    with h5py.File(path, "r+") as file:
        file.attrs["continued_in"] = name
    with pytest.raises(errors.FileFormatError, match="no name of a file beside it"):
        engine_of(path, ring)


def test_file_in_the_way_is_passed_over(path: Path, make_ring: MakeRing) -> None:
    path.with_name("out_part2.h5").write_text("theirs")
    ring = make_ring()
    with closing(engine_of(path, ring)) as engine, h5py.File(path):
        fill(engine, ring, 0)
        assert engine.path == str(path.with_name("out_part3.h5"))
    assert path.with_name("out_part2.h5").read_text() == "theirs"
