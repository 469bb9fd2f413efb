"""Recordings at a steady rate, with real rings, writers and files."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import mulletdaq as mullet
from mulletdaq.benchmark.course import Course
from mulletdaq.benchmark.load import Load, signal
from mulletdaq.errors import FileWriteError
from mulletdaq.hdf5.verify import verify


def load(folder: Path, course: Course, *, channels: int = 1, ring_mb: float = 1, reserve_mb: float = 0) -> Load:
    return Load(
        folder, channels, "gzip", interval_s=0.1, ring_mb=ring_mb, reserve_mb=reserve_mb, course=course
    )  # fmt: skip


def test_a_rate_that_is_too_high_is_seen_and_the_next_one_judged_by_itself(
    tmp_path: Path, ring_directory: Path
) -> None:
    with load(tmp_path, Course(60)) as recording:
        flood = recording.hold(1e9, 0.2)
        assert flood.lost > 0
        assert not flood.held
        assert flood.kept_hz < 1e9
        calm = recording.hold(1000.0, 0.3)
        assert (calm.rate_hz, calm.lost) == (1000.0, 0)
        assert calm.kept_hz <= 1000.0
        assert flood.peak_fill > calm.peak_fill
        recording.flush()
        report = verify(recording.path)
        assert report.ok, report.problems
        with mullet.open(recording.path) as file:
            rows = [batch["channel_0"][:] for batch in file["measurements"].values()]
        assert sum(map(len, rows)) == 300
        assert {float(value) for part in rows for value in part} <= set(signal().tolist())
        assert len(list(tmp_path.glob("*.h5"))) == 1  # that of the flood is gone
    assert list(ring_directory.iterdir()) == []


def test_many_channels_are_different(tmp_path: Path) -> None:
    with load(tmp_path, Course(60), channels=3) as recording:
        recording.hold(10_000.0, 0.1)
        recording.flush()
        newest = recording.ring.latest(100)
        assert list(newest) == ["timestamp", "channel_0", "channel_1", "channel_2"]
        assert recording.row_bytes == sum(column.itemsize for column in newest.values())
        assert len({column.tobytes() for column in newest.values()}) == 4


def test_a_stop_is_heard_within_a_hold(tmp_path: Path, ring_directory: Path) -> None:
    stop = threading.Event()
    done: list[str] = []

    def watch(doing: str, share: float) -> None:
        done.append(doing)
        stop.set()

    course = Course(60, watch, stop)
    course.doing = "this"
    with pytest.raises(KeyboardInterrupt), load(tmp_path, course) as recording:
        recording.hold(1000.0, 3600.0)
    assert done == ["this"]
    assert list(ring_directory.iterdir()) == []


def test_a_disk_that_is_too_full_ends_it(tmp_path: Path, ring_directory: Path) -> None:
    """The writer pauses, and a benchmark does not wait for others to make room."""
    with load(tmp_path, Course(60), reserve_mb=1e12) as recording:
        assert recording.most_hz(1.0) == 0.0
        with pytest.raises(FileWriteError, match="only .* MB are free"):
            recording.hold(1000.0, 0.2)
    assert list(ring_directory.iterdir()) == []
