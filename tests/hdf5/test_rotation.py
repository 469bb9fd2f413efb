"""Files by rows, size and time: nothing lost or doubled at any seam."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mulletdaq import errors
from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.hdf5.engine import Engine
from mulletdaq.hdf5.options import EngineOptions, RingAddress, Rotation
from mulletdaq.hdf5.reading import open_for_reading
from mulletdaq.hdf5.storage import Storage
from mulletdaq.hdf5.templates import at, fill, following
from mulletdaq.hdf5.verify import verify
from mulletdaq.ring import RingBuffer

from .conftest import eventually, rows, stored_rows

MakeRing = Callable[..., RingBuffer]


def test_a_million_rows_across_fifty_files(tmp_path: Path, make_ring: MakeRing) -> None:
    ring = make_ring(capacity_bytes=64 << 20)
    for first in range(0, 1_000_000, 10_000):
        ring.write_arrow_batch(rows(first, 10_000))
    writer = HDF5Writer(
        tmp_path / "run_{index:02d}.h5", ring, rotate_rows=20_000, fsync="never", compression=None, run_in="thread"
    )
    writer.start()
    statistics = writer.stop()
    assert (statistics.rows_persisted, statistics.rows_lost) == (1_000_000, 0)
    files = sorted(tmp_path.glob("run_*.h5"))
    assert len(files) == 50
    next_row = 0
    for file in files:
        stored = np.array(stored_rows(file))
        assert np.array_equal(stored, np.arange(next_row, next_row + 20_000))
        assert verify(file).ok, verify(file).problems
        next_row += 20_000


def test_kills_at_the_seams_lose_and_double_nothing(tmp_path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    writer = HDF5Writer(tmp_path / "a.h5", ring, rotate_rows=30, flush_interval_s=0.001, poll_interval_s=0.001)
    writer.start()
    for number in range(40):
        ring.write_arrow_batch(rows(number * 10, 10))
        if number % 8 == 7:
            pid = writer.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            eventually(lambda pid=pid: writer.pid != pid, "there is a new writer")
    writer.stop()
    files = [tmp_path / "a.h5", *(tmp_path / f"a_part{number}.h5" for number in range(2, 15))]
    assert [row for file in files for row in stored_rows(file)] == list(range(400))
    assert {len(stored_rows(file)) for file in files[:-1]} == {30}


def engine_of(path: Path, ring: RingBuffer, **rotation: Any) -> Engine:
    address = RingAddress(ring.path, ring.stream_id)
    return Engine(EngineOptions(str(path), {"": address}, compression=None, rotation=Rotation(**rotation)))


def test_by_size_and_by_age(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    for rotation in ({"megabytes": 0.05}, {"seconds": 1e-6}):
        target = path.with_name(f"{next(iter(rotation))}.h5")
        with closing(engine_of(target, ring, **rotation)) as engine:
            for number in range(3):
                ring.write_arrow_batch(rows(number * 5000, 5000))
                engine.commit()
                assert not engine.commit(), "nothing new, and no empty file"
        assert len(list(path.parent.glob(f"{target.stem}*.h5"))) == 3, "each commit filled one"


def test_no_other_file_can_be_made(path: Path, make_ring: MakeRing, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = make_ring()
    with closing(engine_of(path, ring, rows=10)) as engine:
        ring.write_arrow_batch(rows(0, 35))
        with monkeypatch.context() as patch:
            patch.setattr(engine, "_open_storage", refuse)
            engine.drain({})
            assert "no more files" in engine.rotation_error
            assert stored_rows(path) == list(range(35)), "it goes on where it is"
        ring.write_arrow_batch(rows(35, 5))
        engine.drain({})
        assert not engine.rotation_error and engine.path.endswith("out_part2.h5")


def refuse(*_: str) -> Any:
    raise errors.FileWriteError("no more files")


def test_two_writers_of_one_ring_are_independent(tmp_path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    first = HDF5Writer(tmp_path / "a.h5", ring, flush_interval_s=0.01)
    second = HDF5Writer(tmp_path / "b.h5", ring, flush_interval_s=0.01, layout="batches", compression=None)
    first.start()
    second.start()
    for number in range(20):
        ring.write_arrow_batch(rows(number * 10, 10))
        if number == 10:
            assert first.pid is not None
            os.kill(first.pid, signal.SIGKILL)
    first.stop()
    second.stop()
    assert stored_rows(tmp_path / "a.h5") == stored_rows(tmp_path / "b.h5") == list(range(200))


@pytest.mark.parametrize("killed", range(3))
def test_a_killed_writer_disturbs_no_other_of_its_ring(tmp_path: Path, make_ring: MakeRing, killed: int) -> None:
    """Three files in two layouts, one of them the ring's sink: each has its own cursor, and so every row once."""
    ring = make_ring()
    options: list[dict[str, Any]] = [{}, {"layout": "continuous", "chunk_rows": 16}, {"compression": None}]
    files = [tmp_path / f"{number}.h5" for number in range(3)]
    writers = [
        HDF5Writer(file, ring, flush_interval_s=0.002, poll_interval_s=0.002, **each)
        for file, each in zip(files, options, strict=True)
    ]
    for writer in writers:
        writer.start()
    others = [writer.pid for number, writer in enumerate(writers) if number != killed]
    for number in range(60):
        ring.write_arrow_batch(rows(number * 10, 10))
        if number % 20 == 19:
            pid = writers[killed].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            eventually(lambda pid=pid: writers[killed].pid != pid, "there is a new writer")
    assert others == [writer.pid for number, writer in enumerate(writers) if number != killed]
    for writer in writers:
        assert writer.stop().rows_lost == 0
    for file in files:
        assert stored_rows(file) == list(range(600))
        assert verify(file).ok, verify(file).problems


