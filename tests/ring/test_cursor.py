"""Reading: where a cursor starts, what one read gives, and what it says about its place."""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from mulletdaq.errors import FrameCorruptError, RingClosedError, RingPositionError
from tests.ring.conftest import MakeRing
from tests.ring.support import VOLTAGE, column, drain, frames_of, line_from, ring_of, running_python

# ---- starting


def test_oldest_and_latest(make_ring: MakeRing) -> None:
    """All that is there, or only what comes."""
    ring = ring_of(make_ring, 1000)
    oldest, latest = ring.cursor(), ring.cursor("latest")
    assert (oldest.row, latest.row) == (0, 1000)
    assert latest.read() is None
    assert column(oldest, "voltage") == list(range(1000))
    ring._producer.append(5.0)
    assert column(latest, "voltage") == column(oldest, "voltage") == [5.0]
    assert (oldest.row, latest.row, oldest.lost_rows) == (1001, 1001, 0)


def test_oldest_of_a_lapped_ring(make_ring: MakeRing) -> None:
    """What is gone before the cursor was made is not its loss."""
    ring = ring_of(make_ring, 20_000)
    cursor = ring.cursor()
    first = cursor.row
    assert first > 0
    assert column(cursor, "voltage") == list(range(first, 20_000))
    assert (cursor.lost_rows, cursor.lost_frames, cursor.take_losses()) == (0, 0, [])


@pytest.mark.parametrize("start_row", [0, 1, 254, 999, 1000, 10**12])
def test_start_at_a_row(make_ring: MakeRing, start_row: int) -> None:
    """In the middle of a frame too; of what is to come, behind the newest."""
    ring = ring_of(make_ring, 1000)
    cursor = ring.cursor(start_row=start_row)
    assert cursor.row == min(start_row, 1000)
    assert column(cursor, "voltage") == list(range(min(start_row, 1000), 1000))


def test_start_at_a_lost_row(make_ring: MakeRing) -> None:
    """The nearest one there is."""
    ring = ring_of(make_ring, 20_000)
    assert ring.cursor(start_row=3).row == ring.cursor().row > 3


def test_start_at_each_frame(make_ring: MakeRing) -> None:
    """The position of a frame is where its first row comes from."""
    ring = ring_of(make_ring, 1000)
    starts = [(frame.position, frame.first_row) for frame in frames_of(ring.path)]
    assert len(starts) > 3
    for position, row in starts:
        cursor = ring.cursor(position)
        assert cursor.position == position
        assert column(cursor, "voltage") == list(range(row, 1000))
    assert ring.cursor(ring.write_head).read() is None


@pytest.mark.parametrize("position", [1, 8, 63, 64, 128, 1 << 40, 2**63])
def test_start_at_no_frame(make_ring: MakeRing, position: int) -> None:
    """The first read says so, and names the position."""
    ring = ring_of(make_ring, 1000)
    cursor = ring.cursor(position)
    with pytest.raises(RingPositionError, match=str(position)):
        cursor.read()


@pytest.mark.parametrize("position", [1, 64, 128, 1 << 40])
def test_resume_at_no_frame(make_ring: MakeRing, position: int) -> None:
    """A place that was never there is an error at once, of the class that says so."""
    ring = ring_of(make_ring, 1000)
    with pytest.raises(RingPositionError, match=str(position)):
        ring.cursor(position, start_row=0)


def test_resume_with_the_wrong_row(make_ring: MakeRing) -> None:
    """A frame is there, but never held that row."""
    ring = ring_of(make_ring, 1000)
    second = list(frames_of(ring.path))[1]
    for row in (second.first_row - 1, second.first_row + second.rows + 1, 10**9):
        with pytest.raises(RingPositionError, match=str(second.position)):
            ring.cursor(second.position, start_row=row)
    with pytest.raises(RingPositionError):
        ring.cursor(ring.write_head, start_row=5)


@pytest.mark.parametrize("start", [-1, "newest", None, 1.5])
def test_impossible_start(make_ring: MakeRing, start: object) -> None:
    """A ValueError that tells what is possible."""
    ring = make_ring(4096)
    with pytest.raises(ValueError, match="start|position"):
        ring.cursor(start)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [np.int64(0), np.uint64(0)])
