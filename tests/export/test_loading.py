"""``mullet.load`` over both layouts, with losses, masks, several runs and files."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import mulletdaq as mullet
from mulletdaq.errors import ChannelNotFoundError, FileMissingError, SchemaMismatchError
from mulletdaq.ring import RingBuffer

from .files import LAYOUTS, START_NS, STEP_NS, fill, record, record_with_loss, rows

pytest.importorskip("xarray", reason="xarray is not installed")


def stamps(numbers: Any) -> Any:
    return (START_NS + np.asarray(numbers) * STEP_NS).view("datetime64[ns]")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_dataset(tmp_path: Path, layout: str) -> None:
    metadata = {"operator": "Ada", "gain": {"a": 2.5}}
    path = record(tmp_path / "in.h5", [rows(0, 30), rows(30, 1), rows(31, 69)], layout, metadata=metadata)
    data = mullet.load(path)
    numbers = np.arange(100)
    assert dict(data.sizes) == {"row": 100}
    assert data["row"].values.tolist() == numbers.tolist()
    assert (data["timestamp"].values == stamps(numbers)).all() and data["timestamp"].dtype == "datetime64[ns]"
    assert data["voltage"].dtype == np.float64 and (data["voltage"].values == numbers * 0.5).all()
    assert data["voltage"].attrs == {"units": "V", "long_name": "of the cell", "description": "of the cell"}
    assert np.array_equal(data["count"].values, np.where(numbers % 5 == 0, np.nan, numbers), equal_nan=True)
    assert data["state"].values.tolist() == [None if n % 7 == 0 else f"state {n % 3}" for n in numbers]
    assert data.attrs["operator"] == "Ada" and data.attrs["gain.a"] == 2.5 and data.attrs["lost_rows"] == 0
    assert "run" not in data.coords


@pytest.mark.parametrize("layout", LAYOUTS)
def test_some_of_it(tmp_path: Path, layout: str) -> None:
    path = record(tmp_path / "in.h5", [rows(0, 30), rows(30, 70)], layout)
    data = mullet.load(path, ["voltage"], 20, -60)
    assert list(data) == ["voltage"] and data["row"].values.tolist() == list(range(20, 40))
    begin = datetime(2023, 11, 14, 22, 13, 20, 25_000, UTC)
    data = mullet.load(path, channels="count", start=begin, stop=np.datetime64("2023-11-14T22:13:20.028"))
    assert data["row"].values.tolist() == [25, 26, 27] and list(data) == ["count"]
    assert mullet.load(path, ["timestamp"], 0, 2).sizes == {"row": 2}
    empty = mullet.load(path, start=50, stop=50)
    assert empty.sizes == {"row": 0} and empty["voltage"].dtype == np.float64
    with pytest.raises(ChannelNotFoundError, match="no channel 'Voltage'; there are: 'voltage'"):
        mullet.load(path, ["Voltage"])
    with pytest.raises(FileMissingError, match=r"nothing\.h5"):
        mullet.load(tmp_path / "nothing.h5")
    with pytest.raises(ValueError, match="as_='polars'"):
        mullet.load(path, as_="polars")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_losses(tmp_path: Path, layout: str) -> None:
    there = record_with_loss(tmp_path / "in.h5", layout)
    data = mullet.load(tmp_path / "in.h5")
    assert data["row"].values.tolist() == there
    assert data.attrs["lost_rows"] == 4015 - len(there)
    filled = mullet.load(tmp_path / "in.h5", losses="nan")
    assert filled["row"].values.tolist() == list(range(4015))
    is_there = np.isin(np.arange(4015), there)
    assert (~np.isnat(filled["timestamp"].values) == is_there).all()
    assert (~np.isnan(filled["voltage"].values) == is_there).all()
    assert filled.sel(row=4012)["voltage"] == 4012 * 0.5
    table = mullet.load(tmp_path / "in.h5", as_="arrow")
    assert table["row"].to_pylist() == there and table["voltage"].null_count == 0
    table = mullet.load(tmp_path / "in.h5", as_="arrow", losses="nan")
    assert table["row"].to_pylist() == list(range(4015)) and table["voltage"].null_count == 4015 - len(there)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_types(tmp_path: Path, layout: str) -> None:
    big = 2**60 + 1
    columns = {
        "timestamp": [1, 2],
        "flag": [True, None],
        "good": [True, False],
        "big": [big, None],
        "small": pa.array([7, None], pa.int64()),
        "when": pa.array([1_000_000, None], pa.timestamp("us", "Europe/Berlin")),
        "day": pa.array([19_675, 0], pa.date32()),
        "span": pa.array([250, None], pa.duration("ms")),
        "wave": pa.FixedSizeListArray.from_arrays(pa.array([1, 2, 3, None], pa.int16()), 2),
        "peaks": [[1.5], None],
        "raw": [b"x", None],
        "at": [{"x": 1.5, "name": "a"}, None],
    }
    data = mullet.load(record(tmp_path / "in.h5", [pa.record_batch(columns)], layout))
    assert data["flag"].values.tolist() == [True, None]
    assert data["good"].values.tolist() == [True, False] and data["good"].dtype == bool
    assert data["big"].values.tolist() == [big, None]
    assert np.array_equal(data["small"].values, [7, np.nan], equal_nan=True)
    assert data["when"].values[0] == np.datetime64("1970-01-01T00:00:01") and np.isnat(data["when"].values[1])
    assert data["day"].values.tolist() == [datetime(2023, 11, 14), datetime(1970, 1, 1)]
    assert data["span"].values[0] == np.timedelta64(250, "ms") and np.isnat(data["span"].values[1])
    assert data["wave"].dims == ("row", "wave_1")
    assert np.array_equal(data["wave"].values, [[1, 2], [3, np.nan]], equal_nan=True)
    assert data["peaks"].values[0].tolist() == [1.5] and data["peaks"].values[1] is None
    assert data["raw"].values.tolist() == [b"x", None]
    assert data["at/x"].values[0] == 1.5 and data["at/name"].values.tolist() == ["a", None]
    assert set(mullet.load(tmp_path / "in.h5", ["at"])) == {"at/x", "at/name"}


def test_a_channel_called_row(tmp_path: Path) -> None:
    batch = pa.record_batch({"timestamp": [5, 6], "row": [1.5, 2.5], "wave_1": [1, 2], "wave": _waves()})
    path = record(tmp_path / "in.h5", [batch])
    data = mullet.load(path)
    assert data["row"].values.tolist() == [1.5, 2.5] and data["row_"].values.tolist() == [0, 1]
    assert data["wave"].dims == ("row_", "wave_1_")
    table = mullet.load(path, as_="arrow")
    assert table.column_names == ["run", "row_", "timestamp", "row", "wave_1", "wave"]
    assert table["row"].to_pylist() == [1.5, 2.5] and table["row_"].to_pylist() == [0, 1]


def _waves() -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array([1, 2, 3, 4]), 2)


def test_runs_of_different_schemas(tmp_path: Path) -> None:
    path = tmp_path / "in.h5"
    for channels, values in [({"x": "V"}, [[1.0, 2.0]]), ({"x": "V", "y": "A"}, [[3.0], [4.0]])]:
        with mullet.record(path, channels=channels, mode="a") as rec:
            rec.write_block(*values)
    data = mullet.load(path)
    assert data["run"].values.tolist() == [1, 1, 2] and data["row"].values.tolist() == [0, 1, 0]
    assert data["x"].values.tolist() == [1, 2, 3]
    assert np.array_equal(data["y"].values, [np.nan, np.nan, 4], equal_nan=True)
    assert mullet.load(path, as_="arrow")["y"].to_pylist() == [None, None, 4]
    assert mullet.load(path, run=1)["x"].values.tolist() == [1, 2]
    with mullet.record(path, channels=[mullet.Channel("x", dtype="int16")], mode="a") as rec:
        rec.write_measurement(5)
    for kind in ("xarray", "arrow"):
        with pytest.raises(SchemaMismatchError, match="'x' is .* in run .*run="):
            mullet.load(path, as_=kind)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_that_go_on(tmp_path: Path, layout: str) -> None:
    record(tmp_path / "in.h5", [rows(n, 10) for n in range(0, 60, 10)], layout, rotate_rows=25)
    assert mullet.load(tmp_path / "in.h5")["row"].values.tolist() == list(range(60))
    assert mullet.load(tmp_path / "in.h5", start=24, stop=27)["row"].values.tolist() == [24, 25, 26]
    assert mullet.load(tmp_path / "in.h5", parts=False).sizes["row"] == 25


def test_opaque_bytes_while_they_are_recorded(tmp_path: Path) -> None:
    with RingBuffer.create(str(tmp_path / "a.ring"), capacity_mb=1) as ring:
        for number in range(3):
            ring.write(b"x" * number, timestamp_ns=START_NS + number)
        fill(tmp_path / "in.h5", ring, [], "batches")
    data = mullet.load(tmp_path / "in.h5")
    assert data["raw_data"].values.tolist() == [b"", b"x", b"xx"]
    assert data["timestamp"].values.astype(np.int64).tolist() == [START_NS, START_NS + 1, START_NS + 2]
