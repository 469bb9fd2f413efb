"""What whoever supervises a writer can see of it and do with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mulletdaq.errors import FileWriteError, WriterError
from mulletdaq.hdf5 import HDF5Writer, room
from mulletdaq.hdf5.verify import verify
from mulletdaq.ring import RingBuffer

from .conftest import eventually, rows, stored_rows

MakeRing = Callable[..., RingBuffer]


def test_deaths_are_counted_and_told(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    told: list[str] = []
    writer = HDF5Writer(path, ring, report=told.append)
    assert (writer.restarts, writer.last_death, writer.restarting) == (0, "", False)
    writer.start()
    pid = writer.pid
    assert pid is not None
    ring.write_arrow_batch(rows(0, 10))
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: writer.restarts == 1 and not writer.restarting, "it was replaced")
    assert writer.last_death == "was killed by SIGKILL"
    assert f"(process {pid}) was killed by SIGKILL" in told[0]
    writer.stop()
    assert stored_rows(path) == list(range(10))


def test_a_writer_that_stands_still_falls_silent_and_can_be_killed(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    writer = HDF5Writer(path, ring, flush_interval_s=0.05, report=lambda line: None)
    writer.start()
    ring.write_arrow_batch(rows(0, 10))
    eventually(lambda: writer.statistics().rows_persisted == 10, "it writes")
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGSTOP)
    ring.write_arrow_batch(rows(10, 10))
    eventually(lambda: writer.silent_s > 2, "nothing is heard of it")
    assert writer.alive and not writer.restarting
    writer.kill()
    writer.flush()
    assert writer.restarts == 1
    assert writer.silent_s < 2
    writer.stop()
    assert stored_rows(path) == list(range(20))


def test_rotation_on_demand_loses_and_doubles_nothing(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    writer = HDF5Writer(path, ring)
    with pytest.raises(WriterError, match="not started"):
        writer.rotate()
    writer.start()
    assert writer.rotate() == str(path), "there was nothing in it yet"
    ring.write_arrow_batch(rows(0, 10))
    second = writer.rotate()
    assert second == str(path.with_name("out_part2.h5"))
    assert stored_rows(path) == list(range(10))
    ring.write_arrow_batch(rows(10, 10))
    statistics = writer.stop()
    assert statistics.rows_persisted == 20
    assert stored_rows(Path(second)) == list(range(10, 20))
    assert verify(second).ok


@pytest.mark.parametrize("run_in", ["thread"])
def test_writing_pauses_before_the_disk_is_full(
    path: Path, make_ring: MakeRing, monkeypatch: pytest.MonkeyPatch, run_in: Any
) -> None:
    """The room on a disk cannot be set; a small disk is filled where the daemon is tested."""
    free_mb = [100]
    monkeypatch.setattr(room, "_free_bytes", lambda folder: free_mb[0] << 20)
    ring = make_ring()
    told: list[str] = []
    writer = HDF5Writer(path, ring, run_in=run_in, flush_interval_s=0.02, reserve_mb=50, report=told.append)
    writer.start()
    ring.write_arrow_batch(rows(0, 10))
    eventually(lambda: writer.statistics().rows_persisted == 10, "there is room")
    free_mb[0] = 49
    ring.write_arrow_batch(rows(10, 10))
    eventually(lambda: writer.statistics().paused, "it pauses")
    assert "49 MB are free" in writer.statistics().trouble
    with pytest.raises(FileWriteError, match="writing pauses"):
        writer.flush()
    free_mb[0] = 51
    eventually(lambda: "only 49" in writer.statistics().trouble, "a little more is not enough")
    assert writer.statistics().rows_persisted == 10
    free_mb[0] = 60
    eventually(lambda: writer.statistics().rows_persisted == 20, "it resumes")
    eventually(lambda: not writer.statistics().paused and not writer.statistics().trouble, "and says so")
    free_mb[0] = 10
    ring.write_arrow_batch(rows(20, 10))
    eventually(lambda: writer.statistics().paused, "it pauses again")
    writer.stop()
    assert stored_rows(path) == list(range(30)), "the last drain uses the reserve"
    assert [line.split(" for ")[0] for line in told] == [
        "only 49 MB are free",
        "there is room",
        "only 10 MB are free",
    ]