def test_start_from_a_file(make_ring: MakeRing, number: np.integer) -> None:
    """Positions come back from HDF5 attributes as NumPy integers."""
    ring = make_ring(4096)
    ring.write(b"x")
    assert ring.cursor(number).read() == b"x"  # type: ignore[arg-type]


def test_resume_anywhere(make_ring: MakeRing) -> None:
    """Position and row of any cursor are enough to go on, in the open frame too."""
    ring = ring_of(make_ring, 1000)
    cursor = ring.cursor()
    while True:
        resumed = ring.cursor(cursor.position, start_row=cursor.row)
        assert (resumed.row, resumed.lost_rows) == (cursor.row, 0)
        assert column(resumed, "voltage") == list(range(cursor.row, 1000))
        if cursor.read(max_rows=37) is None:
            break


@pytest.mark.parametrize("sequence_known", [True, False])
def test_resume_after_loss(make_ring: MakeRing, sequence_known: bool) -> None:
    """What was overwritten since counts from the remembered row on."""
    ring = ring_of(make_ring, 100)
    cursor = ring.cursor()
    cursor.read(max_rows=7)
    position, row, sequence = cursor.position, cursor.row, cursor.sequence
    ring._producer.append_block(np.arange(100.0, 20_000.0))
    options = {"start_sequence": sequence} if sequence_known else {}
    resumed = ring.cursor(position, start_row=row, **options)
    first = resumed.read()["voltage"][0].as_py()
    assert resumed.lost_rows == first - 7 > 0
    (loss,) = resumed.take_losses()
    frame = next(frame for frame in frames_of(ring.path) if frame.first_row == first)
    assert (loss.first_row, loss.rows, loss.cause) == (7, first - 7, "overwritten")
    assert loss.frames == resumed.lost_frames == (frame.sequence - 1 if sequence_known else 0)


def test_from_the_very_first_row(make_ring: MakeRing) -> None:
    """start=0 with start_row=0 counts everything that is no longer there."""
    ring = ring_of(make_ring, 20_000)
    cursor = ring.cursor(0, start_row=0)
    values = column(cursor, "voltage")
    assert cursor.lost_rows == values[0] > 0
    assert len(values) + cursor.lost_rows == 20_000
    empty = make_ring(4096).cursor(0, start_row=0)
    assert empty.read() is None


# ---- reading


@pytest.mark.parametrize("max_rows", [1, 2, 63, 64, 65, 100_000])
def test_at_most_so_many_rows(make_ring: MakeRing, max_rows: int) -> None:
    """Never more, never across frames, always the next."""
    ring = ring_of(make_ring, 1000)
    cursor = ring.cursor()
    seen = 0
    while (batch := cursor.read(max_rows)) is not None:
        assert 1 <= batch.num_rows <= max_rows
        assert batch["voltage"].to_pylist() == list(range(seen, seen + batch.num_rows))
        seen += batch.num_rows
        assert cursor.row == seen
        assert cursor.lag_rows == 1000 - seen
    assert seen == 1000


def test_position_only_passes_what_is_wholly_delivered(make_ring: MakeRing) -> None:
    """It may be given to the sink at any time: no undelivered row lies before it."""
    ring = ring_of(make_ring, 1000)
    frames = {frame.position: frame for frame in frames_of(ring.path)}
    cursor = ring.cursor()
    while cursor.read(max_rows=13) is not None:
        if cursor.position < ring.write_head:
            assert frames[cursor.position].first_row <= cursor.row
        with closing(ring.sink()) as sink:
            sink.advance(cursor.position)
        assert ring.read_tail == cursor.position


def test_seek(make_ring: MakeRing) -> None:
    """Back to a frame, as often as wanted; a wrong position shows at the next read."""
    ring = ring_of(make_ring, 1000)
    cursor = ring.cursor()
    first = cursor.read()
    second_position = cursor.position
    drain(cursor)
    for _ in range(2):
        cursor.seek(0)
        assert cursor.read().equals(first)
    cursor.seek(second_position)
    assert column(cursor, "voltage") == list(range(first.num_rows, 1000))
    cursor.seek(64)
    with pytest.raises(RingPositionError):
        cursor.read()
    cursor.seek(0)
    assert cursor.read().equals(first)


def test_closed_cursor(make_ring: MakeRing) -> None:
    """Says so; closing twice does not."""
    ring = ring_of(make_ring, 10)
    with ring.cursor() as cursor:
        assert cursor.read() is not None
    cursor.close()
    with pytest.raises(RingClosedError):
        cursor.read()


