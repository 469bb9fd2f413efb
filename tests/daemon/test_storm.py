"""Kills in random order, and disks that fill up, under a real daemon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mulletdaq.hdf5.verify import verify
from tests.disks import mounted

from . import remote_storm
from .kill_storm import storm
from .running import ONE_STREAM, Hardware, Pids, Running, eventually, stored

DISK_MB = 24


def test_kills_in_random_order_lose_and_double_nothing(tmp_path: Path) -> None:
    """Some seconds of what ``make soak`` does for minutes."""
    rows, kills = storm(tmp_path, 3, seed=1)
    assert rows > 0 and all(kills.values())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own."""
    with mounted(tmp_path / "disk", DISK_MB << 20) as folder:
        yield folder


@pytest.mark.parametrize(
    ("reserve_mb", "left_mb", "condition"), [(8, 6, "recording_paused"), (0, 0, "recording_failed")]
)
def test_writing_stops_for_lack_of_room_and_goes_on_by_itself(
    tmp_path: Path, small_disk: Path, reserve_mb: int, left_mb: int, condition: str
) -> None:
    text = ONE_STREAM.format(daemon="", stream="", output="").replace('"data.h5"', '"disk/data.h5"')
    (tmp_path / "mullet.toml").write_text(text.replace("disk_reserve_mb = 0", f"disk_reserve_mb = {reserve_mb}"))
    daemon = Running(tmp_path, "--config", "mullet.toml")
    try:
        daemon.wait_for("ready")
        pids = Pids()
        assert Hardware(tmp_path, 500, 5000).wait() == 0
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file:
            written = 0
            while written < (DISK_MB - left_mb) << 20:
                try:
                    written += file.write(bytes(min(1 << 18, ((DISK_MB - left_mb) << 20) - written)))
                except OSError:
                    break
        rows = 100_000
        assert Hardware(tmp_path, rows, 1e9).wait() == 0
        daemon.wait_for(condition, state="on")
        assert pids.rows == 500 + rows
        ballast.unlink()
        daemon.wait_for(condition, state="off")
        eventually(lambda: daemon.said("disk_low", state="off") or not reserve_mb, "there is room")
        pids.close()
        assert daemon.stop() == 0, daemon.log
    finally:
        daemon.clean_up()
    path = small_disk / "data.h5"
    np.testing.assert_array_equal(stored(path), np.concatenate([np.arange(500), np.arange(rows)]))
    assert verify(path).ok, verify(path).problems


def test_a_stream_recorded_over_a_network_is_whole_whoever_is_killed(tmp_path: Path) -> None:
    """Recorder, its writer, service, daemon, producer, and cuts of the cable."""
    rows, kills = remote_storm.storm(tmp_path, 4, seed=1)
    assert rows > 0 and all(kills.values())
