"""Recordings in another layout: the same bits, the same books, complete or not there, and a writer can go on."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mulletdaq as mullet
from mulletdaq.errors import FileFormatError, OutputExistsError
from mulletdaq.export.converting import convert
from mulletdaq.hdf5.attributes import get_text
from mulletdaq.hdf5.catalog import runs_of, stream_rows
from mulletdaq.hdf5.metadata import read_metadata
from mulletdaq.hdf5.verify import verify
from mulletdaq.ring import RingBuffer
from tests.examples import examples
from tests.hdf5.arrays import build
from tests.hdf5.conftest import compression_of
from tests.hdf5.test_any_schema import recordings

from .files import LAYOUTS, fill, record, record_with_loss, rows
from .memory import peak_mb

OTHER = {"batches": "continuous", "continuous": "batches"}


def bits(path: Path) -> Any:
    """Every value of every stream as bytes, by run and row, and the masks."""
    found = []
    with h5py.File(path) as file:
        for name, stream in stream_rows(file).items():
            for block in stream.blocks():
                for channel, values in block.columns.items():
                    for row, value in enumerate(values):
                        valid = block.valid.get(channel)
                        mask = valid is None or valid[row].tolist()
                        found.append((name, block.run, block.first_row + row, channel, _bits(value), str(mask)))
    return sorted(found)


def _bits(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes(), str(np.ma.getmaskarray(value).tolist())
    return repr(value)


def books(path: Path) -> Any:
    """Runs, losses, notes, metadata, batches, attributes of the file."""
    with h5py.File(path) as file:
        runs = {
            number: {key: str(value) for key, value in run.group.attrs.items() if key not in ("data", "chunk_rows")}
            | {"schema": run.group["schema"][:].tobytes() if "schema" in run.group else b""}
            for number, run in runs_of(file).items()
        }
        tables = {
            f"{group}/{name}": column[:].tolist()
            for group in ("losses", "annotations")
            for name, column in file[group].items()
        }
        attributes = {key: str(value) for key, value in file.attrs.items() if key not in ("default", "converted_from")}
        return runs, tables, str(read_metadata(file)), batches(file), attributes


def batches(file: Any) -> list[tuple[int, ...]]:
    names = ("run", "first_row", "rows", "lost_rows", "ring_tail", "timestamp_ns", "monotonic_ns")
    found = []
    if "batches" in file:
        order = [name.decode() for name in file["batches"].attrs["columns"]]
        found += [tuple(row[order.index(name)] for name in names) for row in file["batches"][:].tolist()]

    def look(name: str, group: Any) -> None:
        if isinstance(group, h5py.Group) and "ring_tail" in group.attrs:
            found.append(tuple(int(group.attrs[name]) for name in names))

    file["measurements"].visititems(look)
    return sorted(found)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_there_and_back(tmp_path: Path, layout: str) -> None:
    metadata = {"operator": "Ä", "gain": {"a": 2.5, "table": np.arange(9000.0)}}
    path = record(tmp_path / "in.h5", [rows(0, 30), rows(30, 1), rows(31, 2000)], layout, metadata=metadata)
    seen: list[tuple[int, int]] = []
    summary = convert(path, tmp_path / "there.h5", layout=OTHER[layout], on_progress=lambda *rows: seen.append(rows))
    assert (summary.rows, summary.batches, summary.continued_in) == (2031, 3, "")
    assert seen == [(30, 2031), (31, 2031), (2031, 2031)]
    convert(tmp_path / "there.h5", tmp_path / "back.h5", layout=layout, compression=None)
    for other in ("there.h5", "back.h5"):
        assert verify(tmp_path / other).problems == ()
        assert bits(tmp_path / other) == bits(path)
        assert books(tmp_path / other) == books(path)
    with h5py.File(tmp_path / "there.h5") as file:
        assert ("batches" in file) == (layout == "batches")
        assert get_text(file, "converted_from") == "in.h5"
    assert sorted(os.listdir(tmp_path)) == ["back.h5", "in.h5", "there.h5"]


@settings(
    max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(recordings(), st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS))
def test_any_schema(drawn: tuple[Any, list[Any]], layout: str, target: str) -> None:
    chosen, drawn_batches = drawn
    schema = pa.schema([("timestamp", pa.int64()), *chosen.items()])
    written = []
    for some in drawn_batches:
        arrays = [build(type_, [row[name] for row in some]) for name, type_ in chosen.items()]
        written.append(pa.record_batch([pa.array(range(len(some))), *arrays], schema=schema))
    with tempfile.TemporaryDirectory() as folder:
        path = record(Path(folder) / "in.h5", written, layout)
        output = Path(folder) / "out.h5"
        convert(path, output, layout=target)
        assert verify(output).problems == ()
        assert bits(output) == bits(path)
        assert books(output) == books(path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_losses_notes_runs_and_streams(tmp_path: Path, layout: str) -> None:
    record_with_loss(tmp_path / "lossy.h5", layout)
    for start in (1.0, 2.0):
        streams = {"a": {"x": "V"}, "b": {"y": "A", "z": "m"} if start == 1.0 else {"y": "A"}}
        with mullet.record(
            tmp_path / "many.h5", streams=streams, mode="a", layout=layout, metadata={"n": start}
        ) as rec:
            rec["a"].write_block([start, 2.0])
            rec["b"].write_measurement(*[3.0, 4.0][: len(streams["b"])])
            rec.annotate("shutter ü")
            rec["a"].write_block([start, 5.0])
    with RingBuffer.create(str(tmp_path / "raw.ring"), capacity_mb=1) as ring:
        for size in (0, 5, 2000):
            ring.write(b"x" * size)
        fill(tmp_path / "raw.h5", ring, [], layout)
    for name in ("lossy", "many", "raw"):
        for target in LAYOUTS:
            output = tmp_path / f"{name}-{target}.h5"
            convert(tmp_path / f"{name}.h5", output, layout=target, compression="lzf")
            assert verify(output).problems == ()
            assert bits(output) == bits(tmp_path / f"{name}.h5")
            assert books(output) == books(tmp_path / f"{name}.h5")


@pytest.mark.parametrize("target", LAYOUTS)
def test_compression(tmp_path: Path, target: str) -> None:
    path = record(tmp_path / "in.h5", [rows(0, 5000)], compression=None)
    for compression in ("gzip", None):
        output = tmp_path / f"{compression}.h5"
        convert(path, output, layout=target, compression=compression, chunk_rows=1000)
        with h5py.File(output) as file:
            group = file["measurements"] if target == "continuous" else file["measurements/batch_000001"]
            assert compression_of(group["voltage"]) == compression
            assert group["voltage"].chunks == (1000,)
    with pytest.raises(ValueError, match="'rar' is not known"):
        convert(path, tmp_path / "no.h5", layout=target, compression="rar")
    with pytest.raises(ValueError, match="layout='rows'"):
        convert(path, tmp_path / "no.h5", layout="rows")
    assert not (tmp_path / "no.h5").exists()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_writer_goes_on(tmp_path: Path, layout: str) -> None:
    """In the converted file as it would have in the first one: from the same row of the same ring."""
    with RingBuffer.create(str(tmp_path / "a.ring"), capacity_mb=4) as ring:
        fill(tmp_path / "in.h5", ring, [rows(0, 30)], layout)
        convert(tmp_path / "in.h5", tmp_path / "out.h5", layout=OTHER[layout])
        fill(tmp_path / "out.h5", ring, [rows(30, 10)], layout)
    assert verify(tmp_path / "out.h5").problems == ()
    table = mullet.load(tmp_path / "out.h5", as_="arrow")
    assert table["row"].to_pylist() == list(range(40)) and table["voltage"].to_pylist() == [n / 2 for n in range(40)]


def test_a_file_that_goes_on_elsewhere(tmp_path: Path) -> None:
    record(tmp_path / "in.h5", [rows(n, 10) for n in range(0, 40, 10)], rotate_rows=25)
    summary = convert(tmp_path / "in.h5", tmp_path / "out.h5", layout="continuous")
    assert summary.rows == 25 and (tmp_path / summary.continued_in).exists()
    assert mullet.load(tmp_path / "out.h5", as_="arrow").num_rows == 25


def test_refusals_leave_nothing(tmp_path: Path) -> None:
    path = record(tmp_path / "in.h5", [rows(0, 30)])
    (tmp_path / "out.h5").write_text("dear")
    with pytest.raises(OutputExistsError):
        convert(path, tmp_path / "out.h5", layout="continuous")
    convert(path, tmp_path / "out.h5", layout="continuous", force=True)
    assert bits(tmp_path / "out.h5") == bits(path)
    with pytest.raises(OutputExistsError):
        convert(path, path, layout="continuous")
    with h5py.File(path, "a") as file:
        file["runs/run_000001"].attrs["rows"] = 31
    with pytest.raises(FileFormatError, match="run 1 has 30 of 31 rows"):
        convert(path, tmp_path / "no.h5", layout="batches")
    assert sorted(os.listdir(tmp_path)) == ["in.h5", "out.h5"]


WORK = """
from mulletdaq.export.converting import convert
convert(sys.argv[1], sys.argv[2], layout=sys.argv[3], compression=None)
"""


@pytest.mark.parametrize("target", LAYOUTS)
def test_memory_is_bounded(tmp_path: Path, target: str) -> None:
    path = tmp_path / "in.h5"
    values = np.random.default_rng(1).standard_normal(1 << 18)
    batch = pa.record_batch({"timestamp": np.arange(1 << 18), **{f"c{n}": values for n in range(3)}})
    with RingBuffer.create(str(tmp_path / "a.ring"), capacity_mb=40) as ring:
        fill(path, ring, [batch] * 40, OTHER[target], compression=None)
    assert path.stat().st_size > 330e6
    taken = peak_mb(WORK, path, tmp_path / "out.h5", target) - peak_mb("import mulletdaq.export.converting")
    assert taken < 250, f"{taken:.0f} MB"
    with h5py.File(tmp_path / "out.h5") as file:
        assert stream_rows(file)[""].rows == 40 << 18
