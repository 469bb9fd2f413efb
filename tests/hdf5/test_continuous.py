"""Datasets that grow: whatever commits, failures and restarts came between, each holds its rows once and in order."""

from __future__ import annotations

import io
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mulletdaq import errors
from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.hdf5.batch_table import BatchTable
from mulletdaq.hdf5.describe import describe
from mulletdaq.hdf5.engine import Engine
from mulletdaq.hdf5.growing import GrowingColumns
from mulletdaq.hdf5.options import EngineOptions, RingAddress
from mulletdaq.hdf5.verify import verify
from mulletdaq.ring import RingBuffer
from tests.examples import examples

from .arrays import as_read, build
from .conftest import SCHEMA, batches_of, eventually, rows, stored_rows
from .reading import read_column, same
from .test_any_schema import recordings, stored_classes

MakeRing = Callable[..., RingBuffer]


def engine_of(path: Path, *rings: RingBuffer, **options: Any) -> Engine:
    names = [""] if len(rings) == 1 else [f"stream{number}" for number in range(len(rings))]
    addresses = {name: RingAddress(ring.path, ring.stream_id) for name, ring in zip(names, rings, strict=True)}
    options = {"fsync": "never", "layout": "continuous", **options}
    return Engine(EngineOptions(str(path), addresses, lock_timeout_s=0, **options))


def checked(path: Path) -> None:
    report = verify(path)
    assert report.ok, report.problems


