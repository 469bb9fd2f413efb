"""Many rows at once: order, shapes, dtypes and stamps."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mulletdaq.schema import Channel
from tests.ring.conftest import MakeRing
from tests.ring.support import VOLTAGE, drain, state_of

PAIR = [Channel("a"), Channel("n", dtype="int16")]


def test_by_position_and_by_name(make_ring: MakeRing) -> None:
    """In the channels' order, or in any order by name."""
    ring = make_ring()
    with ring.producer(PAIR) as producer:
        producer.append_block([1.0, 2.0], [1, 2])
        producer.append_block({"n": [3], "a": [3.0]})
        assert producer.row == 3
    latest = ring.latest(9)
    assert latest["a"].tolist() == [1.0, 2.0, 3.0]
    assert latest["n"].tolist() == [1, 2, 3]


def test_wrong_columns(make_ring: MakeRing) -> None:
    """Missing, unknown and too many are named; nothing is written."""
    ring = make_ring()
    with ring.producer(PAIR) as producer:
        before = state_of(ring)
        for columns in (([1.0],), ([1.0], [1], [1]), ({"a": [1.0]},), ({"a": [1.0], "n": [1], "x": [1]},), ()):
            with pytest.raises(TypeError, match="a, n"):
                producer.append_block(*columns)
        assert state_of(ring) == before


def test_unequal_lengths(make_ring: MakeRing) -> None:
    """A block is a rectangle."""
    ring = make_ring()
    with ring.producer(PAIR) as producer:
        before = state_of(ring)
        with pytest.raises(ValueError, match=r"\[2, 3\]"):
            producer.append_block([1.0, 2.0], [1, 2, 3])
        with pytest.raises(ValueError, match="timestamps"):
            producer.append_block([1.0, 2.0], [1, 2], timestamps_ns=[1, 2, 3])
        assert state_of(ring) == before


@pytest.mark.parametrize("values", [[], np.array([]), ()])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "uint8", "bool"])
def test_block_without_rows(make_ring: MakeRing, dtype: str, values: Any) -> None:
    """Writes nothing, whatever dtype NumPy gives to emptiness."""
    ring = make_ring()
    if hasattr(values, "dtype"):
        values = values.astype(dtype)
    with ring.producer([Channel("x", dtype=dtype)]) as producer:
        producer.append_block(values)
    assert ring.newest_row == 0


@pytest.mark.parametrize(
    "values",
    [
        np.arange(10.0)[::-1],
        np.arange(20.0)[::2],
        np.arange(10, dtype=np.float32),
        np.arange(10, dtype=">f8"),
        np.arange(10, dtype=np.int32),
        np.arange(10, dtype=np.uint8),
        np.arange(20.0).reshape(10, 2)[:, 1],
        list(range(10)),
        tuple(float(number) for number in range(10)),
        range(10),
        pa.array(np.arange(10.0)),
    ],
    ids=["reversed", "strided", "float32", "big-endian", "int32", "uint8", "column", "ints", "tuple", "range", "arrow"],
)
def test_forms_of_a_column(make_ring: MakeRing, values: Any) -> None:
    """As NumPy sees it."""
    ring = make_ring()
    with ring.producer(VOLTAGE) as producer:
        producer.append_block(values)
    np.testing.assert_array_equal(ring.latest(99)["voltage"], np.asarray(values, dtype=np.float64))


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("float32", np.zeros(2)),
        ("int32", np.zeros(2, np.int64)),
        ("int32", np.zeros(2)),
        ("int32", [0.5, 1.0]),
        ("uint64", np.zeros(2, np.int64)),
        ("bool", np.zeros(2, np.uint8)),
        ("bool", [0, 1]),
        ("float64", ["a", "b"]),
        ("float64", [None, 1.0]),
        ("float64", np.zeros(2, complex)),
    ],
)
def test_dtypes_that_could_change_values(make_ring: MakeRing, dtype: str, values: Any) -> None:
    """TypeError that names the channel; nothing is written."""
    ring = make_ring()
    with ring.producer([Channel("x", dtype=dtype)]) as producer:
        before = state_of(ring)
        with pytest.raises(TypeError, match="'x'"):
            producer.append_block(values)
        assert state_of(ring) == before


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32", "int64"])
def test_list_out_of_range(make_ring: MakeRing, dtype: str) -> None:
    """Integers in a list take the channel's type as long as they fit."""
    limits = np.iinfo(dtype)
    low, high = int(limits.min), int(limits.max)
    ring = make_ring()
    with ring.producer([Channel("x", dtype=dtype)]) as producer:
        producer.append_block([low, high])
        for values in ([high + 1], [low - 1] if low else [-1]):
            with pytest.raises((ValueError, TypeError), match="'x'"):
                producer.append_block(values)
    assert ring.latest(9)["x"].tolist() == [low, high]