@pytest.mark.parametrize("read_before", [True, False])
def test_cursor_outlives_its_ring(make_ring: MakeRing, read_before: bool) -> None:
    """It keeps the mapping: closing the ring's handle takes nothing from it, whenever that is."""
    ring = ring_of(make_ring, 10)
    with ring.cursor() as cursor:
        if read_before:
            cursor.read(max_rows=1)
        ring.close()
        assert column(cursor, "voltage") == list(range(int(read_before), 10))


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, 0.01, float("nan")])
def test_nothing_new(make_ring: MakeRing, timeout_s: float) -> None:
    """None, when the time is over."""
    ring = make_ring(4096)
    assert ring.cursor().read(timeout_s=timeout_s) is None


def test_waiting_for_a_message(make_ring: MakeRing) -> None:
    """A read without a limit ends when something comes."""
    ring = make_ring(4096)
    cursor = ring.cursor()
    timer = threading.Timer(0.02, ring.write, (b"here",))
    timer.start()
    assert cursor.read(timeout_s=float("inf")) == b"here"
    timer.join()


def test_signal_while_waiting(make_ring: MakeRing) -> None:
    """Ctrl-C ends a read without a limit."""
    ring = make_ring(4096)

    def handler(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(KeyboardInterrupt):
            ring.cursor().read(timeout_s=float("inf"))
    finally:
        signal.signal(signal.SIGALRM, previous)


def test_async_iteration(make_ring: MakeRing) -> None:
    """Waits without blocking the loop, in which the writer runs here."""
    ring = make_ring(4096)

    async def write() -> None:
        for number in range(20):
            ring.write(b"%d" % number)
            await asyncio.sleep(0.001)

    async def read() -> list[bytes]:
        found: list[bytes] = []
        async for message in ring.cursor():
            assert isinstance(message, bytes)
            found.append(message)
            if len(found) == 20:
                break
        return found

    async def both() -> list[bytes]:
        async with asyncio.timeout(60):
            found, _ = await asyncio.gather(read(), write())
        return found

    assert asyncio.run(both()) == [b"%d" % number for number in range(20)]


def test_threads_share_a_cursor(make_ring: MakeRing) -> None:
    """Each message is delivered once."""
    ring = make_ring(1 << 18)
    for number in range(1000):
        ring.write(b"%d" % number)
    cursor = ring.cursor()
    taken: list[list[bytes]] = [[] for _ in range(4)]
    threads = [threading.Thread(target=lambda mine=mine: mine.extend(drain(cursor))) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(message) for mine in taken for message in mine) == list(range(1000))


def test_resume_beside_a_producer(make_ring: MakeRing) -> None:
    """The row that is just being written is no reason to refuse."""
    ring = make_ring(1 << 16)
    ring.write(b"x" * 64)
    script = """
        import sys
        from mulletdaq.ring import RingBuffer
        ring = RingBuffer.open(sys.argv[1])
        print("ready", flush=True)
        while True:
            ring.write(b"x" * 64)
    """
    span = ring.write_head
    ring._writer.close()
    with running_python(script, ring.path) as process:
        assert line_from(process) == "ready"
        for _ in range(20_000):
            head = ring.write_head
            ring.cursor(head, start_row=head // span, start_sequence=head // span).close()


def test_a_corrupt_open_frame_does_not_hold_a_reader_up(make_ring: MakeRing) -> None:
    """Told once; what comes behind it is read, and what it held is counted."""
    ring = make_ring(1 << 16)
    producer = ring.producer(VOLTAGE)
    for row in range(5):
        producer.append(float(row))
    with Path(ring.path).open("r+b") as file:
        file.seek(128 + 56)
        room = int.from_bytes(file.read(4), "little")
        file.seek(128 + 56)
        file.write((room ^ 0x10000).to_bytes(4, "little"))
    cursor = ring.cursor()
    with pytest.raises(FrameCorruptError):
        cursor.read()
    assert cursor.read() is None
    producer.append_block(np.arange(5.0, 5000.0))
    batch = cursor.read()
    first = int(batch["voltage"][0].as_py())
    (loss,) = cursor.take_losses()
    assert (loss.first_row, loss.rows, loss.cause) == (0, first, "corrupt")
