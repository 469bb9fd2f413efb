"""The writer's own process: killed, orphaned, terminated, stuck, out of room."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

import mulletdaq
from mulletdaq import errors
from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.hdf5.verify import verify
from mulletdaq.ring import RingBuffer
from tests.waiting import PATIENCE_S

from .conftest import COMPRESSIONS, eventually, rows, stored_rows

MakeRing = Callable[..., RingBuffer]
PACKAGE_FOLDER = str(Path(mulletdaq.__path__[0]).parent)

PARENT = f"""
import os, sys, time
sys.path.insert(0, {PACKAGE_FOLDER!r})
import numpy as np, pyarrow as pa
from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.ring import RingBuffer

def rows(first, count):
    numbers = np.arange(first, first + count)
    return pa.record_batch({{"timestamp": numbers, "voltage": numbers * 0.5}})

path, ring_path = sys.argv[1:3]
"""


def run_script(body: str, *arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
    """Run an unguarded script with what every test needs."""
    code = PARENT + textwrap.dedent(body)
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, **options)


def line_of(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_parent_killed_writer_drains_and_ends(path: Path, tmp_path: Path) -> None:
    ring_path = tmp_path / "a.ring"
    parent = run_script(
        """
        ring = RingBuffer.create(ring_path, capacity_bytes=1 << 20)
        writer = HDF5Writer(path, ring, flush_interval_s=3600)
        writer.start()
        ring.write_arrow_batch(rows(0, 100))
        print(writer.pid, flush=True)
        time.sleep(600)
        """,
        path,
        ring_path,
    )
    pid = int(line_of(parent))
    parent.kill()
    parent.communicate()
    eventually(lambda: gone(pid), "the writer ends")
    assert stored_rows(path) == list(range(100))
    assert verify(path).ok
    with RingBuffer.open(str(ring_path)) as ring:
        assert ring.statistics().sink_pid is None


def test_parent_killed_but_its_fork_holds_the_pipe(path: Path, tmp_path: Path) -> None:
    parent = run_script(
        """
        ring = RingBuffer.create(ring_path, capacity_bytes=1 << 20)
        writer = HDF5Writer(path, ring, flush_interval_s=3600)
        writer.start()
        ring.write_arrow_batch(rows(0, 100))
        sibling = os.fork()
        if not sibling:
            time.sleep(600)
        print(writer.pid, sibling, flush=True)
        time.sleep(600)
        """,
        path,
        tmp_path / "a.ring",
    )
    pid, sibling = map(int, line_of(parent).split())
    parent.kill()
    try:
        eventually(lambda: gone(pid), "the writer ends")
    finally:
        os.kill(sibling, signal.SIGKILL)
        parent.communicate()
    assert stored_rows(path) == list(range(100))


def test_parent_killed_while_another_process_produces(path: Path, tmp_path: Path) -> None:
    ring_path = tmp_path / "a.ring"
    RingBuffer.create(str(ring_path), capacity_bytes=1 << 20).close()
    producer = run_script(
        """
        ring = RingBuffer.open(ring_path)
        ring.write_arrow_batch(rows(0, 10))
        print("ready", flush=True)
        sys.stdin.readline()
        ring.write_arrow_batch(rows(10, 10))
        ring.close()
        """,
        path,
        ring_path,
        stdin=subprocess.PIPE,
    )
    assert line_of(producer) == "ready"
    parent = run_script(
        """
        writer = HDF5Writer(path, RingBuffer.open(ring_path), flush_interval_s=0.02)
        writer.start()
        print(writer.pid, flush=True)
        time.sleep(600)
        """,
        path,
        ring_path,
    )
    pid = int(line_of(parent))
    parent.kill()
    parent.communicate()
    time.sleep(0.3)  # many polls: it sees that its parent is gone
    assert not gone(pid), "it stays while there is a producer"
    producer.communicate(b"\n")
    eventually(lambda: gone(pid), "the writer ends")
    assert stored_rows(path) == list(range(20))


def test_parent_that_never_stops_its_writer_leaves_a_whole_file(path: Path, tmp_path: Path) -> None:
    for run_in in ("process", "thread"):
        target = path.with_name(f"{run_in}.h5")
        parent = run_script(
            f"""
            ring = RingBuffer.create(ring_path, capacity_bytes=1 << 20)
            writer = HDF5Writer(path, ring, flush_interval_s=3600, run_in={run_in!r})
            writer.start()
            ring.write_arrow_batch(rows(0, 100))
            print(writer.pid, flush=True)
            """,
            target,
            tmp_path / f"{run_in}.ring",
        )
        pid = line_of(parent)
        parent.communicate()
        assert parent.returncode == 0
        eventually(lambda pid=pid: pid == "None" or gone(int(pid)), "the writer ends")
        assert stored_rows(target) == list(range(100))


def test_terminal_interrupt_leaves_the_writer_alone(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    writer = HDF5Writer(path, ring, flush_interval_s=0.02)
    writer.start()
    assert writer.pid is not None and os.getpgid(writer.pid) == os.getpgid(0)
    for number in range(3):
        os.kill(writer.pid, signal.SIGINT)
        os.kill(writer.pid, signal.SIGHUP)
        ring.write_arrow_batch(rows(number, 1))
        writer.flush()
    assert writer.alive
    assert writer.stop().rows_persisted == 3


def test_terminated_writer_drains_and_ends_well(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    writer = HDF5Writer(path, ring, flush_interval_s=3600)
    writer.start()
    ring.write_arrow_batch(rows(0, 10))
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGTERM)
    eventually(lambda: not writer.alive, "the writer ends")
    assert stored_rows(path) == list(range(10))
    assert writer.flush().rows_persisted == 10
    ring.write_arrow_batch(rows(10, 10))
    with pytest.raises(errors.WriterError, match="ended by itself"):
        writer.flush()
    with pytest.raises(errors.WriterError, match="ended by itself"):
        writer.stop()


@pytest.mark.parametrize("stream", ["-c", "-", "file"])
def test_unguarded_scripts(path: Path, tmp_path: Path, stream: str) -> None:
    code = PARENT + textwrap.dedent(
        """
        ring = RingBuffer.create(ring_path, capacity_bytes=1 << 20)
        writer = HDF5Writer(path, ring)
        writer.start()
        ring.write_arrow_batch(rows(0, 100))
        print(writer.stop().rows_persisted)
        """
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    program = {"-c": ["-c", code], "-": ["-"], "file": [str(script)]}[stream]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    (tmp_path / "numpy.py").write_text("raise ImportError('shadowed')")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "h5py.py").write_text("raise ImportError('not to be found in the working directory')")
    if stream == "file":
        (tmp_path / "numpy.py").unlink()
    result = subprocess.run(
        [sys.executable, *program, str(path), str(tmp_path / "a.ring")],
        input=code if stream == "-" else "",
        text=True,
        capture_output=True,
        cwd=folder if stream == "file" else None,
        env=environment,
        timeout=PATIENCE_S,
        check=False,
    )
    assert result.stdout == "100\n", result.stderr
    assert result.stderr == ""
    assert stored_rows(path) == list(range(100))


def limit_file_size(pid: int, size: int | None) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


def hold_next(but: int | None) -> int:
    """Stop a writer's process just after its start, long before it is ready; its id."""

    def find() -> int | None:
        for child in psutil.Process().children():
            with suppress(psutil.Error):
                if child.pid != but and "mulletdaq.hdf5.process" in child.cmdline():
                    child.suspend()
                    return int(child.pid)
        return None

    return int(eventually(find, "a writer's process begins"))


