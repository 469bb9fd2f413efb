"""``mullet demo``, as typed."""

from __future__ import annotations

import shlex
import subprocess

import h5py

from .command import Mullet, group_is_gone
from .h5 import assert_contiguous, batches, columns, text


def test_it_makes_two_files_that_h5py_reads(mullet: Mullet) -> None:
    process = mullet.start("demo", "--duration", 1.5, "--json")
    done = mullet.finish(process)
    assert done.returncode == 0, done.stderr
    answer = done.json
    assert answer["samples"] == 150
    assert answer["lost"] == 0
    assert answer["write_ns"]["median"] <= answer["write_ns"]["p99.9"] <= answer["write_ns"]["max"]

    output = mullet.folder / "mullet_demo_output.h5"
    voltage = columns(output)["voltage"]
    assert len(voltage) == assert_contiguous(output) == 150
    assert -1.5 < voltage.min() < -0.5 < 0.5 < voltage.max() < 1.5
    with h5py.File(output, "r") as file:
        assert "demo" in text(file.attrs["creator"])
        assert text(batches(file)[0]["voltage"].attrs["units"]) == "V"
        assert len(batches(file)) == answer["batches"]

    raw = mullet.folder / "mullet_demo_raw.h5"
    with h5py.File(raw, "r") as file:
        assert "demo" in text(file.attrs["creator"])
        parts = batches(file)
        assert len(parts) == answer["raw"]["batches"] > 1
        assert all(part["raw_data"].dtype == "uint8" for part in parts)
        assert sum(part["raw_data"].size for part in parts) == answer["raw"]["messages"] * 64

    assert list(mullet.rings.iterdir()) == []
    assert group_is_gone(process)


def test_for_people_it_prints_a_summary_and_a_next_command_that_works(mullet: Mullet) -> None:
    done = mullet("demo", "--duration", 0.3)
    assert done.returncode == 0, done.stderr
    for word in ("samples", "batches", "write latency", "median / 99.9 % / max", "lost"):
        assert word in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("next: ")
    command = shlex.split(last.removeprefix("next: "))
    assert command[1:] == ["verify", "mullet_demo_output.h5"]
    verified = subprocess.run(command, cwd=mullet.folder, env=mullet.environment, capture_output=True, text=True)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_log_gets_one_line_at_the_start(mullet: Mullet) -> None:
    done = mullet("demo", "--duration", 0.3)
    assert done.stderr == "recording a simulated voltage at 100 Hz for 0.3 s into mullet_demo_output.h5\n"


def test_it_replaces_its_own_files(mullet: Mullet) -> None:
    assert mullet("demo", "--duration", 0.1).returncode == 0
    again = mullet("demo", "--duration", 0.2, "--json")
    assert again.returncode == 0, again.stderr
    assert len(columns(mullet.folder / "mullet_demo_output.h5")["voltage"]) == 20


def test_it_leaves_a_foreign_file_alone(mullet: Mullet) -> None:
    foreign = mullet.folder / "mullet_demo_raw.h5"
    foreign.write_bytes(b"the only copy of something")
    done = mullet("demo", "--duration", 0.1)
    assert done.returncode == 1
    assert "mullet_demo_raw.h5" in done.error
    assert foreign.read_bytes() == b"the only copy of something"
    assert not (mullet.folder / "mullet_demo_output.h5").exists()


def test_it_leaves_a_real_recording_alone(mullet: Mullet) -> None:
    recorded = mullet("record", "-s", "simulated", "-o", "mullet_demo_output.h5", "-d", 0.1, "--json")
    assert recorded.returncode == 0, recorded.stderr
    before = (mullet.folder / "mullet_demo_output.h5").read_bytes()
    done = mullet("demo", "--duration", 0.1)
    assert done.returncode == 1
    assert "mullet_demo_output.h5" in done.error
    assert (mullet.folder / "mullet_demo_output.h5").read_bytes() == before


def test_another_folder(mullet: Mullet) -> None:
    (mullet.folder / "elsewhere").mkdir()
    done = mullet("demo", "--duration", 0.1, "--dir", "elsewhere")
    assert done.returncode == 0, done.stderr
    assert (mullet.folder / "elsewhere" / "mullet_demo_output.h5").exists()
    assert done.stdout.splitlines()[-1].endswith("verify elsewhere/mullet_demo_output.h5")
    missing = mullet("demo", "--duration", 0.1, "--dir", "nowhere")
    assert missing.returncode == 1
    assert "nowhere" in missing.error
