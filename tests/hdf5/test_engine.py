"""The engine itself: what a commit holds, what a restart finds, what a failure leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest

from mulletdaq import errors
from mulletdaq.hdf5 import stream as stream_module
from mulletdaq.hdf5.engine import Engine
from mulletdaq.hdf5.ledger import Annotations
from mulletdaq.hdf5.messages import Note
from mulletdaq.hdf5.options import EngineOptions, RingAddress
from mulletdaq.hdf5.verify import verify
from mulletdaq.ring import RingBuffer
from mulletdaq.schema import Channel, arrow_schema

from .conftest import batches_of, rows, stored_rows

MakeRing = Callable[..., RingBuffer]
FRAME_HEADER_BYTES = 64
DATA_OFFSET = 128


def options(path: Path, ring: RingBuffer, **other: Any) -> EngineOptions:
    return EngineOptions(str(path), {"": RingAddress(ring.path, ring.stream_id)}, lock_timeout_s=0, **other)


@pytest.fixture
def make_engine() -> Iterator[Callable[..., Engine]]:
    """Make engines that are closed after the test."""
    engines: list[Engine] = []

    def make(*args: Any, **other: Any) -> Engine:
        engines.append(Engine(options(*args, **other)))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


MakeEngine = Callable[..., Engine]


def test_due_by_interval_or_quarter_ring(path: Path, make_ring: MakeRing, make_engine: MakeEngine) -> None:
    ring = make_ring()
    patient = make_engine(path, ring, flush_interval_s=3600)
    hasty = make_engine(path.with_name("b.h5"), ring, flush_interval_s=1e-9)
    assert hasty.due() and not patient.due()
    written = 0
    while ring.write_head * 4 < ring.capacity_bytes:
        assert not patient.due()
        ring.write_arrow_batch(rows(written, 100))
        written += 100
    assert patient.due() and not patient.due(by_backlog=False)
    assert patient.commit()
    assert not patient.due()
    assert not patient.commit(), "nothing new"


def test_ring_is_released_only_after_the_commit(
    path: Path, make_ring: MakeRing, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = make_ring()
    engine = make_engine(path, ring)
    ring.write_arrow_batch(rows(0, 20_000))
    seen = []
    commit = engine._chain.storage.commit
    monkeypatch.setattr(engine._chain.storage, "commit", lambda: (seen.append(ring.read_tail), commit()))
    engine.commit()
    assert seen == [0]
    assert ring.read_tail > 0


def test_commit_that_fails_is_repeated_whole_and_once(
    path: Path, make_ring: MakeRing, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flush that fails in the middle of each step, as the disk would make it."""
    ring = make_ring()
    engine = make_engine(path, ring)
    written = 0
    for owner, name in (
        (engine._chain.storage, "commit"),
        (engine._streams[0], "write"),
        (Annotations, "append"),
    ):
        ring.write_arrow_batch(rows(written, 10))
        written += 10
        engine.annotate(Note(name, 1, {"": written}))
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fail)
            for _ in range(3):
                with pytest.raises(errors.FileWriteError, match="no room"):
                    engine.commit()
                assert engine.statistics().persisted_until_ns < engine.statistics().last_commit_ns or written == 10
        assert engine.commit()
    assert not engine.commit()
    engine.close()
    assert stored_rows(path) == list(range(written))
    with h5py.File(path) as file:
        assert file["annotations/text"][:].tolist() == [b"commit", b"write", b"append"]
    assert verify(path).ok, verify(path).problems


def fail(*_: Any) -> None:
    raise OSError("no room")


def test_large_backlog_is_split_into_bounded_batches(
    path: Path, make_ring: MakeRing, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "MAX_BATCH_BYTES", 50_000)
    ring = make_ring()
    engine = make_engine(path, ring)
    for first in range(0, 20_000, 1000):
        ring.write_arrow_batch(rows(first, 1000))
    engine.drain({})
    engine.close()
    sizes = [batch["rows"] * 16 for batch in batches_of(path)]
    assert len(sizes) > 3
    assert max(sizes) < 50_000 + ring.capacity_bytes // 16, "the bound, and at most one frame beyond"
    assert stored_rows(path) == list(range(20_000))
    assert verify(path).ok


def test_gap_inside_one_commit_splits_the_batch(path: Path, make_ring: MakeRing, make_engine: MakeEngine) -> None:
    """A damaged frame between good ones: its rows are lost, and the batches on both sides are contiguous."""
    ring = make_ring(checksum=True)
    for number in range(3):
        with closing(ring.producer(rows(0, 1).schema)) as producer:
            for row in range(number * 10, number * 10 + 10):
                producer.append(row * 0.5, timestamp_ns=row)
            producer.seal()
    positions = frame_positions(ring)
    assert len(positions) == 3
    with open(ring.path, "r+b") as file:
        file.seek(DATA_OFFSET + positions[1] + FRAME_HEADER_BYTES + 200)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    engine = make_engine(path, ring)
    engine.drain({})
    assert engine.commits == 1
    engine.close()
    assert stored_rows(path) == [*range(10), *range(20, 30)]
    assert [(batch["first_row"], batch["rows"], batch["lost_rows"]) for batch in batches_of(path)] == [
        (0, 10, 0),
        (20, 10, 10),
    ]
    with h5py.File(path) as file:
        losses = {name: column[:].tolist() for name, column in file["losses"].items()}
    assert (losses["first_row"], losses["rows"], losses["frames"], losses["cause"]) == ([10], [10], [1], [b"corrupt"])
    assert verify(path).ok, verify(path).problems


