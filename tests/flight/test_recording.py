"""A daemon's stream into a file here: over broken connections, kills on either side, and new rings."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest

import mulletdaq as mullet
from mulletdaq import errors
from mulletdaq.flight import remote_source
from mulletdaq.hdf5.verify import verify
from mulletdaq.ring import RingBuffer
from tests.hdf5.conftest import batches_of, stored_rows

from .conftest import SCHEMA, rows
from .proxy import Cable
from .supervisor import Supervisor, eventually

Record = Callable[..., mullet.HDF5Writer]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.h5"


@pytest.fixture
def told() -> list[str]:
    """What the writers of a test reported."""
    return []


@pytest.fixture
def record(path: Path, service: Supervisor, told: list[str]) -> Iterator[Record]:
    """Writers of the stream ``scope``, started, and stopped after the test."""
    made: list[mullet.HDF5Writer] = []

    def begin(address: str | None = None, **options: Any) -> mullet.HDF5Writer:
        with mullet.connect(address or service.address) as daemon:
            options = {"flush_interval_s": 0.05, "report": told.append, **options}
            made.append(mullet.HDF5Writer(path, daemon.stream("scope"), **options))
        made[-1].start()
        return made[-1]

    yield begin
    for writer in made:
        if writer.alive:
            writer.stop()


class Production:
    """Rows written to a ring in the background, until it is ended."""

    def __init__(self, ring: RingBuffer, block: int = 50, pause_s: float = 0.002) -> None:
        self._ring, self._block, self._pause_s = ring, block, pause_s
        self._ending = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ending:
            self._ring.write_arrow_batch(rows(self._ring.newest_row, self._block))
            time.sleep(self._pause_s)

    def end(self) -> int:
        """Rows there are."""
        self._ending = True
        self._thread.join()
        return self._ring.newest_row


def losses_of(path: Path) -> dict[str, list[Any]]:
    with h5py.File(path, "r") as file:
        return {name: column[:].tolist() for name, column in file["losses"].items()}


def runs_of(path: Path) -> list[dict[str, Any]]:
    with h5py.File(path, "r") as file:
        return [dict(run.attrs) for run in file["runs"].values()]


def assert_whole(path: Path, total: int) -> None:
    """Every row once, none lost."""
    assert stored_rows(path) == list(range(total))
    assert not losses_of(path).get("rows")
    assert verify(path).ok, verify(path).problems


@pytest.mark.parametrize("layout", ["batches", "continuous"])
@pytest.mark.parametrize("run_in", ["process", "thread"])
def test_what_is_there_and_what_comes(
    record: Record, ring: RingBuffer, path: Path, service: Supervisor, layout: str, run_in: str
) -> None:
    ring.write_arrow_batch(rows(0, 1000))
    writer = record(layout=layout, run_in=run_in)
    with ring.producer(SCHEMA) as producer:
        for number in range(1000, 3000):
            producer.append(number * 0.5, timestamp_ns=number)
        assert writer.flush().rows_persisted == 3000
        for number in range(3000, 3500):
            producer.append(number * 0.5, timestamp_ns=number)
        assert writer.stop().rows_persisted == 3500
    assert_whole(path, 3500)
    (run,) = runs_of(path)
    assert run["origin"].decode() == f"{service.address}/scope"
    assert (run["stream_id"], run["start_ns"]) == (ring.stream_id, ring.created_ns)
    assert (run["ring_position"], run["next_row"]) == (-1, 3500)
    assert batches_of(path)[0]["ring_tail"] == -1


def test_a_writer_that_was_never_started(path: Path, service: Supervisor, ring: RingBuffer) -> None:
    ring.write_arrow_batch(rows(0, 1000))
    with mullet.connect(service.address) as daemon:
        writer = mullet.HDF5Writer(path, {"scope": daemon.stream("scope")})
        assert writer.flush().rows_persisted == 1000
        ring.write_arrow_batch(rows(1000, 1000))
        assert writer.stop().streams["scope"].rows_persisted == 2000
    assert stored_rows(path, "scope") == list(range(2000))


def test_where_a_new_file_begins(path: Path, service: Supervisor, ring: RingBuffer) -> None:
    ring.write_arrow_batch(rows(0, 1000))
    with mullet.connect(service.address) as daemon:
        stream = daemon.stream("scope")
        for name, start, expected in (("latest", "latest", 1000), ("row", 700, 700), ("oldest", "oldest", 0)):
            writer = mullet.HDF5Writer(path.with_name(f"{name}.h5"), stream, start=start)  # type: ignore[arg-type]
            ring.write_arrow_batch(rows(ring.newest_row, 10))
            writer.stop()
            assert stored_rows(path.with_name(f"{name}.h5")) == list(range(expected, ring.newest_row))
        with pytest.raises(errors.RequestError, match="is no row of grpc"):
            mullet.HDF5Writer(path, stream, start=5000)
        with pytest.raises(ValueError, match="since_ns is for rings"):
            mullet.HDF5Writer(path, stream, since_ns=5)
        with pytest.raises(errors.StreamNotFoundError, match="there are scope"):
            daemon.stream("nobody")


def test_fifty_cuts_lose_and_double_nothing(record: Record, ring: RingBuffer, path: Path, service: Supervisor) -> None:
    with Cable(service.port) as cable:
        production = Production(ring)
        writer = record(cable.address)
        cuts = 0
        while cuts < 50:
            passed = cable.bytes_passed
            eventually(lambda passed=passed: cable.bytes_passed > passed + 4000, "rows go over the cable")
            cuts += cable.cut()
        total = production.end()
        assert writer.stop().rows_persisted == total
    assert total > 5000
    assert_whole(path, total)


def test_kills_of_the_service_and_of_the_writer(
    record: Record, ring: RingBuffer, path: Path, service: Supervisor
) -> None:
    production = Production(ring)
    writer = record()
    for _ in range(2):
        before = writer.statistics().rows_persisted
        eventually(lambda before=before: writer.statistics().rows_persisted > before, "it goes on")
        service.kill()
        before = writer.statistics().rows_persisted
        eventually(lambda before=before: writer.statistics().rows_persisted > before, "it goes on")
        pid = writer.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    total = production.end()
    assert writer.stop().rows_persisted == total
    assert_whole(path, total)


def test_an_owner_that_is_killed_takes_its_writer_along(path: Path, service: Supervisor, ring: RingBuffer) -> None:
    """Rows go on coming, but wait over there for the same command, which goes on at the next one."""
    import subprocess
    import sys

    script = f"""
