"""What a file says of itself, each line of it read with bare h5py, in both layouts."""

from __future__ import annotations

import datetime
import os
import re
import signal
import socket
import subprocess
import sys
import time
from importlib import metadata as distribution
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest

import mulletdaq as mullet
from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.hdf5.describe import describe
from mulletdaq.hdf5.storage import iso_time

from .conftest import rows

LAYOUTS = ("batches", "continuous")
METADATA = {
    "operator": "Zoë",
    "run": 7,
    "gain": 2.5,
    "cooled": True,
    "remarks": None,
    "mounted": datetime.datetime(2025, 5, 1, 12, tzinfo=datetime.UTC),
    "tags": ["a", "µ"],
    "steps": [1, 2, 3],
    "laser": {"power": {"value": np.float32(3), "unit": "mW"}},
    "protocol": "step\n" * 20_000,
    "dark frame": np.arange(40_000, dtype=np.uint16).reshape(200, 200),
}
CHANNELS = [
    mullet.Channel("voltage", "V", description="across the sample"),
    mullet.Channel("image", "counts", "uint16", (2, 3), "the camera's"),
]


def recorded(path: Path, layout: str, **options: Any) -> int:
    """A recording of 10 rows with a note before the last five; when it began, in ns."""
    began_ns = time.time_ns()
    with mullet.record(path, CHANNELS, layout=layout, metadata=METADATA, ring_capacity_mb=1, **options) as recording:
        for number in range(10):
            if number == 5:
                recording.annotate("shutter öffnet", timestamp_ns=1_700_000_000_000_000_001)
            recording.write_measurement(number * 0.5, np.full((2, 3), number, np.uint16))
    return began_ns


def data_of(file: Any) -> Any:
    """The group of the datasets, found without NeXus."""
    measurements = file["measurements"]
    return measurements if "voltage" in measurements else measurements["batch_000001"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_who_wrote_it_when_and_where(tmp_path: Path, layout: str) -> None:
    began_ns = recorded(tmp_path / "a.h5", layout)
    with h5py.File(tmp_path / "a.h5") as file:
        version = distribution.version("mulletdaq")
        assert file.attrs["creator"] == f"mulletdaq {version}".encode()
        assert file.attrs["mulletdaq_version"] == version.encode()
        assert file.attrs["h5py_version"] == h5py.version.version.encode()
        assert file.attrs["HDF5_Version"] == h5py.version.hdf5_version.encode()
        assert file.attrs["host"] == socket.gethostname().encode()
        start_ns, end_ns = file.attrs["start_ns"], file.attrs["end_ns"]
        assert began_ns <= start_ns <= end_ns <= time.time_ns()
        for name, time_ns in (("start", start_ns), ("end", end_ns)):
            text = file.attrs[name].decode()
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}\+00:00", text)
            exact = datetime.datetime.fromisoformat(text)
            assert exact.timestamp() == pytest.approx(int(time_ns) / 1e9, abs=1e-6)
            assert text.partition(".")[2][:9] == str(time_ns)[-9:]
        assert file.attrs["ended"] == 1
        run = file["runs/run_000001"]
        assert run.attrs["host"] == socket.gethostname().encode()
        assert began_ns <= run.attrs["start_ns"] <= run.attrs["end_ns"] <= end_ns
        assert run.attrs["end"].decode() == iso_time(int(run.attrs["end_ns"]))
        assert run.attrs["stream_id"].dtype == np.uint64 and run.attrs["stream_id"] != 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_metadata_keeps_its_types_and_nesting(tmp_path: Path, layout: str) -> None:
    recorded(tmp_path / "a.h5", layout)
    with h5py.File(tmp_path / "a.h5") as file:
        found = file["metadata"]
        assert found.attrs["operator"].decode() == "Zoë"
        assert found.attrs["run"] == 7 and found.attrs["run"].dtype == np.int64
        assert found.attrs["gain"] == 2.5 and found.attrs["gain"].dtype == np.float64
        assert found.attrs["cooled"] == 1 and found.attrs["cooled"].dtype == np.uint8
        assert (found.attrs["remarks"].shape, found.attrs["remarks"].dtype) == ((0,), "S1")
        assert found.attrs["mounted"] == b"2025-05-01T12:00:00+00:00"
        assert [tag.decode() for tag in found.attrs["tags"]] == ["a", "µ"]
        assert found.attrs["steps"].tolist() == [1, 2, 3]
        power = found["laser/power"]
        assert power.attrs["value"] == 3 and power.attrs["value"].dtype == np.float32
        assert power.attrs["unit"] == b"mW"
        assert found["protocol"][()].decode() == METADATA["protocol"]
        assert np.array_equal(found["dark frame"][:], METADATA["dark frame"])
        assert not {"protocol", "dark frame"} & set(found.attrs)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_units_and_descriptions_are_with_the_channels(tmp_path: Path, layout: str) -> None:
    recorded(tmp_path / "a.h5", layout)
    with h5py.File(tmp_path / "a.h5") as file:
        data = data_of(file)
        for channel in CHANNELS:
            assert data[channel.name].attrs["units"].decode() == channel.unit
            assert data[channel.name].attrs["description"].decode() == channel.description
        assert data["timestamp"].attrs["units"] == b"ns"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_schema_is_there_for_arrow_and_for_people(tmp_path: Path, layout: str) -> None:
    recorded(tmp_path / "a.h5", layout)
    with h5py.File(tmp_path / "a.h5") as file:
        run = file["runs/run_000001"]
        schema = pa.ipc.read_schema(pa.py_buffer(run["schema"][:].tobytes()))
        assert schema.names == ["timestamp", "voltage", "image"]
        assert schema.field("voltage").metadata[b"unit"] == b"V"
        lines = [line.decode() for line in run.attrs["schema_text"]]
        assert lines == [f"{field.name}: {field.type}" for field in schema]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_notes_have_their_time_and_row(tmp_path: Path, layout: str) -> None:
    recorded(tmp_path / "a.h5", layout)
    with h5py.File(tmp_path / "a.h5") as file:
        notes = file["annotations"]
        assert notes["timestamp_ns"][:].tolist() == [1_700_000_000_000_000_001]
        assert (notes["run"][:].tolist(), notes["row"][:].tolist()) == ([1], [5])
        assert notes["text"].asstr()[:].tolist() == ["shutter öffnet"]


