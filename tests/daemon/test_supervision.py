"""The real daemon: what dies is replaced, what hangs is killed, what a killed daemon left is gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest

import mulletdaq as mullet
from mulletdaq.hdf5.verify import verify
from mulletdaq.ring import ring_path

from .running import ONE_STREAM, Hardware, Pids, Running, eventually, stored

Start = Callable[..., Running]

SIMULATED = 'source = { name = "simulated", rate_hz = 200.0 }'


def finish(daemon: Running, path: Path, rows: int) -> None:
    """Stop in good order; the file then has exactly what was produced."""
    assert daemon.stop() == 0, daemon.log
    np.testing.assert_array_equal(stored(path), np.arange(rows))
    assert verify(path).ok, verify(path).problems
    assert not ring_path("data").exists(), "all is saved, and nobody produces"


def test_a_script_fills_the_stream_and_a_good_end_saves_everything(start: Start, tmp_path: Path) -> None:
    daemon = start()
    hardware = Hardware(tmp_path, 500, 2000)
    assert hardware.wait() == 0
    finish(daemon, tmp_path / "data.h5", 500)


def test_a_writer_that_is_killed_is_replaced_and_nothing_is_lost(start: Start, tmp_path: Path) -> None:
    daemon = start()
    pids = Pids()
    hardware = Hardware(tmp_path, 2000, 1000)
    for _ in range(2):
        writer = eventually(lambda: pids.writer, "there is a writer")
        os.kill(writer, signal.SIGKILL)
        eventually(lambda old=writer: pids.writer not in (None, old), "there is another one")
    assert hardware.wait() == 0
    pids.close()
    finish(daemon, tmp_path / "data.h5", 2000)
    assert "was killed by SIGKILL" in daemon.said("writer")[0]["message"]


def test_a_writer_that_is_told_to_end_by_others_is_replaced(start: Start, tmp_path: Path) -> None:
    daemon = start()
    pids = Pids()
    hardware = Hardware(tmp_path, 2000, 1000)
    writer = eventually(lambda: pids.writer, "there is a writer")
    os.kill(writer, signal.SIGTERM)
    daemon.wait_for("writer_ended")
    eventually(lambda: pids.writer not in (None, writer), "there is another one")
    assert hardware.wait() == 0
    pids.close()
    finish(daemon, tmp_path / "data.h5", 2000)


def test_sigterm_to_the_whole_group_loses_nothing(start: Start, tmp_path: Path) -> None:
    daemon = start()
    hardware = Hardware(tmp_path, 2000, 1000)
    os.killpg(daemon.process.pid, signal.SIGTERM)
    assert daemon.process.wait() == 0, daemon.log
    assert hardware.wait() == 0
    # The next daemon goes on with what the script wrote after the end of this one.
    finish(start(), tmp_path / "data.h5", 2000)


def test_a_source_that_is_killed_is_replaced(start: Start, tmp_path: Path) -> None:
    daemon = start(stream=SIMULATED)
    pids = Pids()
    eventually(lambda: pids.rows > 0, "it measures")
    for _ in range(2):
        source = eventually(lambda: pids.producer, "there is a source")
        os.kill(source, signal.SIGKILL)
        eventually(lambda old=source: pids.producer not in (None, old), "there is another one")
    rows = pids.rows
    eventually(lambda: pids.rows > rows, "it measures")
    pids.close()
    assert daemon.stop() == 0
    assert "the source of stream data was killed by SIGKILL" in daemon.said("child_died")[0]["message"]
    assert stored(tmp_path / "data.h5", "voltage").size > rows
    assert verify(tmp_path / "data.h5").ok


def test_a_writer_that_stands_still_is_told_of_and_replaced(start: Start, tmp_path: Path) -> None:
    daemon = start(daemon="stall_timeout_s = 4")
    pids = Pids()
    hardware = Hardware(tmp_path, 500, 1000)
    assert hardware.wait() == 0
    writer = eventually(lambda: pids.writer, "there is a writer")
    os.kill(writer, signal.SIGSTOP)
    hardware = Hardware(tmp_path, 500, 1000)
    assert hardware.wait() == 0
    stalled = daemon.wait_for("writer_stalled", state="on")
    assert f"process {writer}" in stalled["message"]
    daemon.wait_for("writer_killed")
    daemon.wait_for("writer_stalled", state="off")
    eventually(lambda: pids.writer not in (None, writer), "there is another one")
    pids.close()
    assert daemon.stop() == 0
    np.testing.assert_array_equal(stored(tmp_path / "data.h5"), np.concatenate([np.arange(500)] * 2))
    assert verify(tmp_path / "data.h5").ok


def test_a_writer_that_hangs_before_it_is_ready_is_told_of_and_replaced(start: Start, tmp_path: Path) -> None:
    daemon = start(daemon="stall_timeout_s = 2", wait=False)

    def held() -> int | None:
        for child in psutil.Process(daemon.process.pid).children():
            with suppress(psutil.Error):
                if "mulletdaq.hdf5.process" in child.cmdline():
                    child.suspend()
                    return int(child.pid)
        return None

    writer = eventually(held, "a writer's process begins")
    assert f"process {writer}) has done nothing for 2 s" in daemon.wait_for("writer")["message"]
    daemon.wait_for("ready")
    assert Hardware(tmp_path, 100, 1000).wait() == 0
    finish(daemon, tmp_path / "data.h5", 100)


def test_a_source_that_stands_still_is_told_of_and_replaced(start: Start) -> None:
    daemon = start(daemon="stall_timeout_s = 4", stream=SIMULATED)
    pids = Pids()
    eventually(lambda: pids.rows > 0, "it measures")
    source = eventually(lambda: pids.producer, "there is a source")
    os.kill(source, signal.SIGSTOP)
    daemon.wait_for("child_stalled", state="on")
    daemon.wait_for("child_died")
    daemon.wait_for("child_stalled", state="off")
    eventually(lambda: pids.producer not in (None, source), "there is another one")
    pids.close()
    assert daemon.stop() == 0


@pytest.mark.parametrize("stopped", [False, True])
def test_a_killed_daemon_is_gone_on_with(start: Start, tmp_path: Path, stopped: bool) -> None:
    daemon = start()
    hardware = Hardware(tmp_path, 4000, 1000)
    pids = Pids()
    writer = eventually(lambda: pids.writer, "there is a writer")
    eventually(lambda: (ring_path("data").parent / "daemon.json").exists(), "it has been noted")
    if stopped:
        os.kill(writer, signal.SIGSTOP)
    daemon.kill()
    after = start()
    assert f"process {writer}" in after.wait_for("survivor")["message"]
    after.wait_for("ring_found")
    eventually(lambda: pids.writer not in (None, writer), "there is another writer")
    assert hardware.wait() == 0
    pids.close()
    finish(after, tmp_path / "data.h5", 4000)


def test_a_second_daemon_is_refused_and_the_first_goes_on(start: Start, tmp_path: Path) -> None:
    daemon = start()
    second = start(wait=False)
    assert second.process.wait() == 1
    refused = second.wait_for("start_failed")
    assert (
        f"a daemon runs already on the rings in {ring_path('data').parent} (process {daemon.process.pid})"
        in (refused["message"])
    )
    hardware = Hardware(tmp_path, 100, 1000)
    assert hardware.wait() == 0
    finish(daemon, tmp_path / "data.h5", 100)


def test_an_output_that_is_no_file_of_ours_is_refused(start: Start, tmp_path: Path) -> None:
    (tmp_path / "data.h5").write_bytes(b"not HDF5" * 1000)
    daemon = start(wait=False)
    assert daemon.process.wait() == 1
    assert "not an HDF5 file" in daemon.wait_for("start_failed")["message"]
    assert not daemon.said("not_saved"), "that was said already"
    assert (tmp_path / "data.h5").read_bytes() == b"not HDF5" * 1000


def test_an_output_that_somebody_holds_is_waited_for(start: Start, tmp_path: Path) -> None:
    held = subprocess.Popen(
        [sys.executable, "-c", "import h5py; f = h5py.File('data.h5', 'w'); print('held', flush=True); input()"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert held.stdout is not None and held.stdin is not None
    held.stdout.readline()
    daemon = start()
    assert "data.h5, not written yet: " in daemon.said("ready")[0]["message"]
    assert "trying again" in daemon.said("recording_failed")[0]["message"]
    hardware = Hardware(tmp_path, 100, 1000)
    assert hardware.wait() == 0
    held.kill()
    held.wait()
    (tmp_path / "data.h5").unlink()
    daemon.wait_for("recording_failed", state="off")
    held.stdin.close()
    held.stdout.close()
    finish(daemon, tmp_path / "data.h5", 100)


def test_rows_that_no_file_takes_stay_in_the_ring_and_the_end_says_so(start: Start, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "data.h5", "w"):
        daemon = start()
        daemon.wait_for("recording_failed")
        assert Hardware(tmp_path, 100, 1000).wait() == 0
        assert daemon.stop() == 1
        [told] = daemon.said("not_saved")
        assert "data.h5: recording data could not start: " in told["message"]
    (tmp_path / "data.h5").unlink()
    finish(start(), tmp_path / "data.h5", 100)


def test_columns_of_the_configuration_are_the_rings(start: Start, tmp_path: Path) -> None:
    daemon = start(stream="channels = { value = '' }")
    hardware = Hardware(tmp_path, 100, 1000)
    assert hardware.wait() == 0
    finish(daemon, tmp_path / "data.h5", 100)


def test_a_ring_with_other_columns_is_not_touched(start: Start, tmp_path: Path) -> None:
    daemon = start(stream="channels = { value = '' }")
    daemon.kill()
    other = start(stream="channels = { other = 'K' }", wait=False)
    assert other.process.wait() == 1
    assert "the ring found at" in other.wait_for("start_failed")["message"]
    finish_again = start(stream="channels = { value = '' }")
    hardware = Hardware(tmp_path, 100, 1000)
    assert hardware.wait() == 0
    finish(finish_again, tmp_path / "data.h5", 100)


def test_a_source_with_other_columns_than_the_ring_writes_nothing(start: Start, tmp_path: Path) -> None:
    daemon = start(stream="channels = { value = '' }")
    daemon.kill()
    other = start(stream=SIMULATED)
    died = other.wait_for("child_died")
    assert "SchemaMismatchError" in died["message"]
    assert "timestamp, value" in died["message"]
    other.kill()
    finish_again = start(stream="channels = { value = '' }")
    assert Hardware(tmp_path, 100, 1000).wait() == 0
    finish(finish_again, tmp_path / "data.h5", 100)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_what_runs_for_months_has_no_large_package(start: Start) -> None:
    """Of the daemon and its source; the writer needs them."""
    daemon = start(stream=SIMULATED)
    pids = Pids()
    eventually(lambda: pids.rows > 0, "the source measures")
    for pid in (daemon.process.pid, pids.producer):
        mapped = Path(f"/proc/{pid}/maps").read_text()
        assert "_core.abi3.so" in mapped
        assert not [name for name in ("libarrow", "numpy", "libhdf5") if name in mapped]
    pids.close()


def test_rings_are_readable_by_the_group_only_when_that_is_wanted(start: Start) -> None:
    daemon = start()
    assert ring_path("data").stat().st_mode & 0o777 == 0o600
    daemon.kill()
    daemon = start(daemon="group_readable = true")
    assert ring_path("data").stat().st_mode & 0o777 == 0o640
    assert ring_path("data").parent.stat().st_mode & 0o777 == 0o750
    assert daemon.stop() == 0


def test_a_killed_daemon_goes_on_in_the_files_it_had(tmp_path: Path) -> None:
    """Named after the time, the file would be another one, with rows that the first one has already."""
    text = ONE_STREAM.format(daemon="", stream="", output="")
    (tmp_path / "mullet.toml").write_text(text.replace("data.h5", "data_{start:%Y%m%dT%H%M%S}_{index}.h5"))
    daemon = Running(tmp_path, "--config", "mullet.toml")
    try:
        daemon.wait_for("ready")
        assert Hardware(tmp_path, 500, 2000).wait() == 0
        eventually(lambda: [rows for _, rows in rows_in_files(tmp_path)] == [500], "all is written")
        eventually(lambda: "recordings" in memory() and memory()["recordings"], "it has been noted")
        daemon.kill()
        daemon.clean_up()
        daemon = Running(tmp_path, "--config", "mullet.toml")
        daemon.wait_for("ready")
        assert Hardware(tmp_path, 500, 2000).wait() == 0
        assert daemon.stop() == 0
    finally:
        daemon.clean_up()
    [(written, rows)] = rows_in_files(tmp_path)
    assert rows == 1000
    np.testing.assert_array_equal(stored(written), np.concatenate([np.arange(500)] * 2))


def memory() -> dict[str, object]:
    """What the daemon notes for a successor."""
    try:
        noted: dict[str, object] = json.loads((ring_path("data").parent / "daemon.json").read_text())
    except OSError:
        return {}
    return noted


def rows_in_files(folder: Path) -> list[tuple[Path, int]]:
    """Each file with how many rows it has."""
    found = []
    for path in sorted(folder.glob("*.h5")):
        with mullet.open(path) as file:
            found.append((path, sum(batch.attrs["rows"] for batch in file["measurements"].values())))
    return found


@pytest.mark.parametrize(("layout", "expected"), [("batches", 1), ("continuous", 0)])
def test_many_objects_a_day_are_told_of_once(start: Start, tmp_path: Path, layout: str, expected: int) -> None:
    """As soon as the columns are known: the script brings them after the daemon has begun."""
    daemon = start(output=f'layout = "{layout}"')
    assert not daemon.said("many_objects")
    assert Hardware(tmp_path, 500, 1000).wait() == 0
    if expected:
        told = daemon.wait_for("many_objects")
        assert told["level"] == "warning" and told["recording"] == "data"
        assert 'use layout="continuous"' in told["message"] and "million a day" in told["message"]
    assert daemon.stop() == 0, daemon.log
    assert mullet.load(tmp_path / "data.h5", as_="arrow")["value"].to_pylist() == list(range(500))
    assert len(daemon.said("many_objects")) == expected