import time, mulletdaq as mullet
writer = mullet.HDF5Writer({str(path)!r}, mullet.connect({service.address!r}).stream("scope"), flush_interval_s=0.05)
writer.start()
while not writer.statistics().rows_persisted:
    time.sleep(0.01)
print("recording", flush=True)
time.sleep(600)
"""
    production = Production(ring)
    for _ in range(3):
        owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert owner.stdout is not None
        assert owner.stdout.readline() == "recording\n"
        owner.kill()
        owner.communicate()
    total = production.end()
    with mullet.connect(service.address) as daemon:
        mullet.HDF5Writer(path, daemon.stream("scope")).stop()
    assert_whole(path, total)
    assert len(runs_of(path)) == 1


def test_a_new_ring_is_a_new_run(
    record: Record, service: Supervisor, ring: RingBuffer, ring_directory: Path, path: Path, told: list[str]
) -> None:
    ring.write_arrow_batch(rows(0, 1000))
    writer = record()
    eventually(lambda: writer.statistics().rows_persisted == 1000, "the first ring is in the file")
    second = RingBuffer.create(ring_directory / "second.ring", capacity_mb=1)
    second.write_arrow_batch(rows(0, 10))
    service.rings["scope"] = second
    service.kill()
    eventually(lambda: writer.statistics().streams[""].run == 2, "there is a second run")
    second.write_arrow_batch(rows(10, 490))
    writer.stop()
    assert stored_rows(path) == [*range(1000), *range(500)]
    assert [run["stream_id"] for run in runs_of(path)] == [ring.stream_id, second.stream_id]
    assert verify(path).ok
    assert any("has a new ring" in line for line in told)
    ring.close()


@pytest.mark.parametrize("layout", ["batches", "continuous"])
def test_loss_is_counted_row_by_row(
    record: Record, service: Supervisor, ring: RingBuffer, path: Path, layout: str
) -> None:
    """The recorder stands still for ten rings' worth of rows."""
    ring.write_arrow_batch(rows(0, 1000))
    writer = record(layout=layout)
    eventually(lambda: writer.statistics().rows_persisted == 1000, "the first rows are in the file")
    pid = writer.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    total = 10 * ring.capacity_bytes // 16
    while ring.newest_row < total:
        ring.write_arrow_batch(rows(ring.newest_row, 1000))
    total = ring.newest_row
    os.kill(pid, signal.SIGCONT)
    statistics = writer.stop()
    assert statistics.rows_persisted + statistics.rows_lost == total
    assert statistics.rows_lost > 0
    losses = losses_of(path)
    gaps = zip(losses["first_row"], losses["rows"], strict=True)
    lost = {row for first, count in gaps for row in range(first, first + count)}
    assert stored_rows(path) == [row for row in range(total) if row not in lost]
    assert set(losses["cause"]) == {b"overwritten"}
    assert verify(path).ok, verify(path).problems


def test_loss_while_nobody_recorded(path: Path, service: Supervisor, ring: RingBuffer) -> None:
    with mullet.connect(service.address) as daemon:
        ring.write_arrow_batch(rows(0, 1000))
        mullet.HDF5Writer(path, daemon.stream("scope")).stop()
        while ring.newest_row < 500_000:
            ring.write_arrow_batch(rows(ring.newest_row, 1000))
        mullet.HDF5Writer(path, daemon.stream("scope")).stop()
    losses = losses_of(path)
    assert losses["first_row"] == [1000]
    assert stored_rows(path) == [*range(1000), *range(1000 + losses["rows"][0], 500_000)]
    assert verify(path).ok, verify(path).problems