@pytest.mark.parametrize("shape", [(10, 2), (10, 1), (1, 10, 3), ()])
def test_wrong_shape_of_a_block(make_ring: MakeRing, shape: tuple[int, ...]) -> None:
    """(rows, *channel shape), nothing else."""
    ring = make_ring()
    with ring.producer([Channel("wave", shape=(3,))]) as producer, pytest.raises(ValueError, match=r"\(rows, 3\)"):
        producer.append_block(np.zeros(shape))
    assert ring.newest_row == 0


@pytest.mark.parametrize("dtype", ["float64", "float16", "int8", "uint32", "bool"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 5)])
def test_blocks_over_many_frames(make_ring: MakeRing, dtype: str, shape: tuple[int, ...]) -> None:
    """Blocks of every size continue the open frame, at any bit of it."""
    ring = make_ring(1 << 17)
    random = np.random.default_rng(2)
    cursor = ring.cursor()
    written, read = [], []
    with ring.producer([Channel("x", dtype=dtype, shape=shape)]) as producer:
        for count in (1, 2, 63, 64, 65, 7, 500, 1, 129):
            values = random.integers(0, 2, (count, *shape)).astype(dtype)
            producer.append_block(values)
            written.append(values)
            producer.append(values[0])
            written.append(values[:1])
            read += [_values(batch, shape) for batch in drain(cursor)]
    assert cursor.lost_rows == 0
    np.testing.assert_array_equal(np.concatenate(read), np.concatenate(written))


def _values(batch: pa.RecordBatch, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    column = batch["x"]
    flat = column.storage.flatten() if shape else column
    values: np.ndarray[Any, Any] = flat.to_numpy(zero_copy_only=False).reshape(-1, *shape)
    return values


# ---- stamps


@pytest.mark.parametrize(
    "stamps",
    [
        np.array([5, 4, 10**18]),
        [5, 4, 10**18],
        np.array([5, 4, 10**18]).astype("datetime64[ns]"),
        np.array([0, 0, 5, 0, 4, 0, 10**18, 0])[2::2],
        pa.array([5, 4, 10**18]),
    ],
    ids=["int64", "list", "datetime64", "strided", "arrow"],
)
def test_given_stamps(make_ring: MakeRing, stamps: Any) -> None:
    """Stay as they are, in any order."""
    ring = make_ring()
    with ring.producer(VOLTAGE) as producer:
        producer.append_block([1.0, 2.0, 3.0], timestamps_ns=stamps)
    assert ring.latest(9)["timestamp"].tolist() == [5, 4, 10**18]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "D"])
def test_datetimes_of_other_units(make_ring: MakeRing, unit: str) -> None:
    """Stamps are nanoseconds, whatever the unit given."""
    ring = make_ring()
    times = np.array(["2024-02-29", "1969-12-31"], dtype=f"datetime64[{unit}]")
    with ring.producer(VOLTAGE) as producer:
        producer.append_block([1.0, 2.0], timestamps_ns=times)
    assert ring.latest(9)["timestamp"].tolist() == [1709164800 * 10**9, -86400 * 10**9]


@pytest.mark.parametrize("stamps", [[0.5], ["now"], np.array([1.0]), [None], np.array([1], np.uint64)])
def test_stamps_that_are_no_integers(make_ring: MakeRing, stamps: Any) -> None:
    """TypeError, and nothing is written."""
    ring = make_ring()
    with ring.producer(VOLTAGE) as producer, pytest.raises(TypeError, match="timestamp"):
        producer.append_block([1.0], timestamps_ns=stamps)
    assert ring.newest_row == 0


def test_contradicting_stamps(make_ring: MakeRing) -> None:
    """Either given or clocked, and a clock needs a rate above zero."""
    ring = make_ring()
    with ring.producer(VOLTAGE) as producer:
        for options in ({"timestamps_ns": [1], "rate_hz": 1.0}, {"timestamps_ns": [1], "start_ns": 1}, {"start_ns": 1}):
            with pytest.raises(TypeError, match="start_ns"):
                producer.append_block([1.0], **options)
        for rate in (0, -1.0, float("inf"), float("nan")):
            with pytest.raises(ValueError, match="rate_hz"):
                producer.append_block([1.0], rate_hz=rate)
    assert ring.newest_row == 0


def test_one_stamp_for_a_block(make_ring: MakeRing) -> None:
    """Without stamps all rows get the time of the call."""
    ring = make_ring()
    with ring.producer(VOLTAGE) as producer:
        producer.append_block(np.zeros(1000))
    assert len(set(ring.latest(1000)["timestamp"].tolist())) == 1


def exact_stamp(start_ns: int, k: int, rate: Fraction) -> int:
    """The stamp of sample k, rounded half up, in whole numbers."""
    exact = k * Fraction(10**9) / rate + Fraction(1, 2)
    return start_ns + exact.numerator // exact.denominator