def test_datasets_grow_and_a_table_tells_of_the_batches(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    with closing(engine_of(path, ring)) as engine:
        for first in (0, 10, 20):
            ring.write_arrow_batch(rows(first, 10))
            engine.commit()
        assert engine.statistics().batches == 3
    with h5py.File(path) as file:
        group = file["measurements"]
        assert set(group) == {"timestamp", "voltage"}
        assert group["timestamp"][:].tolist() == list(range(30))
        assert group["voltage"].attrs["units"] == b"V"
        assert (group.attrs["NX_class"], group.attrs["signal"], group.attrs["axes"]) == (
            b"NXdata",
            b"voltage",
            b"timestamp",
        )
        assert file["entry/data"] == file["measurements"]
        table = file["batches"]
        assert table.dtype == np.int64 and table.shape == (3, 8)
    for number, batch in enumerate(batches_of(path)):
        assert (batch["run"], batch["first_row"], batch["rows"], batch["lost_rows"]) == (1, number * 10, 10, 0)
        assert 0 <= batch["ring_tail"] <= ring.write_head and abs(batch["timestamp_ns"] - time.time_ns()) < 60e9
    checked(path)
    [stream] = describe(path).streams
    assert (stream.rows, stream.batches, stream.first_ns, stream.last_ns) == (30, 3, 0, 29)
    assert [channel.name for channel in stream.channels] == ["timestamp", "voltage"]
    assert path.read_bytes()[8] == 0, "superblock version"


def test_opaque_messages_grow_too(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    messages = [bytes([number % 256]) * (number % 50) for number in range(600)]
    with closing(engine_of(path, ring)) as engine:
        for number, message in enumerate(messages):
            ring.write(message)
            if number % 70 == 0:
                engine.commit()
        engine.drain({})
    with h5py.File(path) as file:
        group = file["measurements"]
        assert group["raw_data"][:].tobytes() == b"".join(messages)
        assert group["raw_lengths"][:].tolist() == list(map(len, messages))
        assert len(group["timestamp"]) == len(messages) and group.attrs["signal"] == b"raw_data"
    checked(path)
    assert describe(path).streams[0].rows == 600


@pytest.mark.parametrize("compression", ["gzip", None])
def test_an_old_h5dump_reads_every_chunk(path: Path, make_ring: MakeRing, compression: str | None) -> None:
    """Open ones without filters, full ones packed later, whole ones packed at once."""
    if (h5dump := shutil.which("h5dump")) is None:
        pytest.skip("no h5dump here")
    ring = make_ring()
    count = fill_every_way(path, ring, compression=compression)
    text = subprocess.run(
        [h5dump, "-d", "/measurements/timestamp", "-y", "-w", "1", str(path)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    values = text[text.index("DATA {") :].split()
    assert [int(value.rstrip(",")) for value in values if value.rstrip(",").isdigit()] == list(range(count))


def fill_every_way(path: Path, ring: RingBuffer, **options: Any) -> int:
    """Batches smaller than a chunk, one of several chunks, an end in the middle; how many rows."""
    first = 0
    with closing(engine_of(path, ring, chunk_rows=100, **options)) as engine:
        for size in [7] * 40 + [1000] + [13] * 20:
            ring.write_arrow_batch(rows(first, size))
            first += size
            engine.commit()
        engine.drain({})
    return first


@pytest.mark.parametrize("compression", ["gzip", "lzf", "zstd", None])
def test_open_chunks_have_no_filters_and_full_ones_all(
    path: Path, make_ring: MakeRing, compression: str | None
) -> None:
    count = fill_every_way(path, make_ring(), compression=compression)
    assert stored_rows(path) == list(range(count))
    with h5py.File(path) as file:
        dataset = file["measurements/timestamp"].id
        infos = [dataset.get_chunk_info(index) for index in range(dataset.get_num_chunks())]
    if compression is not None:
        assert [info.filter_mask for info in infos[:-1]] == [0] * (len(infos) - 1)
        assert (infos[-1].filter_mask, infos[-1].size) == (0b11, 800)
        assert max(info.size for info in infos[:-1]) < 700
    else:
        assert {(info.filter_mask, info.size) for info in infos} == {(0, 800)}
    checked(path)


@pytest.mark.parametrize("filled", [1, 2, 9, 10, 11, 15, 19, 20, 21])
@pytest.mark.parametrize("compression", ["gzip", None])
def test_any_edge_is_gone_on_with(path: Path, make_ring: MakeRing, filled: int, compression: str | None) -> None:
    """Another writer comes when so much of the chunks of ten rows is filled, and then each row by itself."""
    ring = make_ring()
    first = 0
    for size in [filled] + [1] * 12 + [25]:
        ring.write_arrow_batch(rows(first, size))
        first += size
        with closing(engine_of(path, ring, chunk_rows=10, compression=compression)) as engine:
            engine.drain({})
        assert stored_rows(path) == list(range(first))
    checked(path)
    assert describe(path).runs[0].rows == first and len(describe(path).runs) == 1


def test_commits_end_where_chunks_end_and_drains_take_the_rest(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    with closing(engine_of(path, ring, chunk_rows=100)) as engine:
        sizes = []
        for first, size in ((0, 30), (30, 90), (120, 130), (250, 10)):
            ring.write_arrow_batch(rows(first, size))
            engine.commit()
            sizes.append(engine.statistics().rows_persisted)
        assert sizes == [30, 100, 200, 260], "open; filled; a whole one; and what was held back is not held back again"
        ring.write_arrow_batch(rows(260, 300))
        engine.drain({})
        assert engine.statistics().rows_persisted == 560
    assert [batch["rows"] for batch in batches_of(path)] == [30, 70, 100, 60, 40, 200, 60]
    checked(path)


def test_rows_held_back_show_in_the_lag(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    with closing(engine_of(path, ring, chunk_rows=100)) as engine:
        ring.write_arrow_batch(rows(0, 30))
        engine.commit()
        before = engine.statistics().persisted_until_ns
        ring.write_arrow_batch(rows(30, 90))
        engine.commit()
        assert engine.statistics().persisted_until_ns <= before
        engine.commit()
        assert engine.statistics().persisted_until_ns > before


@pytest.mark.parametrize("steady", [True, False])
def test_no_row_waits_long(path: Path, make_ring: MakeRing, steady: bool) -> None:
    """At a steady rate for the next commit at most, at any for the one after it; of a slow stream for none."""
    ring = make_ring()
    chance = random.Random(2)
    ends = [0, 0, 0]
    with closing(engine_of(path, ring, chunk_rows=100)) as engine:
        for most in (1, 60, 99, 140, 500, 3):
            for number in range(60):
                size = most if steady else chance.randint(1, most)
                ring.write_arrow_batch(rows(ends[-1], size))
                ends.append(ends[-1] + size)
                engine.commit()
                if number > 2:
                    waits = 0 if most == 1 else 1 if steady else 2
                    assert engine.statistics().rows_persisted >= ends[-1 - waits]
        engine.drain({})
    assert stored_rows(path) == list(range(ends[-1]))


def fail(*_: Any) -> None:
    raise OSError("no room")


def test_failed_commits_are_repeated_whole_and_once(
    path: Path, make_ring: MakeRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, between and after the datasets, for edges of any fill."""
    ring = make_ring()
    written = 0
    steps: list[tuple[Any, str]] = [(GrowingColumns, "append"), (BatchTable, "append")]
    with closing(engine_of(path, ring, chunk_rows=16)) as engine:
        for size in [5, 11, 16, 3, 40, 1, 12] * 3:
            ring.write_arrow_batch(rows(written, size))
            written += size
            for owner, name in [*steps, (engine._chain.storage, "commit")]:
                with monkeypatch.context() as patch:
                    patch.setattr(owner, name, fail)
                    with pytest.raises(errors.FileWriteError, match="no room"):
                        engine.commit()
            engine.drain({})
    assert stored_rows(path) == list(range(written))
    checked(path)


def test_runs_of_one_schema_share_their_datasets(path: Path, make_ring: MakeRing) -> None:
    for name in "abc":
        ring = make_ring(name)
        ring.write_arrow_batch(rows(0, 25))
        with closing(engine_of(path, ring, chunk_rows=10)) as engine:
            engine.drain({})
            assert engine.statistics().streams[""].run == "abc".index(name) + 1
    assert stored_rows(path) == list(range(25)) * 3
    assert [batch["run"] for batch in batches_of(path)] == [1, 2, 2, 3, 3]
    checked(path)
    assert [run.rows for run in describe(path).runs] == [25, 25, 25]


def other_schema(kind: str) -> Any:
    """The schema, with one thing changed."""
    stamp, voltage = SCHEMA
    return {
        "unit": pa.schema([stamp, voltage.with_metadata({"unit": "mV"})]),
        "type": pa.schema([stamp, voltage.with_type(pa.float32())]),
        "name": pa.schema([stamp, voltage.with_name("current")]),
        "more": pa.schema([stamp, voltage, pa.field("current", pa.float64())]),
    }[kind]


@pytest.mark.parametrize("kind", ["unit", "type", "name", "more"])
@pytest.mark.parametrize("stream", ["", "scope"])
def test_runs_of_another_schema_have_a_group_of_their_own(
    path: Path, make_ring: MakeRing, kind: str, stream: str
) -> None:
    """And a third one of the first schema goes on where the first ended."""
    schemas = [SCHEMA, other_schema(kind), SCHEMA]
    for number, schema in enumerate(schemas):
        ring = make_ring(f"{number}")
        columns = [np.arange(10) + 100 * number] * len(schema)
        ring.write_arrow_batch(
            pa.record_batch([pa.array(c).cast(f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)
        )
        writer = HDF5Writer(path, {stream: ring} if stream else ring, layout="continuous", fsync="never")
        writer.stop()
    with h5py.File(path) as file:
        base = file["measurements"][stream] if stream else file["measurements"]
        assert base["timestamp"][:].tolist() == [*range(10), *range(200, 210)]
        assert set(base["run_000002"]) == {field.name for field in schemas[1]}
        assert base["run_000002/timestamp"][:].tolist() == list(range(100, 110))
        assert base["run_000002"].attrs["signal"] == schemas[1].names[1].encode()
    checked(path)
    [described] = describe(path).streams
    assert (described.name, described.rows, described.batches) == (stream, 30, 3)


def test_a_run_without_rows_keeps_its_place(path: Path, make_ring: MakeRing) -> None:
    """Another schema comes before its first row, and then again its own."""
    for number, schema in enumerate((SCHEMA, other_schema("unit"), SCHEMA)):
        ring = make_ring(f"{number}")
        with closing(ring.producer(schema)) as producer:
            if number:
                producer.append(0.5, timestamp_ns=number)
        HDF5Writer(path, ring, layout="continuous", fsync="never").stop()
    with h5py.File(path) as file:
        assert file["measurements/timestamp"][:].tolist() == [2]
        assert file["measurements/run_000002/timestamp"][:].tolist() == [1]
        assert file["measurements/run_000002/voltage"].attrs["units"] == b"mV"
    checked(path)


def test_layouts_of_different_runs_lie_side_by_side(path: Path, make_ring: MakeRing) -> None:
    for number, layout in enumerate(("batches", "continuous", "batches", "continuous")):
        ring = make_ring(f"{number}")
        ring.write_arrow_batch(rows(number * 10, 10))
        HDF5Writer(path, ring, layout=layout, fsync="never").stop()
    with h5py.File(path) as file:
        assert set(file["measurements"]) == {"batch_000001", "batch_000002", "run_000002"}
        assert file["measurements/run_000002/timestamp"][:].tolist() == [*range(10, 20), *range(30, 40)]
    checked(path)
    assert describe(path).streams[0].batches == 4


def test_a_run_keeps_its_layout(path: Path, make_ring: MakeRing) -> None:
    """A recovery knows nothing of layouts."""
    ring = make_ring()
    for first, layout in ((0, "continuous"), (10, "batches")):
        ring.write_arrow_batch(rows(first, 10))
        HDF5Writer(path, ring, layout=layout, fsync="never").stop()
    with h5py.File(path) as file:
        assert file["measurements/timestamp"][:].tolist() == list(range(20))
    checked(path)


def test_columns_with_names_of_groups_have_a_group_of_their_own(path: Path, make_ring: MakeRing) -> None:
    schema = pa.schema([("timestamp", pa.int64()), ("batch_000001", pa.float64()), ("run_000002", pa.float64())])
    for name, layout in (("a", "continuous"), ("b", "batches"), ("c", "continuous")):
        ring = make_ring(name)
        columns = [pa.array(range(5)), pa.array(np.arange(5.0)), pa.array(np.arange(5.0))]
        ring.write_arrow_batch(pa.record_batch(columns, schema=schema))
        HDF5Writer(path, ring, layout=layout, fsync="never").stop()
    with h5py.File(path) as file:
        assert set(file["measurements"]) == {"run_000001", "batch_000001"}
        assert len(file["measurements/run_000001/run_000002"]) == 10
    checked(path)


def test_a_stream_cannot_take_the_place_of_a_column(path: Path, make_ring: MakeRing) -> None:
    ring, other = make_ring("a"), make_ring("b")
    ring.write_arrow_batch(rows(0, 5))
    HDF5Writer(path, ring, layout="continuous", fsync="never").stop()
    other.write_arrow_batch(rows(0, 5))
    for layout in ("batches", "continuous"):
        with pytest.raises(errors.SchemaError, match="stream 'voltage' cannot lie beside a column of that name"):
            HDF5Writer(path, {"voltage": other}, layout=layout, fsync="never").stop()
    HDF5Writer(path, {"current": other}, layout="continuous", fsync="never").stop()
    checked(path)
    assert [stream.name for stream in describe(path).streams] == ["", "current"]
    assert [channel.name for channel in describe(path).streams[0].channels] == ["timestamp", "voltage"]


def test_several_streams_share_the_table(path: Path, make_ring: MakeRing) -> None:
    fast, slow = make_ring("fast"), make_ring("slow")
    with closing(engine_of(path, fast, slow)) as engine:
        for number in range(5):
            fast.write_arrow_batch(rows(number * 700, 700))
            slow.write_arrow_batch(rows(number, 1))
            engine.drain({})
        counts = engine.statistics().streams
        assert counts["stream0"].batches > 5 and counts["stream1"].batches == 5
    assert stored_rows(path, "stream0") == list(range(3500))
    assert stored_rows(path, "stream1") == list(range(5))
    checked(path)


def test_losses_split_batches_and_are_accounted_for(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring(capacity_bytes=1 << 16)
    with closing(engine_of(path, ring, chunk_rows=64)) as engine:
        ring.write_arrow_batch(rows(0, 50))
        engine.drain({})
        for first in range(50, 20_050, 50):
            ring.write_arrow_batch(rows(first, 50))
        engine.drain({})
        lost = engine.statistics().rows_lost
        assert lost > 0
    found = stored_rows(path)
    assert found == [*range(50), *range(50 + lost, 20_050)]
    assert sum(batch["lost_rows"] for batch in batches_of(path)) == lost
    checked(path)


@settings(max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck))
@given(recordings(), st.data())
def test_any_schema_grows(drawn: tuple[Any, list[list[dict[str, Any]]]], data: st.DataObject) -> None:
    """Through commits, failures, restarts and new runs, whatever the types."""
    chosen, batches = drawn
    schema = pa.schema([("timestamp", pa.int64()), *chosen.items()])
    chunk_rows = data.draw(st.sampled_from([1, 2, 3, 5, None]), label="chunk rows")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.h5"
        rings = [RingBuffer.create(f"{folder}/0.ring", capacity_bytes=1 << 18)]
        engine = engine_of(path, rings[0], chunk_rows=chunk_rows)
        for batch in batches:
            step = data.draw(st.sampled_from(["go on", "commit", "fail", "restart", "run"]), label="step")
            if step == "commit":
                engine.commit()
            elif step == "fail":
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(engine._chain.storage, "commit", fail)
                    if rings[-1].content == "arrow" and engine.statistics().rows_persisted < rings[-1].newest_row:
                        with pytest.raises(errors.FileWriteError):
                            engine.commit()
            elif step in ("restart", "run"):
                engine.drain({})
                engine.close()
                if step == "run":
                    rings.append(RingBuffer.create(f"{folder}/{len(rings)}.ring", capacity_bytes=1 << 18))
                engine = engine_of(path, rings[-1], chunk_rows=chunk_rows)
            arrays = [build(type_, [row[name] for row in batch]) for name, type_ in chosen.items()]
            rings[-1].write_arrow_batch(pa.record_batch([pa.array(range(len(batch))), *arrays], schema=schema))
        engine.drain({})
        engine.close()
        for ring in rings:
            ring.close()
        checked(path)
        with h5py.File(path) as file:
            group = file["measurements"]
            assert stored_classes(group) <= {h5py.h5t.INTEGER, h5py.h5t.FLOAT}
            count = sum(map(len, batches))
            assert group["timestamp"].shape == (count,)
            for name, type_ in chosen.items():
                found = read_column(group, name, type_, count)
                expected = [as_read(type_, row[name]) for batch in batches for row in batch]
                assert same(found, expected), (name, type_, found, expected)


def test_kills_at_any_moment_lose_and_double_nothing(path: Path, tmp_path: Path) -> None:
    """A writer of small chunks, killed again and again while rows come."""
    ring_path = tmp_path / "a.ring"
    ring = RingBuffer.create(str(ring_path), capacity_bytes=1 << 20)
    script = (
        "import sys, time\n"
        "from mulletdaq.hdf5.engine import Engine\n"
        "from mulletdaq.hdf5.options import EngineOptions, RingAddress\n"
        "options = EngineOptions(sys.argv[1], {'': RingAddress(sys.argv[2], int(sys.argv[3]))}, chunk_rows=64,\n"
        "                        fsync='never', layout='continuous')\n"
        "engine = Engine(options)\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    engine.commit()\n"
    )
    chance = random.Random(1)
    written = 0
    for _ in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(path), str(ring_path), str(ring.stream_id)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            began = ring.read_tail
            until = time.monotonic() + 0.05 + 0.2 * chance.random()
            while time.monotonic() < until or ring.read_tail == began:
                size = chance.randrange(1, 150)
                ring.write_arrow_batch(rows(written, size))
                written += size
                eventually(lambda: ring.statistics().fill < 0.5, "the writer keeps up")
            process.kill()
        assert process.returncode == -signal.SIGKILL
    with closing(engine_of(path, ring, chunk_rows=64)) as engine:
        engine.drain({})
    ring.close()
    assert stored_rows(path) == list(range(written))
    checked(path)


DAMAGES: dict[str, Callable[[Any], Any]] = {
    "rows 16 to 31 of run 1 are missing": lambda file: drop(file, 1),
    "batches[1]: begins at row 17 of /measurements, expected 16": lambda file: change(file, 1, 7, 17),
    "batches[2]: starts at row 0 of run 1, expected 32": lambda file: change(file, 2, 1, 0),
    "batches[1]: attribute lost_rows is 5, but 0 are": lambda file: change(file, 1, 3, 5),
    "batches[0]: belongs to run 7": lambda file: change(file, 0, 0, 7),
    "batches[0]: rows is 0": lambda file: change(file, 0, 2, 0),
    "batches: is missing": lambda file: file.__delitem__("batches"),
    "batches: is no table": lambda file: replace(file, "batches", np.zeros((3, 8))),
    "shape is (47,), expected (48,)": lambda file: file["measurements/voltage"].resize((47,)),
    "shape is (49,), expected (48,)": lambda file: file["measurements/timestamp"].resize((49,)),
    "column voltage is missing": lambda file: file["measurements"].__delitem__("voltage"),
    "no such column": lambda file: file["measurements"].__setitem__("extra", np.zeros(48)),
    "type is float32": lambda file: replace(file, "measurements/voltage", np.zeros(48, np.float32)),
    "/elsewhere: is no group": lambda file: file["runs/run_000001"].attrs.create("data", np.bytes_(b"/elsewhere")),
    "attribute next_row is 99": lambda file: file["runs/run_000001"].attrs.modify("next_row", 99),
    "offsets must begin with 0 and never decrease": lambda file: file["measurements/text/offsets"].__setitem__(3, 1000),
    "expected (144,)": lambda file: file["measurements/text/values"].resize((150,)),
}


def drop(file: Any, number: int) -> None:
    table = file["batches"][:]
    replace(file, "batches", np.delete(table, number, axis=0))


def change(file: Any, row: int, column: int, value: int) -> None:
    file["batches"][row, column] = value


def replace(file: Any, name: str, values: Any) -> None:
    del file[name]
    file[name] = values


@pytest.mark.parametrize("problem", DAMAGES)
def test_damage_is_named(path: Path, make_ring: MakeRing, problem: str) -> None:
    ring = make_ring()
    schema = pa.schema([*SCHEMA, pa.field("text", pa.string())])
    with closing(engine_of(path, ring, compression=None)) as engine:
        for first in (0, 16, 32):
            texts = pa.array(["abc"] * 16)
            ring.write_arrow_batch(pa.record_batch([*rows(first, 16).columns, texts], schema=schema))
            engine.drain({})
    checked(path)
    with h5py.File(path, "r+") as file:
        DAMAGES[problem](file)
    report = verify(path)
    assert any(problem in line for line in report.problems), report.problems
    assert all("\n" not in line for line in report.problems)


def test_backward_time_only_warns(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    ring.write_arrow_batch(rows(0, 10))
    ring.write_arrow_batch(rows(5, 10))
    with closing(engine_of(path, ring)) as engine:
        engine.drain({})
    report = verify(path)
    assert report.ok
    assert report.warnings == ("runs/run_000001: time goes back 1 times, first in /measurements/timestamp",)


def test_stock_readers_see_whole_commits_while_it_grows(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    with closing(engine_of(path, ring, chunk_rows=50)) as engine:
        for first in range(0, 600, 20):
            ring.write_arrow_batch(rows(first, 20))
            engine.commit()
            with h5py.File(io.BytesIO(path.read_bytes())) as file:
                persisted = engine.statistics().rows_persisted
                assert file["measurements/timestamp"][:].tolist() == list(range(persisted))
                assert file["measurements/voltage"].shape == (persisted,)