def test_rows_whose_checksum_is_wrong_are_told_apart(path: Path, service: Supervisor, ring_directory: Path) -> None:
    with RingBuffer.create(ring_directory / "sums.ring", capacity_mb=1, checksum=True) as sums:
        for first in range(0, 300, 100):
            sums.write_arrow_batch(pa.record_batch({"timestamp": np.arange(first, first + 100), "word": ["x"] * 100}))
        position = sums.cursor()
        position.read()
        with open(sums.path, "r+b") as file:
            file.seek(128 + position.position + 64 + 600)
            file.write(b"\xff" * 8)
        service.rings["sums"] = sums
        with mullet.connect(service.address) as daemon:
            eventually(lambda: "sums" in [one.name for one in daemon.streams()], "it is listed")
            mullet.HDF5Writer(path, daemon.stream("sums")).stop()
        del service.rings["sums"]
    losses = losses_of(path)
    assert (losses["first_row"], losses["rows"], losses["cause"]) == ([100], [100], [b"corrupt"])
    assert verify(path).ok, verify(path).problems


def test_a_stream_without_columns_is_waited_for(record: Record, ring: RingBuffer, path: Path, told: list[str]) -> None:
    writer = record()
    eventually(lambda: any("has no columns yet" in line for line in told), "that is told")
    eventually(lambda: "has no columns yet" in writer.statistics().trouble, "statistics say so")
    ring.write_arrow_batch(rows(0, 100))
    eventually(lambda: writer.statistics().rows_persisted == 100, "it records")
    assert any("come again" in line for line in told)
    writer.stop()
    assert_whole(path, 100)


def test_messages_become_what_they_are_here(path: Path, service: Supervisor, ring: RingBuffer) -> None:
    for number in range(300):
        ring.write(b"message %d" % number, timestamp_ns=number)
    with mullet.connect(service.address) as daemon:
        mullet.HDF5Writer(path, daemon.stream("scope")).stop()
    (batch,) = batches_of(path)
    assert batch["raw_data"].tobytes() == b"".join(b"message %d" % number for number in range(300))
    assert batch["timestamp"].tolist() == list(range(300))
    assert verify(path).ok, verify(path).problems


def test_a_recording_begun_elsewhere_goes_on_here_and_the_other_way_round(
    path: Path, service: Supervisor, ring: RingBuffer
) -> None:
    """The file may move from computer to computer: its rows have the same numbers everywhere."""
    with mullet.connect(service.address) as daemon:
        for turn in range(4):
            ring.write_arrow_batch(rows(ring.newest_row, 1000))
            mullet.HDF5Writer(path, ring if turn % 2 else daemon.stream("scope")).stop()
    assert_whole(path, 4000)
    assert len(runs_of(path)) == 1


def test_a_network_that_is_down_is_told_once_and_ends_nothing(
    record: Record, ring: RingBuffer, path: Path, service: Supervisor, told: list[str]
) -> None:
    ring.write_arrow_batch(rows(0, 100))
    cable = Cable(service.port)
    writer = record(cable.address)
    eventually(lambda: writer.statistics().rows_persisted == 100, "the first rows are in the file")
    port = cable.port
    cable.close()
    eventually(lambda: any("does not answer" in line for line in told), "that is told")
    assert writer.alive
    eventually(lambda: "trying again" in writer.statistics().trouble, "statistics say so")
    eventually(lambda: writer.statistics().lag_s > 0.5, "and that it is behind")
    ring.write_arrow_batch(rows(100, 100))
    with Cable(service.port, port):
        eventually(lambda: writer.statistics().rows_persisted == 200, "it came back")
        writer.stop()
    assert len([line for line in told if "answer" in line]) == 1
    assert len([line for line in told if "come again, from row" in line]) == 1
    assert_whole(path, 200)


def test_an_end_that_reaches_nobody_says_what_is_missing(
    record: Record, ring: RingBuffer, path: Path, service: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_source, "_PATIENCE_S", 0.5)
    ring.write_arrow_batch(rows(0, 100))
    with Cable(service.port) as cable:
        writer = record(cable.address, run_in="thread")
        eventually(lambda: writer.statistics().rows_persisted == 100, "the first rows are in the file")
    with pytest.raises(errors.WriterError, match="from row 100 on is not in the file.*the same command goes on"):
        writer.stop()
    assert stored_rows(path) == list(range(100))


def test_what_cannot_be_stored_is_refused(path: Path, service: Supervisor, ring: RingBuffer) -> None:
    ring.write_arrow_batch(pa.record_batch({"timestamp": [1], "nothing": pa.nulls(1)}))
    with mullet.connect(service.address) as daemon, pytest.raises(errors.UnsupportedTypeError, match="nothing"):
        mullet.HDF5Writer(path, daemon.stream("scope"))
    assert not path.exists()