@pytest.mark.parametrize(
    ("rate_hz", "rate"),
    [
        (44_100, Fraction(44_100)),
        (44_100.0, Fraction(44_100)),
        (1 / 3, Fraction(1, 3)),
        (1000 / 1001, Fraction(1000, 1001)),
        (0.1, Fraction(1, 10)),
        (1024, Fraction(1024)),
        (3e9, Fraction(3 * 10**9)),
        (1e6, Fraction(10**6)),
        (7, Fraction(7)),
    ],
)
def test_sample_clock_does_not_drift(make_ring: MakeRing, rate_hz: float, rate: Fraction) -> None:
    """Stamp k is exact over blocks of all sizes."""
    ring = make_ring(1 << 20)
    start = 1_700_000_000_123_456_789
    with ring.producer(VOLTAGE) as producer:
        for count in (1, 1, 2, 1000, 7, 2989):
            producer.append_block(np.zeros(count), start_ns=start, rate_hz=rate_hz)
    stamps = ring.latest(4000)["timestamp"].tolist()
    assert stamps == [exact_stamp(start, k, rate) for k in range(4000)]


def test_sample_clock_far_out() -> None:
    """After a year at 44.1 kHz, and after an age at 1/3 Hz, it is still exact."""
    from mulletdaq.ring.sample_clock import SampleClock

    for rate_hz, rate, far in (
        (44_100, Fraction(44_100), 44_100 * 86_400 * 365),
        (1 / 3, Fraction(1, 3), 10**9),
        (999_999.999999, Fraction(999_999.999999).limit_denominator(10**6), 10**13),
    ):
        clock = SampleClock(-5, rate_hz)
        clock.samples = far
        assert clock.take(5).tolist() == [exact_stamp(-5, far + k, rate) for k in range(5)]
        assert clock.take(1).tolist() == [exact_stamp(-5, far + 5, rate)]


def test_sample_clock_in_one_large_block() -> None:
    """Longer than whole numbers of 64 bits can count at once."""
    from mulletdaq.ring.sample_clock import SampleClock

    rate = Fraction(1001, 999_983)
    stamps = SampleClock(0, float(rate)).take(20_000)
    assert stamps.tolist() == [exact_stamp(0, k, rate) for k in range(20_000)]


def test_sample_clock_starts_anew(make_ring: MakeRing) -> None:
    """With another start or another rate; without a start it goes on from the first block's time."""
    ring = make_ring()
    with ring.producer(VOLTAGE) as producer:
        for start, rate, expected in (
            (0, 10, [0, 10**8]),
            (0, 10, [2 * 10**8, 3 * 10**8]),
            (7, 10, [7, 7 + 10**8]),
            (7, 5, [7, 7 + 2 * 10**8]),
            (7, 5, [7 + 4 * 10**8, 7 + 6 * 10**8]),
            (0, 10, [0, 10**8]),
        ):
            producer.append_block([1.0, 2.0], start_ns=start, rate_hz=rate)
            assert ring.latest(2)["timestamp"].tolist() == expected
        producer.append_block([1.0], rate_hz=100)
        first = ring.latest(1)["timestamp"][0]
        producer.append_block([1.0], rate_hz=100)
        assert ring.latest(2)["timestamp"].tolist() == [first, first + 10**7]


# ---- types beyond channels


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("given", ["s", "ms", "ns"])
def test_datetimes_into_a_time_column(make_ring: MakeRing, unit: str, given: str) -> None:
    """The instant is kept, whatever the units on both sides."""
    ring = make_ring()
    times = np.array(["2024-02-29T12:00:00", "1999-12-31T23:59:59"], dtype=f"datetime64[{given}]")
    with ring.producer(pa.schema([("when", pa.timestamp(unit))])) as producer:
        producer.append_block(times)
    np.testing.assert_array_equal(ring.latest(9)["when"].astype("datetime64[ns]"), times.astype("datetime64[ns]"))


@pytest.mark.parametrize("width", [4, 8, 16])
def test_bytes_into_a_binary_column(make_ring: MakeRing, width: int) -> None:
    """Stored as they are, or refused; never something else."""
    ring = make_ring()
    values = np.array([b"01234567", b"89abcdef"])
    with ring.producer(pa.schema([("code", pa.binary(width))])) as producer:
        try:
            producer.append_block(values)
        except (TypeError, ValueError):
            assert ring.newest_row == 0
        else:
            assert ring.latest(9)["code"].tolist() == values.tolist()


@pytest.mark.parametrize("type_", [pa.decimal128(10, 2), pa.decimal64(10, 2), pa.string(), pa.list_(pa.int64())])
def test_types_that_take_no_blocks(make_ring: MakeRing, type_: pa.DataType) -> None:
    """Refused, and nothing is written."""
    ring = make_ring()
    with ring.producer(pa.schema([("x", type_)])) as producer, pytest.raises((TypeError, ValueError)):
        producer.append_block(["1", "2"])
    assert ring.newest_row == 0


def test_stream_of_nothing_but_stamps(make_ring: MakeRing) -> None:
    """Triggers are events without values."""
    ring = make_ring()
    with ring.producer(pa.schema([])) as producer:
        producer.append(timestamp_ns=5)
        producer.append_block(timestamps_ns=[6, 7])
    assert ring.latest(9)["timestamp"].tolist() == [5, 6, 7]
