"""Waveforms and images, one row at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mulletdaq.schema import Channel
from tests.ring.conftest import MakeRing
from tests.ring.support import drain, state_of

DTYPES = [
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool",
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1,), (3,), (64,), (2, 3), (2, 3, 5)])
def test_exact_arrays(make_ring: MakeRing, dtype: str, shape: tuple[int, ...]) -> None:
    """The dtype and shape of the channel, beside scalars before and behind it."""
    ring = make_ring(1 << 16)
    random = np.random.default_rng(1)
    rows = [random.integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype) for _ in range(50)]
    with ring.producer([Channel("a"), Channel("x", dtype=dtype, shape=shape), Channel("b", dtype="bool")]) as producer:
        for number, row in enumerate(rows):
            producer.append(number, row, number % 2)
    latest = ring.latest(50)
    assert latest["x"].dtype == np.dtype(dtype)
    np.testing.assert_array_equal(latest["x"], np.stack(rows))
    assert latest["a"].tolist() == list(range(50))
    assert latest["b"].tolist() == [False, True] * 25


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.float64).reshape(2, 3),
        np.arange(6, dtype=">f8").reshape(2, 3),
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(6, dtype=np.int16).reshape(2, 3),
        np.arange(6, dtype=np.float64).reshape(3, 2).T.copy().T.T[:, :],
        np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
        np.arange(24, dtype=np.float64).reshape(4, 6)[::2, ::2],
        np.arange(6, dtype=np.float64)[::-1].reshape(2, 3),
        [[0, 1, 2], [3, 4, 5]],
        ((0.5, 1, True), (3, 4, 5)),
        memoryview(np.arange(6, dtype=np.float64).reshape(2, 3)),
    ],
    ids=["exact", "big-endian", "float32", "int16", "transposed", "fortran", "strided", "reversed", "list", "tuple",
         "memoryview"],
)  # fmt: skip
def test_forms_of_an_image(make_ring: MakeRing, value: Any) -> None:
    """Any order in memory, any dtype that fits, and plain lists: the values as NumPy sees them."""
    ring = make_ring(1 << 16)
    with ring.producer([Channel("image", shape=(2, 3))]) as producer:
        producer.append(value)
    np.testing.assert_array_equal(ring.latest(1)["image"][0], np.asarray(value, dtype=np.float64))


@pytest.mark.parametrize("shape", [(), (2,), (4,), (1, 3), (3, 1), (0,)])
def test_wrong_shape(make_ring: MakeRing, shape: tuple[int, ...]) -> None:
    """Nothing is broadcast, nothing flattened; the message tells both shapes."""
    ring = make_ring(1 << 16)
    with ring.producer([Channel("wave", shape=(3,))]) as producer:
        producer.append([1, 2, 3])
        before = state_of(ring)
        with pytest.raises(ValueError, match="'wave' takes shape") as caught:
            producer.append(np.zeros(shape))
        assert str(shape) in str(caught.value)
        assert state_of(ring) == before


def test_same_bytes_of_another_shape(make_ring: MakeRing) -> None:
    """As many bytes are not enough: (3, 2) is not (2, 3)."""
    ring = make_ring(1 << 16)
    with ring.producer([Channel("image", shape=(2, 3))]) as producer, pytest.raises(ValueError, match="shape"):
        producer.append(np.zeros((3, 2)))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("float32", np.zeros(3)),
        ("int16", np.zeros(3, np.int32)),
        ("int16", np.zeros(3, np.uint16)),
        ("int64", np.zeros(3, np.float64)),
        ("int64", [0.5, 1.0, 2.0]),
        ("uint8", np.zeros(3, np.int8)),
        ("float64", np.zeros(3, complex)),
        ("float64", ["a", "b", "c"]),
        ("float64", [None, 1.0, 2.0]),
        ("bool", np.zeros(3, np.uint8)),
        ("bool", [0, 1, 0]),
        ("float64", None),
    ],
)
def test_dtypes_that_could_change_values(make_ring: MakeRing, dtype: str, value: Any) -> None:
    """Refused even when these very values would survive."""
    ring = make_ring(1 << 16)
    with ring.producer([Channel("wave", dtype=dtype, shape=(3,))]) as producer:
        before = state_of(ring)
        with pytest.raises(TypeError, match="wave"):
            producer.append(value)
        assert state_of(ring) == before


def test_list_out_of_range(make_ring: MakeRing) -> None:
    """Integers in a list take the channel's type, if they fit."""
    ring = make_ring(1 << 16)
    with ring.producer([Channel("wave", dtype="int8", shape=(3,))]) as producer:
        producer.append([-128, 0, 127])
        with pytest.raises(ValueError, match="128"):
            producer.append([0, 128, 0])
        with pytest.raises(ValueError, match="-129"):
            producer.append([0, -129, 0])
    assert ring.latest(9)["wave"].tolist() == [[-128, 0, 127]]


def test_a_number_is_no_array_nor_the_other_way_round(make_ring: MakeRing) -> None:
    """Shapes () and (1,) differ."""
    ring = make_ring(1 << 16)
    with ring.producer([Channel("wave", shape=(1,)), Channel("x")]) as producer:
        with pytest.raises(ValueError, match="wave"):
            producer.append(1.0, 1.0)
        with pytest.raises(TypeError, match="x"):
            producer.append([1.0], [1.0])
        producer.append([1.0], 1.0)
    assert ring.newest_row == 1


def test_array_changed_afterwards(make_ring: MakeRing) -> None:
    """The row was copied: the caller's buffer may be used again."""
    ring = make_ring(1 << 16)
    buffer = np.zeros(100)
    with ring.producer([Channel("wave", shape=(100,))]) as producer:
        for number in range(20):
            buffer[:] = number
            producer.append(buffer)
    assert ring.latest(99)["wave"].tolist() == [[float(number)] * 100 for number in range(20)]


def test_rows_of_eight_megabytes(make_ring: MakeRing) -> None:
    """One camera frame a row, each a frame of the ring, lapped once."""
    ring = make_ring(34 << 20)
    cursor = ring.cursor()
    image = np.arange(1 << 20, dtype=np.float64).reshape(1024, 1024)
    with ring.producer([Channel("image", shape=(1024, 1024))]) as producer:
        for number in range(6):
            producer.append(image + number, timestamp_ns=number)
        batches = drain(cursor)
    assert [batch.num_rows for batch in batches] == [1] * len(batches)
    stamps = [batch["timestamp"][0].as_py() for batch in batches]
    assert stamps == list(range(6 - len(stamps), 6))
    assert cursor.lost_rows == 6 - len(stamps) > 0
    for number, batch in zip(stamps, batches, strict=True):
        np.testing.assert_array_equal(batch["image"].to_numpy_ndarray()[0], image + number)