def test_notes_of_any_length_are_texts_of_fixed_length(tmp_path: Path, make_ring: Any) -> None:
    ring = make_ring()
    ring.write_arrow_batch(rows(0, 5))
    texts = ["short", "", "µ" * 100, "line\n" * 20_000, "after\0it", "torn \ud800", "zeros\0\0", "last"]
    writer = HDF5Writer(tmp_path / "a.h5", ring)
    for number, text in enumerate(texts):
        writer.annotate(text, number, {"": number})
        writer.flush()
    writer.stop()
    with h5py.File(tmp_path / "a.h5") as file:
        stored = file["annotations/text"]
        assert stored.dtype.kind == "S" and stored.shape == (len(texts),)
        found = [text.decode() for text in stored[:]]
        assert found == [*texts[:5], "torn \\ud800", "zeros", "last"]
        assert file["annotations/row"][:].tolist() == list(range(len(texts)))
    assert os.path.getsize(tmp_path / "a.h5") < 200_000


def plotted(file: Any) -> tuple[Any, Any]:
    """What a NeXus viewer shows: signal and axes, by the attribute ``default`` from the root down."""
    group, kinds = file, [file.attrs["NX_class"]]
    while "default" in group.attrs:
        group = group[group.attrs["default"].decode()]
        kinds.append(group.attrs["NX_class"])
    assert kinds == [b"NXroot", b"NXentry", b"NXdata"]
    axes = np.atleast_1d(group.attrs["axes"]).astype(str).tolist()
    signal = group[group.attrs["signal"].decode()]
    assert len(axes) == signal.ndim
    assert axes[1:] == ["."] * (signal.ndim - 1)
    assert len(group[axes[0]]) == len(signal)
    return signal, group[axes[0]]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("channels", [CHANNELS, CHANNELS[1:]], ids=["number", "image"])
