"""Recordings as Parquet, Arrow and CSV: equal to what was written, complete or not there, in bounded memory."""

from __future__ import annotations

import csv
import datetime as dt
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mulletdaq as mullet
from mulletdaq.errors import (
    ChannelNotFoundError,
    FileMissingError,
    FileWriteError,
    OutputExistsError,
    UnsupportedTypeError,
)
from mulletdaq.export.tables import export
from mulletdaq.ring import RingBuffer
from tests.examples import examples
from tests.hdf5.arrays import build
from tests.hdf5.reading import same
from tests.hdf5.test_any_schema import recordings
from tests.hdf5.test_stored import as_exported, as_values

from .files import LAYOUTS, SCHEMA, START_NS, STEP_NS, fill, record, record_with_loss, rows
from .memory import peak_mb

ENDINGS = (".parquet", ".arrow")


def read_table(path: Path) -> Any:
    return pq.read_table(path) if path.suffix == ".parquet" else pa.ipc.open_file(path).read_all()


def facts(table: Any) -> dict[str, Any]:
    found = json.loads(table.schema.metadata[b"mulletdaq"])
    assert isinstance(found, dict)
    return found


def plain(table: Any) -> Any:
    """The table with times as the integers that were written, and without metadata of its schema."""
    stamps = table["timestamp"]
    assert stamps.type == pa.timestamp("ns", "UTC")
    field = table.schema.field("timestamp").with_type(pa.int64())
    return table.set_column(0, field, stamps.cast(pa.int64())).replace_schema_metadata(None)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_what_was_written(tmp_path: Path, layout: str, ending: str) -> None:
    batches = [rows(0, 30), rows(30, 1), rows(31, 200)]
    path = record(tmp_path / "in.h5", batches, layout, metadata={"operator": "Ada", "gain": {"a": 2.5}})
    seen: list[tuple[int, int]] = []
    summary = export(path, tmp_path / f"out{ending}", on_progress=lambda done, total: seen.append((done, total)))
    table = read_table(tmp_path / f"out{ending}")
    assert plain(table).equals(pa.Table.from_batches(batches))
    assert (summary.rows, summary.columns, summary.lost_rows, summary.left_out) == (231, 4, 0, "")
    assert summary.size_bytes == (tmp_path / f"out{ending}").stat().st_size
    assert table.schema.field("voltage").metadata[b"unit"] == b"V"
    assert table.schema.field("voltage").metadata[b"description"] == b"of the cell"
    assert facts(table)["metadata"] == {"operator": "Ada", "gain": {"a": 2.5}}
    assert seen[-1] == (231, 231) and sorted(seen) == seen