def test_a_writer_that_cannot_write_disturbs_no_other_of_its_ring(
    tmp_path: Path, make_ring: MakeRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ring's sink stands still; the other file takes all that is there, and the first loses what is overwritten."""
    ring = make_ring(capacity_bytes=1 << 16)
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    engines = [
        Engine(EngineOptions(str(path), {"": RingAddress(ring.path, ring.stream_id)}, fsync="never", layout=layout))
        for path, layout in zip(paths, ("batches", "continuous"), strict=True)
    ]
    with closing(engines[0]) as stuck, closing(engines[1]) as other:
        for number in range(400):
            ring.write_arrow_batch(rows(number * 50, 50))
            other.drain({})
        assert other.statistics().rows_persisted == 20_000 and other.statistics().rows_lost == 0
        stuck.drain({})
        counts = stuck.statistics()
        assert counts.rows_lost > 0 and counts.rows_persisted + counts.rows_lost == 20_000
    assert stored_rows(paths[1]) == list(range(20_000))
    assert stored_rows(paths[0]) == list(range(counts.rows_lost, 20_000))
    for path in paths:
        assert verify(path).ok, verify(path).problems


START = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def test_templates() -> None:
    filled = fill("/d/{stream}_{start:%H%M}_{index:03d}_{{x}}.h5", start=START, stream="a{b}")
    assert at(filled, 7) == "/d/a{b}_0506_007_{x}.h5"
    assert at(fill("/d/a.h5"), 7) == "/d/a.h5"


@pytest.mark.parametrize(
    "template",
    ["/d/{stream}.h5", "/d/{x}", "/d/{start.year}", "/d/{0}", "/d/{}", "/d/{", "/d/}", "/d/{start:%Y/%m}", "/d/",
     "/d/{index:{x}}", "/d/{start!r}", "/d/{index:q}", "/d/\0"],
)  # fmt: skip
def test_other_templates_are_refused(template: str, tmp_path: Path, make_ring: MakeRing) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        fill(template, start=START)


def test_what_follows_is_free(tmp_path: Path) -> None:
    for name in ("a.h5", "a_part2.h5", "b_1.h5", "b_2.h5", "b_4.h5"):
        (tmp_path / name).touch()
    plain, indexed = fill(str(tmp_path / "a.h5")), fill(str(tmp_path / "b_{index}.h5"))
    assert following(plain, str(tmp_path / "a.h5")) == str(tmp_path / "a_part3.h5")
    assert following(plain, str(tmp_path / "a_part3.h5")) == str(tmp_path / "a_part4.h5")
    assert following(indexed, str(tmp_path / "b_1.h5")) == str(tmp_path / "b_3.h5")
    assert following(indexed, str(tmp_path / "b_4.h5")) == str(tmp_path / "b_5.h5")


def test_file_follows_file(tmp_path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    ring.write_arrow_batch(rows(0, 25))
    HDF5Writer(tmp_path / "{stream}_{index}.h5", ring, rotate_rows=10).stop()
    assert sorted(entry.name for entry in tmp_path.glob("*.h5")) == ["a_1.h5", "a_2.h5", "a_3.h5"]
    with h5py.File(tmp_path / "a_1.h5") as file:
        assert file.attrs["continued_in"] == b"a_2.h5"


def test_a_file_that_follows_says_so_from_its_first_moment_on(path: Path) -> None:
    """A writer killed right after making it has written nothing else: without this it would seem to begin something."""
    with closing(Storage(str(path), continues="before.h5")), open_for_reading(str(path)) as file:
        assert list(file["runs"]) == []
        assert file.attrs["continues"] == b"before.h5"
