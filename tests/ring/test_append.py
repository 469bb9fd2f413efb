"""One row at a time: what each channel takes, what it refuses, and how rows are stamped."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from mulletdaq.errors import ProducerLockedError, RingContentError
from mulletdaq.ring import Producer, RingBuffer
from mulletdaq.schema import Channel
from tests.ring.conftest import MakeRing
from tests.ring.support import VOLTAGE, column, drain, run_python, state_of

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


def ring_and_producer(make_ring: MakeRing, *channels: Channel) -> tuple[RingBuffer, Producer]:
    """A ring whose producer takes these channels."""
    ring = make_ring()
    return ring, ring.producer(channels)


def test_append_is_one_builtin(make_ring: MakeRing) -> None:
    """No Python frame between the caller and the ring."""
    _, producer = ring_and_producer(make_ring, *VOLTAGE)
    assert type(producer.append) is type(len)
    assert producer.append(1.0) is None


@pytest.mark.parametrize(
    "value",
    [1.5, -0.0, 3, True, float("inf"), 5e-324, 2**80, np.float64(1.5), np.float32(0.1), np.float16(2), np.int64(-4),
     np.uint8(200), np.bool_(True), np.array(2.5)],
)  # fmt: skip
def test_float_takes_every_number(make_ring: MakeRing, value: Any) -> None:
    """Whatever ``float()`` gives, bit for bit."""
    ring, producer = ring_and_producer(make_ring, *VOLTAGE)
    producer.append(value)
    found = ring.latest(1)["voltage"]
    assert found.tobytes() == np.float64(value).tobytes()


def test_nan_keeps_its_bits(make_ring: MakeRing) -> None:
    """NaN is a value like others."""
    ring, producer = ring_and_producer(make_ring, *VOLTAGE)
    producer.append(float("nan"))
    assert np.isnan(ring.latest(1)["voltage"][0])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("value", [0.1, 1 / 3, -2.5, 65504.0, 1e-8, 1e300, float("-inf"), 1.00048828125])
def test_narrow_floats_round_like_numpy(make_ring: MakeRing, dtype: str, value: float) -> None:
    """To nearest, ties to even, out of range to infinity."""
    ring, producer = ring_and_producer(make_ring, Channel("x", dtype=dtype))
    producer.append(value)
    found = ring.latest(1)["x"]
    with np.errstate(over="ignore"):
        expected = np.array([value]).astype(dtype)
    assert found.dtype == np.dtype(dtype)
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_within_their_range(make_ring: MakeRing, dtype: str) -> None:
    """Both ends go in, one beyond does not."""
    ring, producer = ring_and_producer(make_ring, Channel("x", dtype=dtype))
    limits = np.iinfo(dtype)
    accepted = [limits.min, limits.max, 0, 1, True, np.int8(7), np.uint64(9)]
    for value in accepted:
        producer.append(value)
    before = state_of(ring)
    for value in (int(limits.min) - 1, int(limits.max) + 1, 2**100, -(2**100)):
        with pytest.raises(ValueError, match="'x'|\"x\"") as caught:
            producer.append(value)
        assert str(value) in str(caught.value)
    assert state_of(ring) == before
    assert ring.latest(99)["x"].dtype == np.dtype(dtype)
    assert ring.latest(99)["x"].tolist() == [int(value) for value in accepted]


@pytest.mark.parametrize("dtype", [*INTEGERS, "bool"])
@pytest.mark.parametrize("value", [1.0, np.float32(1), "1", None, 1j, [1], np.array([1])])
def test_integers_take_no_fractions_nor_texts(make_ring: MakeRing, dtype: str, value: Any) -> None:
    """A float is refused even when it is whole, and the ring stays as it was."""
    ring, producer = ring_and_producer(make_ring, Channel("x", dtype=dtype))
    before = state_of(ring)
    with pytest.raises(TypeError, match="x"):
        producer.append(value)
    assert state_of(ring) == before


def test_bool(make_ring: MakeRing) -> None:
    """Bools of Python and NumPy, and the integers 0 and 1."""
    ring, producer = ring_and_producer(make_ring, Channel("x", dtype="bool"))
    accepted = [True, False, np.bool_(True), np.bool_(False), 1, 0, np.int8(1)] * 20
    for value in accepted:
        producer.append(value)
    for value in (2, -1, 2**70):
        with pytest.raises(ValueError, match="does not fit"):
            producer.append(value)
    assert ring.latest(999)["x"].tolist() == [bool(value) for value in accepted]


@pytest.mark.parametrize("value", ["1.0", None, 1j, [1.0], np.array([1.0, 2.0]), b"1", object()])
def test_float_takes_nothing_else(make_ring: MakeRing, value: Any) -> None:
    """TypeError that names the channel; the ring stays as it was."""
    ring, producer = ring_and_producer(make_ring, *VOLTAGE)
    producer.append(1.0)
    before = state_of(ring)
    with pytest.raises(TypeError, match="voltage"):
        producer.append(value)
    assert state_of(ring) == before


def test_wrong_calls(make_ring: MakeRing) -> None:
    """Count and keywords are checked, and the message tells the channels."""
    ring, producer = ring_and_producer(make_ring, Channel("a"), Channel("b"))
    before = state_of(ring)
    for values in ((), (1.0,), (1.0, 2.0, 3.0)):
        with pytest.raises(TypeError, match=rf"2 values \(a, b\), got {len(values)}"):
            producer.append(*values)
    with pytest.raises(TypeError, match="stamp"):
        producer.append(1.0, 2.0, stamp=3)
    with pytest.raises(TypeError, match="a"):
        producer.append(a=1.0, b=2.0)
    for stamp in (1.5, "now", 2**63, -(2**63) - 1):
        with pytest.raises(TypeError, match="timestamp_ns"):
            producer.append(1.0, 2.0, timestamp_ns=stamp)
    assert state_of(ring) == before


def test_second_value_refused_leaves_no_half_row(make_ring: MakeRing) -> None:
    """All values are converted before any is stored."""
    ring, producer = ring_and_producer(make_ring, Channel("a"), Channel("b", dtype="int8"))
    producer.append(1.0, 1)
    with pytest.raises(ValueError, match="300"):
        producer.append(99.0, 300)
    producer.append(2.0, 2)
    assert ring.latest(9)["a"].tolist() == [1.0, 2.0]
    assert ring.latest(9)["b"].tolist() == [1, 2]


def test_given_stamps_stay(make_ring: MakeRing) -> None:
    """In any order, of any sign, of any integer type; None means now."""
    ring, producer = ring_and_producer(make_ring, *VOLTAGE)
    stamps = [5, -(2**63), 2**63 - 1, 3, np.int64(7), 0]
    for stamp in stamps:
        producer.append(1.0, timestamp_ns=stamp)
    assert ring.latest(9)["timestamp"].tolist() == [int(stamp) for stamp in stamps]
    before = time.time_ns()
    producer.append(1.0, timestamp_ns=None)
    assert before <= ring.latest(1)["timestamp"][0] <= time.time_ns()


def test_own_stamps_never_decrease(make_ring: MakeRing) -> None:
    """Over rows, blocks and producers, and between the times at which they were made."""
    ring, producer = ring_and_producer(make_ring, *VOLTAGE)
    before = time.time_ns()
    for _ in range(1000):
        producer.append(1.0)
        producer.append_block([1.0, 2.0])
    producer.close()
    with ring.producer(VOLTAGE) as producer:
        producer.append(1.0)
    stamps = ring.latest(5000)["timestamp"]
    assert (np.diff(stamps) >= 0).all()
    assert before <= stamps[0] and stamps[-1] <= time.time_ns()


def test_rows_are_visible_at_once(make_ring: MakeRing) -> None:
    """Each append is there for every cursor when it returns."""
    ring, producer = ring_and_producer(make_ring, *VOLTAGE)
    with RingBuffer.open(ring.path) as other:
        cursor = other.cursor()
        for row in range(100):
            producer.append(float(row))
            assert (producer.row, other.newest_row) == (row + 1, row + 1)
            assert column(cursor, "voltage") == [float(row)]


@pytest.mark.parametrize("capacity", [4096, 6144, 8192, 16384, 65536])
def test_rows_over_many_frames(capacity: int) -> None:
    """A small ring's frames hold few rows; none is missed at the seams."""
    script = """
        import sys
        from mulletdaq.ring import RingBuffer, ring_path
        from mulletdaq.schema import Channel
        with RingBuffer.create(ring_path("small"), capacity_bytes=int(sys.argv[1])) as ring:
            cursor = ring.cursor()
            with ring.producer([Channel("a", dtype="int64"), Channel("flag", dtype="bool")]) as producer:
                for row in range(6000):
                    producer.append(row, row % 3 == 0, timestamp_ns=row)
                    batch = cursor.read()
                    assert batch.to_pylist() == [{"timestamp": row, "a": row, "flag": row % 3 == 0}]
            assert cursor.lost_rows == 0
            assert ring.statistics().rows_lost > 0
    """
    run_python(script, capacity)


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 1000])
def test_256_channels(make_ring: MakeRing, rows: int) -> None:
    """As many as a big digitizer has, of mixed types."""
    dtypes = ["float64", "bool", "int16", "uint8"]
    channels = [Channel(f"c{index}", dtype=dtypes[index % 4]) for index in range(256)]
    ring = make_ring(1 << 23)
    cursor = ring.cursor()
    with ring.producer(channels) as producer:
        for row in range(rows):
            producer.append(*(_cell(row, index) for index in range(256)))
        batches = drain(cursor)
    assert sum(batch.num_rows for batch in batches) == rows
    for index in (0, 1, 2, 3, 128, 253, 254, 255):
        found = [value for batch in batches for value in batch[f"c{index}"].to_pylist()]
        assert found == [_cell(row, index) for row in range(rows)]


