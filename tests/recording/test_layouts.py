"""record(layout="continuous"): the scientist's view of datasets that grow."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import mulletdaq as mullet
from mulletdaq.hdf5.verify import verify


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "long.h5"


def stored(path: Path, name: str = "voltage") -> list[float]:
    assert verify(path).ok, verify(path).problems
    with h5py.File(path) as file:
        values: list[float] = file[f"measurements/{name}"][:].tolist()
        return values


def test_one_dataset_a_channel(path: Path) -> None:
    with mullet.record(path, channels={"voltage": "V"}, layout="continuous", flush_interval_s=0.01) as rec:
        for value in range(5000):
            rec.write_measurement(value / 8)
    assert stored(path) == [value / 8 for value in range(5000)]
    assert rec.statistics().rows_persisted == 5000
    with h5py.File(path) as file:
        assert file["measurements/voltage"].attrs["units"] == b"V"
        assert (np.diff(file["measurements/timestamp"][:]) >= 0).all()


def test_every_value_is_there_after_its_flush(path: Path) -> None:
    """Whatever a chunk holds, and while the file is recorded."""
    with mullet.record(path, channels={"voltage": "V"}, layout="continuous", flush_interval_s=3600) as rec:
        written = 0
        for count in (1, 1, 700, 1347, 1, 5000, 3):
            rec.write_block(np.arange(written, written + count, dtype=float))
            written += count
            rec.flush()
            with mullet.open(path) as file:
                assert file["measurements/voltage"][:].tolist() == list(range(written))
    assert stored(path) == list(range(written))


def test_a_second_run_goes_on_in_the_same_datasets(path: Path) -> None:
    for first in (0, 100):
        with mullet.record(path, channels={"voltage": "V"}, mode="a", layout="continuous") as rec:
            rec.write_block(np.arange(first, first + 100, dtype=float))
    with mullet.record(path, channels={"voltage": "mV"}, mode="a", layout="continuous") as rec:
        rec.write_block(np.arange(5.0))
    assert stored(path) == list(range(200))
    assert stored(path, "run_000003/voltage") == list(range(5))


def test_streams_of_waveforms_and_numbers(path: Path) -> None:
    streams = {"scope": [mullet.Channel("trace", "V", "float32", (64,))], "temp": {"celsius": "degC"}}
    with mullet.record(path, streams=streams, layout="continuous", flush_interval_s=0.01) as rec:
        traces = np.arange(200 * 64, dtype=np.float32).reshape(200, 64)
        rec["scope"].write_block(traces)
        rec["temp"].write_measurement(21.5)
    assert stored(path, "scope/trace") == traces.tolist()
    assert stored(path, "temp/celsius") == [21.5]


def test_files_follow_one_another_at_exact_rows(path: Path) -> None:
    with mullet.record(
        path, channels={"voltage": "V"}, layout="continuous", rotate_rows=700, chunk_rows=64, flush_interval_s=0.01
    ) as rec:
        for first in range(0, 2000, 50):
            rec.write_block(np.arange(first, first + 50, dtype=float))
            rec.flush()
    files = [path, path.with_name("long_part2.h5"), path.with_name("long_part3.h5")]
    assert [len(stored(file)) for file in files] == [700, 700, 600]
    assert [value for file in files for value in stored(file)] == list(range(2000))


def test_many_objects_a_day_are_warned_of(path: Path) -> None:
    many = [f"channel_{number}" for number in range(16)]
    cases: list[dict[str, Any]] = [{"flush_interval_s": 2}, {"layout": "continuous"}, {}]
    for options in cases:
        expected = [] if options else ["18 groups and datasets every 1 s are 1.56 million a day"]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            mullet.record(path, channels=dict.fromkeys(many, "V"), **options)
        assert [str(warning.message).split(",")[0] for warning in caught] == expected
        assert all('use layout="continuous"' in str(warning.message) for warning in caught)


@pytest.mark.parametrize(("channels", "objects_a_day"), [(9, 950_400), (10, 1_036_800)])
def test_the_group_of_a_batch_is_an_object_too(path: Path, channels: int, objects_a_day: int) -> None:
    """Nine channels, timestamp and group are 11 objects a second, ten are 12; a million a day lies between."""
    names = [f"channel_{number}" for number in range(channels)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with mullet.record(path, channels=dict.fromkeys(names, "V"), flush_interval_s=1.0) as rec:
            rec.write_measurement(*[0.0] * channels)
            rec.flush()
    with h5py.File(path) as file:
        objects = 1 + len(file["measurements/batch_000001"])
    assert objects * 86_400 == objects_a_day
    assert bool(caught) == (objects_a_day > 10**6)


def test_the_command_records_in_both_layouts_and_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        sys.executable,
        "-m",
        "mulletdaq",
        "record",
        "-s",
        "system",
        "-r",
        "100",
        "-d",
        "0.3",
        "--interval",
        "0.05",
        "--json",
        "-o",
    ]
    for layout in ("batches", "continuous"):
        ended = subprocess.run([*words, f"{layout}.h5", "--layout", layout], check=True, capture_output=True, text=True)
        assert ("use --layout continuous" in ended.stderr) == (layout == "batches"), ended.stderr
    with h5py.File("batches.h5") as batches, h5py.File("continuous.h5") as continuous:
        assert "batch_000001" in batches["measurements"] and "batches" not in batches
        assert len(continuous["measurements/timestamp"]) == continuous["batches"][:, 2].sum() > 0


def test_a_killed_script_started_again_has_every_row_once(path: Path) -> None:
    """Producer and writer killed at once, after what they had acknowledged; mode "a" brings the rest from the ring."""
    script = textwrap.dedent(
        """
        import os, sys
        import numpy as np
        import mulletdaq as mullet
        with mullet.record(sys.argv[1], channels={"voltage": "V"}, mode="a", layout="continuous", chunk_rows=50,
                           flush_interval_s=0.005) as rec:
            first = int(sys.argv[2])
            for _ in range(40):
                rec.write_block(np.arange(first, first + 17, dtype=float))
                first += 17
                print(first, rec._writer.pid, flush=True)
            if sys.argv[3] == "wait":
                sys.stdin.read()
        """
    )
    written = 0
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(path), str(written), "wait"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            for _ in range(40):
                written, writer = map(int, process.stdout.readline().split())
            process.kill()
            os.kill(writer, signal.SIGKILL)
    subprocess.run([sys.executable, "-c", script, str(path), str(written), "end"], check=True, capture_output=True)
    assert stored(path) == list(range(written + 40 * 17))
