"""``mullet record``, as typed, and as interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress

import h5py
import numpy as np
import pytest

from .command import Mullet, group_is_gone, wait_until
from .h5 import assert_contiguous, batches, columns, rows_by_run, text


def test_the_system_source_gives_a_real_signal(mullet: Mullet) -> None:
    done = mullet("record", "--source", "system", "-o", "system.h5", "--rate", 50, "--duration", 1.5, "--json")
    assert done.returncode == 0, done.stderr
    assert done.json["samples"] + done.json["missed_ticks"] == 75
    assert done.json["lost"] == 0
    path = mullet.folder / "system.h5"
    assert assert_contiguous(path) == done.json["samples"]
    found = columns(path)
    assert np.all(np.diff(found["timestamp"]) > 0)
    assert np.all((found["memory_percent"] > 0) & (found["memory_percent"] <= 100))
    assert np.all(found["memory_used"] > 0)
    with h5py.File(path, "r") as file:
        units = {name: text(batches(file)[0][name].attrs.get("units", "")) for name in found}
        assert text(file["metadata"].attrs["source"]) == "system"
        assert file["metadata"].attrs["rate_hz"] == 50
    assert units["cpu_percent"] == "%"
    assert units["memory_used"] == "B"
    assert units["disk_written"] == "B/s"


def interrupt_group(pid: int) -> None:
    os.killpg(pid, signal.SIGINT)


def interrupt_group_twice(pid: int) -> None:
    os.killpg(pid, signal.SIGINT)
    os.killpg(pid, signal.SIGINT)


def terminate_parent(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)


def terminate_group(pid: int) -> None:
    os.killpg(pid, signal.SIGTERM)


def hang_up(pid: int) -> None:
    os.killpg(pid, signal.SIGHUP)


@pytest.mark.parametrize("stop", [interrupt_group, interrupt_group_twice, terminate_parent, terminate_group, hang_up])
def test_stopping_loses_nothing(mullet: Mullet, stop: Callable[[int], None]) -> None:
    process = mullet.record("stopped.h5", "--rate", 1000, "--json")
    mullet.wait_for_rows(300)
    stop(process.pid)
    done = mullet.finish(process)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.json["samples"] >= 300
    assert done.json["lost"] == 0
    path = mullet.folder / "stopped.h5"
    assert assert_contiguous(path) == done.json["samples"]
    assert mullet("verify", path).returncode == 0
    assert group_is_gone(process)
    assert list(mullet.rings.iterdir()) == []


def test_stopped_before_its_duration_is_over_it_says_so(mullet: Mullet) -> None:
    process = mullet.record("stopped.h5", "--duration", 600, "--json")
    mullet.wait_for_rows(1)
    interrupt_group(process.pid)
    assert mullet.finish(process).json["stopped"] is True


def test_a_killed_recording_leaves_an_orphan_that_append_saves(mullet: Mullet) -> None:
    process = mullet.record("killed.h5", "--rate", 500, "--interval", 3600)
    rows = mullet.wait_for_rows(200)["rows_written"]
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    wait_until(lambda: group_is_gone(process))
    assert [ring["state"] for ring in mullet.rings_now()] == ["orphan"]
    listed = mullet("status")
    assert "orphan" in listed.stdout
    done = mullet("record", "-s", "simulated", "-o", "killed.h5", "--append", "-d", 0.1, "--json")
    assert done.returncode == 0, done.stderr
    path = mullet.folder / "killed.h5"
    assert assert_contiguous(path) >= rows + done.json["samples"]
    assert len(rows_by_run(path)) == 2
    assert mullet.rings_now() == []


def test_a_writer_whose_parent_is_killed_saves_all_and_ends(mullet: Mullet) -> None:
    process = mullet.record("alone.h5", "--rate", 500)
    rows = mullet.wait_for_rows(200)["rows_written"]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: group_is_gone(process))
    assert assert_contiguous(mullet.folder / "alone.h5") >= rows


def test_ctrl_c_again_and_again_gives_up_and_the_writer_still_saves_all(mullet: Mullet) -> None:
    process = mullet.record("stuck.h5", "--rate", 500, "--interval", 3600)
    ring = mullet.wait_for_rows(100)
    os.kill(ring["sink_pid"], signal.SIGSTOP)
    for pause_s in (0.3, 0.3, 2, 30, 30):  # after the third it waits a while for the writer; two may come as one
        assert process.poll() is None
        os.kill(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(pause_s)
            break
    assert (process.returncode, pause_s >= 2) == (130, True)
    os.kill(ring["sink_pid"], signal.SIGCONT)
    wait_until(lambda: group_is_gone(process))
    assert assert_contiguous(mullet.folder / "stuck.h5") >= ring["rows_written"]


def test_append_adds_a_run(mullet: Mullet) -> None:
    for words in ((), ("--append",)):
        done = mullet("record", "-s", "simulated", "-o", "runs.h5", "-d", 0.2, "--json", *words)
        assert done.returncode == 0, done.stderr
        assert done.json["samples"] + done.json["missed_ticks"] == 20
    path = mullet.folder / "runs.h5"
    assert list(rows_by_run(path)) == [1, 2]
    assert assert_contiguous(path) == len(columns(path)["voltage"])


def test_append_makes_a_file_that_is_not_there(mullet: Mullet) -> None:
    done = mullet("record", "-s", "simulated", "-o", "new.h5", "-d", 0.1, "--append", "--json")
    assert done.returncode == 0, done.stderr
    assert len(columns(mullet.folder / "new.h5")["voltage"]) == done.json["samples"]


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all"])
def test_an_existing_output_is_never_overwritten(mullet: Mullet, content: bytes) -> None:
    existing = mullet.folder / "existing.h5"
    existing.write_bytes(content)
    done = mullet("record", "-s", "simulated", "-o", "existing.h5", "-d", 0.1)
    assert done.returncode == 1
    assert "existing.h5" in done.error
    assert "--append" in done.error
    appended = mullet("record", "-s", "simulated", "-o", "existing.h5", "-d", 0.1, "--append")
    assert appended.returncode == 1
    assert "existing.h5" in appended.error
    assert existing.read_bytes() == content
    assert list(mullet.rings.iterdir()) == []


def test_append_with_other_channels_is_a_run_of_its_own(mullet: Mullet) -> None:
    assert mullet("record", "-s", "simulated", "-o", "both.h5", "-d", 0.1).returncode == 0
    done = mullet("record", "-s", "system", "-o", "both.h5", "-d", 0.1, "--append")
    assert done.returncode == 0, done.stderr
    with h5py.File(mullet.folder / "both.h5", "r") as file:
        names = [set(batch) - {"timestamp"} for batch in batches(file)]
    assert names[0] == {"voltage"}
    assert "cpu_percent" in names[-1]
    assert mullet("verify", "both.h5").returncode == 0


def test_a_name_with_the_time_in_it(mullet: Mullet) -> None:
    done = mullet("record", "-s", "simulated", "-o", "run_{start:%Y%m%dT%H%M%S}.h5", "-d", 0.1, "--json")
    assert done.returncode == 0, done.stderr
    (made,) = mullet.folder.glob("run_*.h5")
    assert "{" not in made.name
    assert done.json["path"].endswith(made.name)


def test_metadata_goes_into_the_file(mullet: Mullet) -> None:
    words = ("-m", "operator=Ada Lovelace", "-m", "note=a=b", "-m", "sample=Größe 7")
    done = mullet("record", "-s", "simulated", "-o", "meta.h5", "-d", 0.1, *words)
    assert done.returncode == 0, done.stderr
    with h5py.File(mullet.folder / "meta.h5", "r") as file:
        metadata = dict(file["metadata"].attrs)
    assert text(metadata["operator"]) == "Ada Lovelace"
    assert text(metadata["note"]) == "a=b"
    assert text(metadata["sample"]) == "Größe 7"


def test_metadata_of_a_file_keeps_its_types(mullet: Mullet) -> None:
    (mullet.folder / "sample.toml").write_text('operator = "Ada"\n[laser]\npower_mw = 2.5\nlocked = true\n')
    words = ("--metadata-file", "sample.toml", "-m", "operator=Charles")
    done = mullet("record", "-s", "simulated", "-o", "meta.h5", "-d", 0.1, *words)
    assert done.returncode == 0, done.stderr
    with h5py.File(mullet.folder / "meta.h5", "r") as file:
        assert text(file["metadata"].attrs["operator"]) == "Charles"
        laser = dict(file["metadata/laser"].attrs)
    assert laser == {"power_mw": 2.5, "locked": 1}
    info = mullet("info", "meta.h5")
    assert "laser/power_mw: 2.5" in info.stdout and "operator: Charles" in info.stdout


def test_metadata_that_cannot_be_stored_makes_no_file(mullet: Mullet) -> None:
    (mullet.folder / "sample.json").write_text('{"parts": [{"a": 1}]}')
    done = mullet("record", "-s", "simulated", "-o", "meta.h5", "-d", 0.1, "--metadata-file", "sample.json")
    assert done.returncode == 1
    assert "'parts'" in done.error
    assert not (mullet.folder / "meta.h5").exists()
    assert list(mullet.rings.iterdir()) == []


def test_several_files_of_so_many_rows(mullet: Mullet) -> None:
    words = ("--rotate-rows", 30, "--compression", "none", "--rate", 100)
    done = mullet("record", "-s", "simulated", "-o", "night_{index:02d}.h5", "-d", 1, *words, "--json")
    assert done.returncode == 0, done.stderr
    files = sorted(mullet.folder.glob("night_*.h5"))
    assert [file.name for file in files] == [f"night_0{number}.h5" for number in range(1, len(files) + 1)]
    counts = [columns(file)["voltage"].size for file in files]
    assert counts[:-1] == [30] * (len(files) - 1)
    assert sum(counts) == done.json["samples"]
    assert done.json["lost"] == 0 and len(files) > 1


def test_how_the_data_are_stored(mullet: Mullet) -> None:
    words = ("--compression", "lzf", "--chunk-rows", 100, "--rate", 2000, "--interval", 60)
    done = mullet("record", "-s", "simulated", "-o", "small.h5", "-d", 1, *words)
    assert done.returncode == 0, done.stderr
    with h5py.File(mullet.folder / "small.h5", "r") as file:
        voltage = batches(file)[0]["voltage"]
        assert (voltage.compression, voltage.chunks) == ("lzf", (100,))


@pytest.mark.parametrize("words", [("--rotate-mb", 0.05), ("--rotate-every", 0.3)])
def test_several_files_by_size_and_time(mullet: Mullet, words: tuple[object, ...]) -> None:
    fast = ("--rate", 2000, "--interval", 0.1)
    done = mullet("record", "-s", "simulated", "-o", "night.h5", "-d", 1.5, *fast, *words, "--json")
    assert done.returncode == 0, done.stderr
    files = [mullet.folder / "night.h5", *mullet.folder.glob("night_part*.h5")]
    assert len(files) > 1
    assert sum(columns(file)["voltage"].size for file in files) == done.json["samples"]


def test_the_summary_for_people(mullet: Mullet) -> None:
    done = mullet("record", "-s", "simulated", "-o", "people.h5", "-d", 0.2)
    assert done.returncode == 0, done.stderr
    for word in ("people.h5", "samples", "batches", "write latency", "lost", "ticks missed"):
        assert word in done.stdout
    assert done.stdout.splitlines()[-1].endswith("verify people.h5")