def test_nexus_viewers_find_what_to_plot(tmp_path: Path, layout: str, channels: list[Any]) -> None:
    with mullet.record(tmp_path / "a.h5", channels, layout=layout, ring_capacity_mb=1) as recording:
        recording.write_measurement(
            *[1.5 if not channel.shape else np.full((2, 3), 7, np.uint16) for channel in channels]
        )
    with h5py.File(tmp_path / "a.h5") as file:
        signal, axis = plotted(file)
        assert (signal.name.rpartition("/")[2], signal.shape[1:]) == (channels[0].name, channels[0].shape)
        assert axis.dtype == np.int64 and signal.attrs["units"].decode() == channels[0].unit


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_stream_and_each_file_can_be_plotted(tmp_path: Path, layout: str) -> None:
    streams = {"scope": {"a": "V"}, "temp": {"b": "K"}}
    path = tmp_path / "many_{index}.h5"
    with mullet.record(path, streams=streams, layout=layout, ring_capacity_mb=1, rotate_rows=3) as recording:
        for number in range(6):
            for stream in streams:
                recording[stream].write_measurement(number)
    for index in (1, 2):
        with h5py.File(tmp_path / f"many_{index}.h5") as file:
            assert plotted(file)[0][:].tolist() == [3 * index - 3, 3 * index - 2, 3 * index - 1]
            assert set(file["entry"]) == {"scope", "temp"}
            assert file["entry/temp"].attrs["signal"] == b"b"
            assert file.attrs["ended"] == 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_column_of_text_has_no_plot(tmp_path: Path, make_ring: Any, layout: str) -> None:
    ring = make_ring()
    ring.write_arrow_batch(pa.record_batch({"timestamp": [1, 2], "state": ["on", "off"]}))
    HDF5Writer(tmp_path / "a.h5", ring, layout=layout).stop()
    with h5py.File(tmp_path / "a.h5") as file:
        assert "default" not in file.attrs and "entry" not in file


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_whose_writer_was_killed_ends_with_its_last_commit(tmp_path: Path, layout: str, make_ring: Any) -> None:
    path, ring = tmp_path / "a.h5", make_ring()
    ring.write_arrow_batch(rows(0, 5))
    code = f"""
import os, signal
import mulletdaq as mullet
writer = mullet.HDF5Writer({str(path)!r}, mullet.RingBuffer.open({ring.path!r}), layout={layout!r}, run_in="thread")
writer.start()
writer.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
    died = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    after_ns = time.time_ns()
    with mullet.open(path) as file:
        assert file.attrs["ended"] == 0
        assert file.attrs["start_ns"] < file.attrs["end_ns"] < after_ns
        assert file["runs/run_000001"].attrs["end_ns"] <= file.attrs["end_ns"]
    assert "not ended in good order; last written" in "\n".join(describe(path).lines())
    HDF5Writer(path, ring, layout=layout).stop()
    with h5py.File(path) as file:
        assert file.attrs["ended"] == 1 and file.attrs["end_ns"] > after_ns


def test_a_second_run_has_its_own_end_and_metadata(tmp_path: Path) -> None:
    for number in (1, 2):
        with mullet.record(tmp_path / "a.h5", {"v": "V"}, mode="a", metadata={"number": {"is": number}}) as recording:
            recording.write_measurement(1.0)
    with h5py.File(tmp_path / "a.h5") as file:
        first, second = (file[f"runs/run_00000{number}"] for number in (1, 2))
        assert first.attrs["end_ns"] < second.attrs["start_ns"] <= second.attrs["end_ns"] <= file.attrs["end_ns"]
        assert file["metadata/number"].attrs["is"] == 1
        assert second["metadata/number"].attrs["is"] == 2
    described = describe(tmp_path / "a.h5")
    assert described.metadata == {"number": {"is": 1}}
    assert [run.metadata for run in described.runs] == [{}, {"number": {"is": 2}}]


def test_info_shows_metadata_and_notes(tmp_path: Path) -> None:
    recorded(tmp_path / "a.h5", "batches")
    described = describe(tmp_path / "a.h5")
    assert described.ended and described.annotations == 1
    [note] = described.notes
    assert (note.text, note.run, note.row) == ("shutter öffnet", 1, 5)
    text = "\n".join(described.lines())
    assert "note 2023-11-14T22:13:20.000000001+00:00, run 1, row 5: shutter öffnet" in text
    assert "  laser/power/unit: mW" in text and "  remarks: None" in text
    assert f"ended {described.end}" in text
    assert max(map(len, text.splitlines())) < 300