@settings(
    max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(recordings(), st.sampled_from(LAYOUTS), st.sampled_from(ENDINGS), st.booleans())
def test_any_schema(drawn: tuple[Any, list[Any]], layout: str, ending: str, flush_each: bool) -> None:
    chosen, drawn_batches = drawn
    schema = pa.schema([("timestamp", pa.int64()), *chosen.items()])
    batches = []
    for some in drawn_batches:
        arrays = [build(type_, [row[name] for row in some]) for name, type_ in chosen.items()]
        batches.append(pa.record_batch([pa.array(range(len(some))), *arrays], schema=schema))
    with tempfile.TemporaryDirectory() as folder:
        path = record(Path(folder) / "in.h5", batches, layout, flush_each=flush_each)
        output = Path(folder) / f"out{ending}"
        if "time32[s]" in str(schema):
            output = output.with_suffix(".arrow")  # Parquet has no seconds: they become milliseconds
        if output.suffix == ".parquet" and "-3)" in str(schema):
            with pytest.raises(UnsupportedTypeError, match=r"Parquet has no place for .*-3\).*\.arrow"):
                export(path, output)
            return
        export(path, output)
        table = read_table(output)
        table.validate(full=True)
    assert table["timestamp"].cast(pa.int64()).to_pylist() == [n for one in drawn_batches for n in range(len(one))]
    for name, type_ in chosen.items():
        found = [value for chunk in table[name].chunks for value in as_values(_plain(chunk))]
        expected = [as_exported(type_, row[name]) for one in drawn_batches for row in one]
        assert same(found, expected), (name, type_, found, expected)


def test_parquet_has_no_seconds(tmp_path: Path) -> None:
    """A time stays what it is, in milliseconds."""
    batch = pa.record_batch({"timestamp": [1], "at": pa.array([3600], pa.time32("s"))})
    export(record(tmp_path / "in.h5", [batch]), tmp_path / "out.parquet")
    found = read_table(tmp_path / "out.parquet")["at"]
    assert found.type == pa.time32("ms") and found.to_pylist() == [dt.time(1, 0)]


def test_parquet_has_no_dates_in_milliseconds(tmp_path: Path) -> None:
    """A date stays what it is, in days, within lists too."""
    day = dt.date(2026, 11, 22)
    batch = pa.record_batch(
        {"timestamp": [1], "day": pa.array([day], pa.date64()), "days": pa.array([[day]], pa.list_(pa.date64()))}
    )
    export(record(tmp_path / "in.h5", [batch]), tmp_path / "out.parquet")
    found = read_table(tmp_path / "out.parquet")
    assert found["day"].type == pa.date32() and found["day"].to_pylist() == [day]
    assert found["days"].to_pylist() == [[day]]


def _plain(array: Any) -> Any:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_dictionaries_grow(tmp_path: Path, layout: str, ending: str) -> None:
    """Each batch brings words of its own, and some that were there, and none at all."""
    words = [["on", None, "off", "on"], ["off", "drift"], [None], ["on"]]
    type_ = pa.dictionary(pa.int8(), pa.string())
    batches = [pa.record_batch({"timestamp": range(len(some)), "word": pa.array(some, type_)}) for some in words]
    path = record(tmp_path / "in.h5", batches, layout)
    export(path, tmp_path / f"out{ending}")
    table = read_table(tmp_path / f"out{ending}")
    assert table.schema.field("word").type == pa.dictionary(pa.int32(), pa.string())
    assert table["word"].to_pylist() == [word for some in words for word in some]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_csv(tmp_path: Path, layout: str) -> None:
    path = record(tmp_path / "in.h5", [rows(0, 8), rows(8, 8)], layout)
    summary = export(path, tmp_path / "out.csv")
    with open(tmp_path / "out.csv", newline="") as file:
        table = list(csv.reader(file))
    assert table[0] == ["timestamp", "voltage", "count", "state"]
    assert table[2] == ["2023-11-14 22:13:20.001000000Z", "0.5", "1", "state 1"]
    assert table[6][2] == "" and table[8][3] == ""
    assert len(table) == 17
    assert "units" in summary.left_out


def test_csv_says_what_it_cannot_hold(tmp_path: Path) -> None:
    batch = pa.record_batch(
        {"timestamp": [1], "wave": [[1.0, 2.0]], "raw": [b"x"], "half": pa.array([1.5], pa.float16())}
    )
    path = record(tmp_path / "in.h5", [batch])
    with pytest.raises(UnsupportedTypeError, match=r"'wave' \(list.*'raw' \(binary\).*\.parquet"):
        export(path, tmp_path / "out.csv")
    assert sorted(os.listdir(tmp_path)) == ["in.h5"]
    export(path, tmp_path / "out.csv", channels=["half"])
    assert (tmp_path / "out.csv").read_text() == '"timestamp","half"\n1970-01-01 00:00:00.000000001Z,1.5\n'


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_and_times(tmp_path: Path, layout: str) -> None:
    path = record(tmp_path / "in.h5", [rows(0, 30), rows(30, 70)], layout)

    def numbers(**options: Any) -> list[int]:
        export(path, tmp_path / "out.parquet", force=True, row_numbers=True, **options)
        return list(read_table(tmp_path / "out.parquet")["row"].to_pylist())

    assert numbers(start=10, stop=40) == list(range(10, 40))
    assert numbers(start=-3) == [97, 98, 99]
    assert numbers(start=50, stop=20) == []
    assert numbers(stop=1000) == list(range(100))
    assert numbers(start="2023-11-14T22:13:20.020", stop="2023-11-14T23:13:20.035+01:00") == list(range(20, 35))
    assert numbers(start=np.datetime64(START_NS + 98 * STEP_NS - 1, "ns")) == [98, 99]
    assert numbers(start="2023-11-14T22:13:20.098000001") == [99]
    assert numbers(start="2030-01-01") == numbers(stop="1999-01-01") == []
    for wrong in ("yesterday", 1.5, True, []):
        with pytest.raises(ValueError, match="start="):
            numbers(start=wrong)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_losses(tmp_path: Path, layout: str) -> None:
    there = record_with_loss(tmp_path / "in.h5", layout)
    summary = export(tmp_path / "in.h5", tmp_path / "gap.parquet", row_numbers=True)
    table = read_table(tmp_path / "gap.parquet")
    assert table["row"].to_pylist() == there
    assert table["voltage"].to_pylist() == [n * 0.5 for n in there]
    assert summary.lost_rows == 4015 - len(there)
    assert sum(loss["rows"] for loss in facts(table)["losses"]) == summary.lost_rows
    export(tmp_path / "in.h5", tmp_path / "nan.parquet", row_numbers=True, losses="nan")
    table = read_table(tmp_path / "nan.parquet")
    assert table["row"].to_pylist() == list(range(4015))
    expected = [n * 0.5 if n in set(there) else None for n in range(4015)]
    assert table["voltage"].to_pylist() == expected
    assert table["timestamp"].null_count == summary.lost_rows


def test_several_streams_and_runs(tmp_path: Path) -> None:
    for _ in range(2):
        with mullet.record(
            tmp_path / "in.h5", streams={"a": {"x": "V"}, "b": {"y": "A"}}, mode="a", metadata={"n": 1}
        ) as rec:
            rec["a"].write_block([1.0, 2.0])
            rec["b"].write_measurement(3.0)
            rec.annotate("shutter")
    with pytest.raises(ChannelNotFoundError, match="several streams.*'a', 'b'"):
        export(tmp_path / "in.h5", tmp_path / "out.parquet")
    with pytest.raises(ChannelNotFoundError, match="no stream 'c'.*'a', 'b'"):
        export(tmp_path / "in.h5", tmp_path / "out.parquet", stream="c")
    export(tmp_path / "in.h5", tmp_path / "out.parquet", stream="a", row_numbers=True)
    table = read_table(tmp_path / "out.parquet")
    runs = [run["number"] for run in facts(table)["runs"]]
    assert table["run"].to_pylist() == [runs[0], runs[0], runs[1], runs[1]]
    assert table["row"].to_pylist() == [0, 1, 0, 1]
    assert {note["text"] for note in facts(table)["annotations"]} == {"shutter"}
    export(tmp_path / "in.h5", tmp_path / "one.parquet", stream="a", run=runs[1])
    assert read_table(tmp_path / "one.parquet").num_rows == 2
    with pytest.raises(ChannelNotFoundError, match=f"no run 99; there are: {runs[0]}, {runs[1]}"):
        export(tmp_path / "in.h5", tmp_path / "no.parquet", stream="a", run=99)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_that_go_on(tmp_path: Path, layout: str) -> None:
    """A recording over several files is read as one, unless only the first is asked for."""
    record(tmp_path / "in.h5", [rows(n, 10) for n in range(0, 60, 10)], layout, rotate_rows=25)
    names = sorted(os.listdir(tmp_path))
    assert len(names) == 3
    export(tmp_path / "in.h5", tmp_path / "out.parquet", row_numbers=True, start=3, stop=58)
    table = read_table(tmp_path / "out.parquet")
    assert table["row"].to_pylist() == list(range(3, 58))
    assert set(table["run"].to_pylist()) == {1}
    export(tmp_path / "in.h5", tmp_path / "first.parquet", parts=False)
    assert read_table(tmp_path / "first.parquet").num_rows == 25
    (tmp_path / names[1]).rename(tmp_path / "elsewhere.h5")
    with pytest.raises(FileMissingError, match="goes on in"):
        export(tmp_path / "in.h5", tmp_path / "no.parquet")


def test_opaque_bytes(tmp_path: Path) -> None:
    messages = [b"one", b"", b"three" * 100]
    with RingBuffer.create(str(tmp_path / "a.ring"), capacity_mb=1) as ring:
        for number, message in enumerate(messages):
            ring.write(message, timestamp_ns=START_NS + number)
        fill(tmp_path / "in.h5", ring, [], "continuous")
    export(tmp_path / "in.h5", tmp_path / "out.parquet")
    table = plain(read_table(tmp_path / "out.parquet"))
    assert table["raw_data"].to_pylist() == messages
    assert table["timestamp"].to_pylist() == [START_NS, START_NS + 1, START_NS + 2]


def test_while_it_is_recorded(tmp_path: Path) -> None:
    with RingBuffer.create(str(tmp_path / "a.ring"), capacity_mb=1) as ring:
        writer = mullet.HDF5Writer(tmp_path / "in.h5", ring, run_in="thread")
        ring.write_arrow_batch(rows(0, 10))
        writer.flush()
        with mullet.open(tmp_path / "in.h5"):  # holds the file, so that the next commit stays in the journal
            ring.write_arrow_batch(rows(10, 10))
            writer.flush()
            export(tmp_path / "in.h5", tmp_path / "out.parquet")
        writer.stop()
    assert read_table(tmp_path / "out.parquet").num_rows == 20


def test_an_output_is_not_replaced(tmp_path: Path) -> None:
    path = record(tmp_path / "in.h5", [rows(0, 3)])
    output = tmp_path / "out.parquet"
    output.write_text("dear")
    with pytest.raises(OutputExistsError, match="out.parquet is there already"):
        export(path, output)
    assert output.read_text() == "dear"
    export(path, output, force=True)
    assert read_table(output).num_rows == 3
    with pytest.raises(FileWriteError, match="folder"):
        export(path, tmp_path / "nowhere" / "out.parquet")
    with pytest.raises(OutputExistsError, match="folder"):
        export(path, tmp_path, force=True) if tmp_path.suffix else export(path, _folder(tmp_path), force=True)
    with pytest.raises(ValueError, match="'.xlsx'; give it one of .parquet, .arrow, .csv"):
        export(path, tmp_path / "out.xlsx")
    with pytest.raises(ChannelNotFoundError, match="no channel 'volts'; there are: 'voltage'"):
        export(path, tmp_path / "no.parquet", channels=["volts"])
    assert sorted(os.listdir(tmp_path)) == ["a.parquet", "in.h5", "out.parquet"]


def _folder(tmp_path: Path) -> Path:
    (tmp_path / "a.parquet").mkdir()
    return tmp_path / "a.parquet"


WORK = """
from mulletdaq.export.tables import export
export(sys.argv[1], sys.argv[2], force=True)
"""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_is_bounded(tmp_path: Path, layout: str) -> None:
    """A file of 336 MB takes less memory than it has."""
    path = tmp_path / "in.h5"
    values = np.random.default_rng(1).standard_normal(1 << 18)
    stamps = np.arange(1 << 18)
    batch = pa.record_batch({"timestamp": stamps, **{f"c{n}": values for n in range(3)}})
    with RingBuffer.create(str(tmp_path / "a.ring"), capacity_mb=40) as ring:
        writer = mullet.HDF5Writer(path, ring, fsync="never", run_in="thread", layout=layout, compression=None)
        for _ in range(40):
            ring.write_arrow_batch(batch)
            writer.flush()
        writer.stop()
    assert path.stat().st_size > 330e6
    taken = peak_mb(WORK, path, tmp_path / "out.parquet") - peak_mb("import mulletdaq.export.tables")
    assert taken < 250, f"{taken:.0f} MB"
    assert pq.read_metadata(tmp_path / "out.parquet").num_rows == 40 << 18


def test_schema_is_that_of_the_ring(tmp_path: Path) -> None:
    path = record(tmp_path / "in.h5", [rows(0, 3)])
    export(path, tmp_path / "out.arrow")
    found = read_table(tmp_path / "out.arrow").schema
    assert found.names == SCHEMA.names
    assert [field.nullable for field in found] == [field.nullable for field in SCHEMA]