def frame_positions(ring: RingBuffer) -> list[int]:
    positions = []
    with ring.cursor() as cursor:
        while True:
            positions.append(cursor.position)
            if cursor.read() is None:
                return positions[:-1]


def test_nothing_is_made_when_a_ring_cannot_be_opened(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    rings = {"": RingAddress(ring.path + "x", 1)}
    with pytest.raises(errors.RingNotFoundError):
        Engine(EngineOptions(str(path), rings))
    with pytest.raises(errors.RingReplacedError):
        Engine(EngineOptions(str(path), {"": RingAddress(ring.path, ring.stream_id ^ 1)}))
    assert not path.exists()


def test_damaged_file_is_said_to_be(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    ring.write_arrow_batch(rows(0, 3))
    with closing(Engine(options(path, ring))) as engine:
        engine.drain({})
    with h5py.File(path, "r+") as file:
        del file["losses/run"]
        file["losses/run"] = h5py.SoftLink("/nowhere")
    with pytest.raises(errors.FileFormatError, match="damaged"):
        Engine(options(path, ring))
    assert ring.statistics().sink_pid is None


def test_waveforms_images_bools_and_other_numbers(path: Path, make_ring: MakeRing, make_engine: MakeEngine) -> None:
    channels = [
        Channel("wave", "V", "int16", (50,)),
        Channel("image", "", "uint8", (4, 6)),
        Channel("shutter", "", "bool"),
        Channel("half", "", "float16"),
        Channel("count", "", "uint64"),
    ]
    ring = make_ring()
    random = np.random.default_rng(5)
    waves = random.integers(-1000, 1000, (20, 50)).astype(np.int16)
    images = random.integers(0, 255, (20, 4, 6)).astype(np.uint8)
    with closing(ring.producer(arrow_schema(channels))) as producer:
        for row in range(20):
            producer.append(waves[row], images[row], row % 3 == 0, row / 4, 2**64 - 1 - row, timestamp_ns=row)
    engine = make_engine(path, ring)
    engine.drain({})
    engine.close()
    [batch] = batches_of(path)
    assert np.array_equal(batch["wave"], waves) and batch["wave"].dtype == np.int16
    assert np.array_equal(batch["image"], images) and batch["image"].dtype == np.uint8
    assert batch["shutter"].tolist() == [row % 3 == 0 for row in range(20)] and batch["shutter"].dtype == np.uint8
    assert batch["half"].tolist() == [row / 4 for row in range(20)] and batch["half"].dtype == np.float16
    assert batch["count"].tolist() == [2**64 - 1 - row for row in range(20)] and batch["count"].dtype == np.uint64
    assert batch["axes"].tolist() == [b"timestamp", b"."] and batch["signal"] == b"wave"
    assert verify(path).ok, verify(path).problems


def test_nulls_and_temporal_columns_through_the_ring(path: Path, make_ring: MakeRing, make_engine: MakeEngine) -> None:
    ring = make_ring()
    ring.write_arrow_batch(
        pa.record_batch(
            {
                "when": pa.array([1, None, 3], pa.timestamp("us", "UTC")),
                "level": pa.array([1.5, None, 2.5]),
                "count": pa.array([None, 2, 3], pa.int16()),
            }
        )
    )
    engine = make_engine(path, ring)
    engine.drain({})
    engine.close()
    [batch] = batches_of(path)
    assert (batch["when"].tolist(), batch["when_valid"].tolist()) == ([1, 0, 3], [1, 0, 1])
    assert (batch["count"].tolist(), batch["count_valid"].tolist()) == ([0, 2, 3], [0, 1, 1])
    assert np.array_equal(batch["level"], [1.5, np.nan, 2.5], equal_nan=True)
    assert "NX_class" not in batch
    assert verify(path).ok, verify(path).problems


def test_superblock_and_objects_are_for_hdf5_1_8(path: Path, make_ring: MakeRing, make_engine: MakeEngine) -> None:
    ring = make_ring()
    ring.write_arrow_batch(rows(0, 1000))
    engine = make_engine(path, ring)
    engine.drain({})
    engine.close()
    content = path.read_bytes()
    assert content[8] == 0, "superblock version"
    assert not {b"FSSE", b"FSHD"} & {content[index : index + 4] for index in range(0, len(content), 8)}
