"""Frames whose bytes are not what was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mulletdaq.errors import FrameCorruptError
from mulletdaq.ring import Cursor, RingBuffer
from tests.ring.conftest import MakeRing
from tests.ring.support import VOLTAGE, FrameBytes, drain, frames_of, header_of, patch


def flip(ring: RingBuffer, offset: int) -> None:
    """Turn one bit of the file."""
    with Path(ring.path).open("rb") as file:
        file.seek(offset)
        byte = file.read(1)[0]
    patch(ring.path, offset, bytes([byte ^ 1]))


def read_past(cursor: Cursor) -> tuple[list[int], list[str]]:
    """Rows delivered and errors met until there is nothing new; a read that sticks fails."""
    rows: list[int] = []
    errors: list[str] = []
    while len(errors) < 100:
        try:
            content = cursor.read()
        except FrameCorruptError as error:
            errors.append(str(error))
            continue
        if content is None:
            return rows, errors
        count = 1 if isinstance(content, bytes) else content.num_rows
        rows.extend(range(cursor.row - count, cursor.row))
    raise AssertionError(f"the cursor sticks: {errors[-1]}")


def checked_ring(make_ring: MakeRing, content: str) -> tuple[RingBuffer, list[FrameBytes]]:
    """A ring of some sealed frames with checksums."""
    ring = make_ring(1 << 16, checksum=True)
    if content == "opaque":
        for number in range(30):
            ring.write(b"message %d" % number)
    else:
        with ring.producer(VOLTAGE) as producer:
            producer.append_block(np.arange(1500.0))
    return ring, list(frames_of(ring.path))


@pytest.mark.parametrize("content", ["opaque", "rows"])
@pytest.mark.parametrize("place", [64, 70, 16, 24, 40])
def test_flipped_bit_is_found(make_ring: MakeRing, content: str, place: int) -> None:
    """In the payload or in a header field that only the checksum guards: named, skipped, counted."""
    ring, frames = checked_ring(make_ring, content)
    bad = frames[2]
    flip(ring, 128 + bad.position + place)
    cursor = ring.cursor(verify=True)
    rows, errors = read_past(cursor)
    expected = range(frames[-1].first_row + frames[-1].rows)
    lost = range(bad.first_row, bad.first_row + bad.rows)
    assert len(errors) == 1
    assert str(bad.position) in errors[0] and ring.path in errors[0]
    assert rows == [row for row in expected if row not in lost]
    (loss,) = cursor.take_losses()
    assert (loss.first_row, loss.rows, loss.cause) == (bad.first_row, bad.rows, "corrupt")
    assert (loss.first_sequence, loss.frames) == (bad.sequence, 1)
    assert (cursor.lost_rows, cursor.lost_frames) == (bad.rows, 1)


def test_several_in_a_row(make_ring: MakeRing) -> None:
    """One error each, one loss for all of them."""
    ring, frames = checked_ring(make_ring, "opaque")
    for bad in frames[5:8]:
        flip(ring, 128 + bad.position + 64)
    cursor = ring.cursor(verify=True)
    rows, errors = read_past(cursor)
    assert len(errors) == 3
    assert rows == [*range(5), *range(8, 30)]
    (loss,) = cursor.take_losses()
    assert (loss.first_row, loss.rows, loss.first_sequence, loss.frames) == (5, 3, 5, 3)


def test_partly_delivered_frame(make_ring: MakeRing) -> None:
    """Rows delivered before the damage stay delivered; the rest is lost, the frame is not."""
    ring, frames = checked_ring(make_ring, "rows")
    cursor = ring.cursor(verify=True)
    cursor.read(max_rows=10)
    flip(ring, 128 + frames[0].position + 64 + frames[0].body_offset)
    rows, errors = read_past(cursor)
    assert len(errors) == 1
    assert rows == list(range(frames[0].rows, 1500))
    (loss,) = cursor.take_losses()
    assert (loss.first_row, loss.rows, loss.frames, loss.cause) == (10, frames[0].rows - 10, 0, "corrupt")


def test_without_verify_bits_are_believed(make_ring: MakeRing) -> None:
    """Checking costs, so it is asked for; a ring without checksums has none to check."""
    ring, frames = checked_ring(make_ring, "opaque")
    flip(ring, 128 + frames[2].position + 64)
    assert len(drain(ring.cursor())) == 30
    plain = make_ring(1 << 16)
    plain.write(b"message")
    flip(plain, 128 + 64)
    assert drain(plain.cursor(verify=True)) == [b"lessage"]


def test_intact_ring_verifies(make_ring: MakeRing) -> None:
    """Over laps, open frames, padding and reopening."""
    ring = make_ring(1 << 14, checksum=True)
    cursor = ring.cursor(verify=True)
    rows = 0
    for _ in range(5):
        with ring.producer(VOLTAGE) as producer:
            for _ in range(100):
                producer.append_block(np.zeros(7))
                while (batch := cursor.read()) is not None:
                    rows += batch.num_rows
    assert (rows, cursor.lost_rows) == (3500, 0)


@pytest.mark.parametrize("field", [0, 8, 48])
@pytest.mark.parametrize("which", ["before the half-ring mark", "behind the half-ring mark"])
def test_unreadable_header(make_ring: MakeRing, field: int, which: str) -> None:
    """Position, length or kind wrong: the next read goes on somewhere behind, and counts what lies between."""
    ring = make_ring(1 << 13, checksum=True)
    for number in range(100):
        ring.write(b"message %d" % number)
    midway = header_of(ring.path).midway
    frames = list(frames_of(ring.path))
    bad = frames[3] if which.startswith("before") else [frame for frame in frames if frame.position > midway][1]
    patch(ring.path, 128 + bad.position % (1 << 13) + field, b"\xff" * 4)
    cursor = ring.cursor()
    assert [cursor.read() is not None for _ in range(cursor.row, bad.first_row)]
    with pytest.raises(FrameCorruptError, match=str(bad.position)):
        cursor.read()
    if which.startswith("behind"):
        # Nothing behind it can be found until a new frame crosses the next mark.
        for number in range(100, 150):
            ring.write(b"message %d" % number)
    rows, _ = read_past(cursor)
    assert rows == list(range(rows[0], ring.newest_row))
    losses = cursor.take_losses()
    assert sum(loss.rows for loss in losses) == cursor.lost_rows == rows[0] - bad.first_row
    assert losses[0].cause == "corrupt"


def test_rows_that_pyarrow_cannot_read_are_counted(make_ring: MakeRing) -> None:
    """A sound frame around a message that is none: told once, counted, and stepped over."""
    ring = make_ring()
    strings = pa.record_batch({"s": ["a", "b", "c"]})
    for _ in range(3):
        ring.write_arrow_batch(strings)
    second = list(frames_of(ring.path))[1]
    with Path(ring.path).open("r+b") as file:
        file.seek(128 + second.position + 64)
        file.write(bytes(16))
    cursor = ring.cursor()
    assert cursor.read().num_rows == 3
    with pytest.raises(FrameCorruptError, match=str(second.position)):
        cursor.read()
    assert (cursor.lost_rows, cursor.lost_frames) == (3, 1)
    assert cursor.read().num_rows == 3
    (loss,) = cursor.take_losses()
    assert (loss.first_row, loss.rows, loss.cause) == (3, 3, "corrupt")
    assert (cursor.row, cursor.lost_rows) == (9, 3)