def test_a_process_that_hangs_before_it_is_ready_is_killed(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    reports: list[str] = []
    writer = HDF5Writer(path, ring, flush_interval_s=0.05, start_patience_s=1, report=reports.append)
    told: list[str] = []

    def start() -> None:
        with pytest.raises(errors.WriterError) as refusal:
            writer.start()
        told.append(str(refusal.value))

    starting = threading.Thread(target=start)
    starting.start()
    first = hold_next(None)
    starting.join()
    assert "was killed by SIGKILL" in told[0]
    assert f"(process {first}) has done nothing for 1 s before it was ready" in reports[0]

    writer.start()
    ring.write_arrow_batch(rows(0, 100))
    living = writer.pid
    assert living is not None
    os.kill(living, signal.SIGKILL)
    held = hold_next(living)
    eventually(lambda: writer.pid not in (living, held) and not writer.restarting, "another one is ready")
    assert writer.restarts == 2
    writer.stop()
    assert len(stored_rows(path)) == 100
    assert verify(path).ok


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_full_disk_is_reported_once_and_writing_resumes(
    path: Path, make_ring: MakeRing, capfd: pytest.CaptureFixture[str], compression: Any
) -> None:
    ring = make_ring(capacity_bytes=8 << 20)
    writer = HDF5Writer(path, ring, flush_interval_s=0.02, compression=compression)
    writer.start()
    ring.write_arrow_batch(rows(0, 1000))
    before = writer.flush()
    assert writer.pid is not None
    limit_file_size(writer.pid, before.file_bytes + 2000)
    ring.write_arrow_batch(rows(1000, 50_000))
    with pytest.raises(errors.FileWriteError, match="ring keeps"):
        writer.flush()
    time.sleep(0.3)  # several tries
    ring.write_arrow_batch(rows(51_000, 1000))
    with pytest.raises(errors.FileWriteError):
        writer.flush()
    assert writer.statistics().rows_persisted == 1000
    assert writer.statistics().lag_s > 0
    limit_file_size(writer.pid, None)
    eventually(lambda: writer.statistics().rows_persisted == 52_000, "writing resumes")
    assert writer.stop().rows_persisted == 52_000
    assert stored_rows(path) == list(range(52_000))
    assert verify(path).ok, verify(path).problems
    told = capfd.readouterr().err.splitlines()
    assert sum("cannot write" in line for line in told) == 1
    assert sum("works again" in line for line in told) == 1


def test_stop_on_a_full_disk_ends_and_the_ring_keeps_the_rows(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring(capacity_bytes=8 << 20)
    writer = HDF5Writer(path, ring, flush_interval_s=3600)
    writer.start()
    ring.write_arrow_batch(rows(0, 1000))
    before = writer.flush()
    assert writer.pid is not None
    limit_file_size(writer.pid, before.file_bytes)
    ring.write_arrow_batch(rows(1000, 50_000))
    with pytest.raises(errors.FileWriteError, match="ring keeps"):
        writer.stop()
    assert not writer.alive
    assert ring.statistics().sink_pid is None
    other = path.with_name("other.h5")
    HDF5Writer(other, ring).stop()
    assert stored_rows(other) == list(range(51_000))


def test_drain_timeout_is_told_and_the_writer_finishes_by_itself(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    writer = HDF5Writer(path, ring, flush_interval_s=3600, drain_timeout_s=0.2)
    writer.start()
    assert (pid := writer.pid) is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        ring.write_arrow_batch(rows(0, 10))
        with pytest.raises(errors.WriterError, match="within 0.2 s"):
            writer.flush()
        with pytest.raises(errors.WriterError, match="within 0.2 s"):
            writer.stop()
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: gone(pid), "the writer ends")
    assert stored_rows(path) == list(range(10))


def test_stopped_owner_does_not_hold_up_the_writer(path: Path, tmp_path: Path) -> None:
    """The events of hundreds of commits fill the pipe that nobody reads; the rows go on into the file."""
    ring_path = tmp_path / "a.ring"
    producer = RingBuffer.create(str(ring_path), capacity_bytes=1 << 20)
    parent = run_script(
        """
        writer = HDF5Writer(path, RingBuffer.open(ring_path), flush_interval_s=0.001, poll_interval_s=0.001)
        writer.start()
        print(writer.pid, flush=True)
        time.sleep(600)
        """,
        path,
        ring_path,
    )
    pid = int(line_of(parent))
    os.kill(parent.pid, signal.SIGSTOP)
    written = 0
    while producer.read_tail < 200_000:
        producer.write_arrow_batch(rows(written, 100))
        written += 100
        time.sleep(0.001)
        assert not gone(pid)
    producer.close()
    parent.kill()
    parent.communicate()
    eventually(lambda: gone(pid), "the writer ends")
    assert stored_rows(path) == list(range(written))


def test_idle_writer_rests(path: Path, make_ring: MakeRing) -> None:
    writer = HDF5Writer(path, make_ring(), flush_interval_s=3600)
    writer.start()
    process = psutil.Process(writer.pid)
    before = process.num_ctx_switches().voluntary
    time.sleep(0.5)
    switches = process.num_ctx_switches().voluntary - before
    writer.stop()
    assert 0 < switches < 200, "it sleeps between its 50 looks a second"
