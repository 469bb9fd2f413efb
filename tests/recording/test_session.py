"""record(): the scientist's view, in one process."""

from __future__ import annotations

import asyncio
import time
import types
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import mulletdaq as mullet
from mulletdaq.errors import OutputExistsError, RecordingError, SchemaError
from mulletdaq.recording import Recording

from .files import joined, lost_rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "experiment_data.h5"


def test_what_is_written_is_in_the_file(path: Path, ring_directory: Path) -> None:
    with mullet.record(path, channels={"voltage": "V"}) as rec:
        before = time.time_ns()
        for value in range(1000):
            rec.write_measurement(value / 8)
        after = time.time_ns()
    assert joined(path).tolist() == [value / 8 for value in range(1000)]
    stamps = joined(path, column="timestamp")
    assert before <= stamps[0]
    assert stamps[-1] <= after
    assert (np.diff(stamps) >= 0).all()
    assert lost_rows(path) == 0
    assert list(ring_directory.iterdir()) == [], "the ring of an ended recording is gone"
    with h5py.File(path) as file:
        assert file["measurements/batch_000001/voltage"].attrs["units"] == b"V"


def test_write_measurement_is_the_rings_builtin(path: Path) -> None:
    with mullet.record(path, channels={"voltage": "V"}) as rec:
        assert isinstance(rec.write_measurement, types.BuiltinFunctionType)
        assert rec.write_measurement == rec[""].producer.append
        rec.write_measurement(1.0, timestamp_ns=77)
    assert joined(path, column="timestamp").tolist() == [77]


def test_waveforms_images_and_other_dtypes(path: Path) -> None:
    channels = [
        mullet.Channel("scope", "V", "float32", (100,)),
        mullet.Channel("camera", dtype="uint16", shape=(4, 6)),
        mullet.Channel("shutter", dtype="bool", description="open or not"),
        mullet.Channel("count", dtype="int64"),
    ]
    rng = np.random.default_rng(1)
    waves = rng.random((20, 100), dtype=np.float32)
    images = rng.integers(0, 65536, (20, 4, 6), dtype=np.uint16)
    with mullet.record(path, channels=channels) as rec:
        for row in range(10):
            rec.write_measurement(waves[row], images[row], row % 3 == 0, -row)
        rec.write_block(waves[10:], images[10:], np.arange(10, 20) % 3 == 0, -np.arange(10, 20))
        latest = rec.latest(5)
    assert np.array_equal(latest["scope"], waves[15:])
    assert np.array_equal(joined(path, column="scope"), waves)
    assert np.array_equal(joined(path, column="camera"), images)
    assert joined(path, column="shutter").tolist() == [int(row % 3 == 0) for row in range(20)]
    assert joined(path, column="count").tolist() == [-row for row in range(20)]