def _cell(row: int, index: int) -> float | bool | int:
    match index % 4:
        case 0:
            return row * 0.5 + index
        case 1:
            return (row + index) % 3 == 0
        case 2:
            return row - index
        case _:
            return (row + index) % 256


def test_minutes_at_100_hz_in_one_open_frame(make_ring: MakeRing) -> None:
    """A slow instrument's frame stays open for minutes; each second's rows are there in that second."""
    ring = make_ring(8 << 20)
    producer = ring.producer(VOLTAGE)
    cursor = ring.cursor()
    head = None
    for second in range(120):
        for tick in range(100):
            row = 100 * second + tick
            producer.append(row / 8, timestamp_ns=row * 10_000_000)
        head = head or ring.write_head
        batch = cursor.read()
        assert batch["timestamp"].to_pylist() == [row * 10_000_000 for row in range(100 * second, 100 * second + 100)]
        assert batch["voltage"].to_pylist() == [row / 8 for row in range(100 * second, 100 * second + 100)]
        assert cursor.read() is None
    assert ring.write_head == head, "all of it in the frame that the first row opened"
    assert cursor.lost_rows == 0


def test_the_columns_that_are_there(make_ring: MakeRing) -> None:
    """Without a schema a producer goes on with the ring's, and there must be one."""
    ring = make_ring()
    with pytest.raises(RingContentError, match="no columns"):
        ring.producer()
    assert not ring.producer_alive
    ring.producer(VOLTAGE).close()
    with RingBuffer.open(ring.path) as other:
        producer = other.producer()
        producer.append(1.0)
        producer.append_block([2.0, 3.0])
        assert producer.schema == ring.schema
        with pytest.raises(ProducerLockedError):
            other.producer()
    assert ring.latest(9)["voltage"].tolist() == [1.0, 2.0, 3.0]
    opaque = make_ring()
    opaque.write(b"x")
    with pytest.raises(RingContentError, match="no columns"):
        opaque.producer()
