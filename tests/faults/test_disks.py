"""A disk that is really full, while it records: told at once, nothing is spoilt, and it goes on when there is room."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mulletdaq.errors import FileWriteError
from tests.disks import mounted

from .judge import look
from .recorded import Recorded
from .roles import eventually

DISK_BYTES = 1 << 20
RING_BYTES = 512 << 10
Record = Callable[..., Recorded]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    with mounted(tmp_path / "disk", DISK_BYTES) as folder:
        yield folder


def rows_in(path: Path) -> int:
    """How many rows a stock h5py finds; those that are missing are in the ledger."""
    found = look(path)
    assert found.state == "untouched", found.why
    return found.runs[1].rows


def fill_the_disk_and_make_room(recorded: Recorded, make_room: Callable[[], None], told: Callable[[], str]) -> None:
    """The whole story of a full disk; ``told`` gives what was printed since it was asked last."""
    recorded.until(lambda: "cannot write" in told(), "the full disk is told of", rows=50)
    with pytest.raises(FileWriteError, match="ring keeps"):
        recorded.writer.flush()
    stored = rows_in(recorded.path)
    assert recorded.writer.alive and 0 < stored < recorded.row

    # The loop in front of the ring never notices: it goes on, round and round.
    for _ in range(3 * RING_BYTES // 16 // 1000):
        recorded.write(1000)
    assert recorded.ring.statistics().fill == 1
    with pytest.raises(FileWriteError, match="ring keeps"):
        recorded.writer.flush()
    assert rows_in(recorded.path) == recorded.writer.statistics().rows_persisted == stored
    assert "cannot write" not in told(), "once is enough"

    make_room()
    recorded.until(lambda: recorded.writer.statistics().rows_persisted > stored, "writing resumes by itself")
    eventually(lambda: "works again" in told(), "and that is told")
    run = recorded.check_end()
    assert run.lost_rows > 0 and run.rows + run.lost_rows == recorded.row


def test_a_full_disk(record: Record, small_disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, DISK_BYTES * 3 // 4)
    recorded = record(
        small_disk / "out.h5", capacity_bytes=RING_BYTES, on_full="overwrite", compression=None, flush_interval_s=0.02
    )
    fill_the_disk_and_make_room(recorded, ballast.unlink, lambda: capfd.readouterr().err)


def test_a_limit_of_the_files_size(record: Record, capfd: pytest.CaptureFixture[str]) -> None:
    """The same where nobody may mount: the system refuses the writer's process to make its file any longer."""
    recorded = record(capacity_bytes=RING_BYTES, on_full="overwrite", compression=None, flush_interval_s=0.02)
    _, hard = resource.prlimit(recorded.writer_pid, resource.RLIMIT_FSIZE)
    resource.prlimit(recorded.writer_pid, resource.RLIMIT_FSIZE, (DISK_BYTES // 4, hard))
    fill_the_disk_and_make_room(
        recorded,
        lambda: resource.prlimit(recorded.writer_pid, resource.RLIMIT_FSIZE, (hard, hard)) and None,
        lambda: capfd.readouterr().err,
    )


def test_a_disk_that_is_full_from_the_start(record: Record, small_disk: Path) -> None:
    """Nothing is made there, not even a journal; the ring keeps everything for another disk."""
    with (small_disk / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, DISK_BYTES)
    with pytest.raises(FileWriteError, match=r"out\.h5.*No space left"):
        record(small_disk / "out.h5")
    assert [entry.name for entry in small_disk.iterdir()] == ["ballast"]