def test_sample_clocked_blocks_do_not_drift(path: Path) -> None:
    start = 1_700_000_000_000_000_000
    with mullet.record(path, channels={"voltage": "V"}) as rec:
        for block in range(100):
            rec.write_block(np.full(441, block), start_ns=start, rate_hz=44_100)
        rec.write_block({"voltage": [1.0, 2.0]}, timestamps_ns=np.array([5, 6]))
    stamps = joined(path, column="timestamp")
    assert stamps[:-2].tolist() == [start + (2 * k * 10**9 + 44_100) // (2 * 44_100) for k in range(44_100)]
    assert stamps[-2:].tolist() == [5, 6]


def test_streams_at_different_rates(path: Path) -> None:
    streams = {"scope": {"voltage": "V"}, "temp": {"stage": "K", "room": "K"}}
    with mullet.record(path, streams=streams) as rec:
        assert list(rec) == ["scope", "temp"]
        rec["scope"].write_block(np.arange(10_000.0))
        rec["temp"].write_measurement(1.5, 2.5)
        assert rec["temp"].latest(5)["room"].tolist() == [2.5]
        with pytest.raises(RecordingError, match="scope, temp"):
            rec.write_measurement(1.0)
        with pytest.raises(KeyError, match="scope"):
            rec["pressure"]
    assert joined(path, "scope").tolist() == list(range(10_000))
    assert joined(path, "temp", "stage").tolist() == [1.5]


def test_a_second_run_is_appended(path: Path) -> None:
    for run in range(3):
        with mullet.record(path, channels={"voltage": "V"}, mode="a") as rec:
            rec.write_measurement(float(run))
    assert joined(path).tolist() == [0, 1, 2]
    with h5py.File(path) as file:
        assert list(file["runs"]) == ["run_000001", "run_000002", "run_000003"]


def test_another_schema_begins_a_run_of_its_own(path: Path) -> None:
    with mullet.record(path, channels={"voltage": "V"}) as rec:
        rec.write_measurement(1.0)
    with mullet.record(path, channels={"current": "A"}, mode="a") as rec:
        rec.write_measurement(2.0)
    with h5py.File(path) as file:
        assert "voltage" in file["measurements/batch_000001"]
        assert "current" in file["measurements/batch_000002"]


def test_mode_x_never_touches_what_is_there(path: Path, ring_directory: Path) -> None:
    path.write_bytes(b"precious")
    with pytest.raises(OutputExistsError, match='mode="a"'):
        mullet.record(path, channels={"voltage": "V"})
    assert path.read_bytes() == b"precious"
    assert list(ring_directory.iterdir()) == []


def test_mode_a_refuses_what_is_not_ours(path: Path, ring_directory: Path) -> None:
    path.write_bytes(b"precious")
    with pytest.raises(mullet.MulletError, match="not an HDF5 file"):
        mullet.record(path, channels={"voltage": "V"}, mode="a").start()
    assert path.read_bytes() == b"precious"
    assert list(ring_directory.iterdir()) == [], "a recording that did not start leaves no ring"


@pytest.mark.parametrize("mode", ["x", "a"])
def test_a_cell_run_again_closes_the_earlier_recording(path: Path, mode: Any) -> None:
    first = mullet.record(path, channels={"voltage": "V"}, mode=mode)
    first.write_measurement(1.0)
    if mode == "a":
        with pytest.warns(UserWarning, match="still open in this process"):
            second = mullet.record(path, channels={"voltage": "V"}, mode="a")
        second.write_measurement(2.0)
        second.close()
    else:
        with pytest.warns(UserWarning, match="still open"), pytest.raises(OutputExistsError, match='mode="a"'):
            mullet.record(path, channels={"voltage": "V"})
    assert joined(path).tolist() == ([1, 2] if mode == "a" else [1])
    with pytest.raises(RecordingError, match="has ended"):
        first.latest(1)


def test_an_exception_in_the_block_loses_nothing(path: Path) -> None:
    def experiment() -> None:
        with mullet.record(path, channels={"voltage": "V"}) as rec:
            rec.write_block(np.arange(5000.0))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        experiment()
    assert joined(path).tolist() == list(range(5000))


def test_annotations_and_metadata(path: Path) -> None:
    metadata = {"operator": "Ada", "sample": {"id": 7, "mass_g": 0.25}}
    with mullet.record(path, channels={"voltage": "V"}, metadata=metadata) as rec:
        rec.write_measurement(1.0)
        rec.annotate("shutter opened", timestamp_ns=42)
        rec.write_measurement(2.0)
        rec.annotate("µ-metal shield on")
    with h5py.File(path) as file:
        notes = file["annotations"]
        assert [text.decode() for text in notes["text"][:]] == ["shutter opened", "µ-metal shield on"]
        assert notes["row"][:].tolist() == [1, 2]
        assert notes["timestamp_ns"][0] == 42


def test_statistics(path: Path) -> None:
    with mullet.record(path, channels={"voltage": "V"}) as rec:
        rec.write_block(np.zeros(100))
        rec.flush()
        during = rec.statistics()
        rec.write_measurement(0.0)
        assert rec.statistics().rows_written == 101
    assert (during.rows_written, during.rows_persisted, during.rows_lost) == (100, 100, 0)
    assert during.writer_alive
    after = rec.statistics()
    assert (after.rows_written, after.rows_persisted, after.writer_alive) == (101, 101, False)
    assert after.file_bytes <= path.stat().st_size


def test_loss_is_counted_and_written_down(path: Path) -> None:
    with mullet.record(path, {"voltage": "V"}, ring_capacity_mb=1, flush_interval_s=3600) as rec:
        block = np.arange(2_000_000.0)
        rec.write_block(block)
    stored, lost = joined(path), lost_rows(path)
    statistics = rec.statistics()
    assert len(stored) + lost == 2_000_000 == statistics.rows_persisted + statistics.rows_lost
    assert lost == statistics.rows_lost
    with h5py.File(path) as file:
        for batch in file["measurements"].values():
            first, rows = int(batch.attrs["first_row"]), int(batch.attrs["rows"])
            assert np.array_equal(batch["voltage"][:], block[first : first + rows]), "each row has its own number"


def test_block_policy_waits_for_the_file_and_loses_nothing(path: Path) -> None:
    with mullet.record(path, {"voltage": "V"}, ring_capacity_mb=1, on_full="block") as rec:
        rec.write_block(np.arange(1_000_000.0))
    assert np.array_equal(joined(path), np.arange(1_000_000.0))


def test_async_never_blocks_the_loop(path: Path) -> None:
    async def main() -> int:
        ticks = 0

        async def count() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        counter = asyncio.ensure_future(count())
        async with mullet.record(path, channels={"voltage": "V"}) as rec:
            started = ticks
            rec.write_block(np.arange(1000.0))
        counter.cancel()
        assert started > 10, "the loop went on while the writer process started"
        return ticks - started

    assert asyncio.run(main()) > 10, "the loop went on while the file was closed"
    assert joined(path).tolist() == list(range(1000))


def test_attach_reaches_a_recording(path: Path) -> None:
    with mullet.record(path, channels={"voltage": "V"}) as rec:
        rec.write_measurement(3.5)
        with mullet.attach("experiment_data") as live:
            assert live.latest(1)["voltage"].tolist() == [3.5]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, TypeError),
        ({"channels": {"voltage": "V"}, "streams": {"a": {"voltage": "V"}}}, TypeError),
        ({"streams": {}}, TypeError),
        ({"channels": {}}, SchemaError),
        ({"channels": {"a/b": "V"}}, SchemaError),
        ({"channels": {"timestamp": "s"}}, SchemaError),
        ({"channels": {"voltage": "V"}, "mode": "w"}, ValueError),
        ({"channels": {"voltage": "V"}, "ring_capacity_mb": 0}, ValueError),
        ({"channels": {"voltage": "V"}, "compression": "rar"}, ValueError),
        ({"channels": {"voltage": "V"}, "on_full": "panic"}, ValueError),
        ({"channels": {"voltage": "V"}, "flush_interval_s": -1}, ValueError),
    ],
)
def test_arguments_that_cannot_be(path: Path, ring_directory: Path, arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        mullet.record(path, **arguments).start()
    assert not path.exists()
    assert list(ring_directory.iterdir()) == []


def test_closing_twice_and_the_name(path: Path) -> None:
    rec = mullet.record(path, channels={"voltage": "V"})
    assert "not started" in repr(rec)
    with rec:
        assert "recording" in repr(rec)
    rec.close()
    assert "ended" in repr(rec)
    assert isinstance(rec, Recording)
    with pytest.raises(ValueError, match="closed"):
        rec.write_measurement(1.0)


def test_a_block_that_found_the_ring_full_keeps_its_clock(path: Path) -> None:
    rec = mullet.record(path, {"voltage": "V"}, ring_capacity_mb=1, on_full="error", flush_interval_s=3600)
    with rec:
        block = np.arange(1_000_000.0)
        with pytest.raises(mullet.MulletError) as caught:
            rec.write_block(block, start_ns=0, rate_hz=1000)
        written = rec.statistics().rows_written
        assert 0 < written < len(block)
        assert caught.value.__notes__ == [f"the first {written} of the block's 1000000 rows were written"]
        rec.flush()
        rec.write_block(block[written : written + 10], start_ns=0, rate_hz=1000)
    rows = np.arange(written + 10)
    assert np.array_equal(joined(path), rows)
    assert np.array_equal(joined(path, column="timestamp"), rows * 1_000_000)


def test_very_long_names(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 230 + ".h5")
    with mullet.record(path, streams={"s" * 120: {"voltage": "V"}, "s" * 119 + "t": {"voltage": "V"}}) as rec:
        for number, stream in enumerate(rec):
            rec[stream].write_measurement(float(number))
    assert joined(path, "s" * 120).tolist() == [0.0]
    assert joined(path, "s" * 119 + "t").tolist() == [1.0]


@pytest.mark.parametrize(
    "channel",
    [
        mullet.Channel("voltage", description="d" * 70_000),
        mullet.Channel("voltage", unit="u" * 70_000),
        mullet.Channel("v" * 2000),
    ],
)
def test_texts_that_no_attribute_holds_are_refused_at_once(
    path: Path, ring_directory: Path, channel: mullet.Channel
) -> None:
    with pytest.raises(SchemaError, match="bytes"):
        mullet.record(path, channels=[channel]).start()
    assert not path.exists()
    assert list(ring_directory.iterdir()) == []


def test_more_channels_than_an_attribute_names(path: Path) -> None:
    names = [f"channel_{number:04d}_with_a_name_of_more_than_fifty_letters" for number in range(1200)]
    with pytest.warns(UserWarning, match="1202 groups and datasets every 1 s"):
        recording = mullet.record(path, channels=dict.fromkeys(names, "V"))
    with recording as rec:
        rec.write_measurement(*map(float, range(1200)))
    assert joined(path, column=names[777]).tolist() == [777.0]
