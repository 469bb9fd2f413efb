"""What a cursor meets: loss, rings made anew, files cut under it, and readers elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mulletdaq.errors import RingReplacedError, RingTruncatedError
from mulletdaq.ring import Loss, RingBuffer
from tests.ring.conftest import MakeRing
from tests.ring.support import column, frames_of, line_from, ring_of, run_python, running_python, tell

# ---- loss


def test_lapping_counts_exactly(make_ring: MakeRing) -> None:
    """Rows, frames, and a loss that tells which."""
    ring = ring_of(make_ring, 100)
    cursor = ring.cursor()
    assert column(cursor, "voltage") == list(range(100))
    ring._producer.append_block(np.arange(100.0, 20_000.0))
    sequence = cursor.sequence
    batch = cursor.read()
    first = int(batch["voltage"][0].as_py())
    frame = next(frame for frame in frames_of(ring.path) if frame.first_row == first)
    (loss,) = cursor.take_losses()
    # The first 100 rows were delivered out of frame 0, which is therefore no lost frame.
    assert sequence == 1
    expected = Loss(100, first - 100, 1, frame.sequence - 1, "overwritten", loss.timestamp_ns)
    assert loss == expected
    assert loss.timestamp_ns >= ring.created_ns
    assert cursor.take_losses() == []
    assert (cursor.lost_rows, cursor.lost_frames) == (first - 100, frame.sequence - 1)
    assert cursor.row - batch.num_rows == first
    rest = column(cursor, "voltage")
    assert rest == list(range(first + batch.num_rows, 20_000))


def test_losses_add_up(make_ring: MakeRing) -> None:
    """Again and again lapped, what was read and what was lost is everything."""
    ring = make_ring(4096)
    cursor = ring.cursor()
    read: list[int] = []
    for round_ in range(20):
        for number in range(100 * round_, 100 * (round_ + 1)):
            ring.write(b"%d" % number)
        for _ in range(5):
            message = cursor.read()
            assert message is not None
            read.append(int(message))
            assert cursor.row == read[-1] + 1
    losses = cursor.take_losses()
    assert sum(loss.rows for loss in losses) == cursor.lost_rows == cursor.lost_frames
    lost = {row for loss in losses for row in range(loss.first_row, loss.first_row + loss.rows)}
    assert sorted(lost | set(read)) == list(range(read[-1] + 1))
    assert not lost & set(read)
    assert len(losses) >= 19


# ---- rings that go


def test_replaced_ring(make_ring: MakeRing) -> None:
    """Everything is read first; then the error, instead of silence for ever."""
    ring = make_ring(4096)
    ring.write(b"one")
    ring.write(b"two")
    cursor = ring.cursor()
    ring._writer.close()
    with RingBuffer.create(ring.path, capacity_bytes=4096, force=True) as new:
        new.write(b"other")
        assert drain_until_replaced(cursor.read) == [b"one", b"two"]
        assert new.cursor().read() == b"other"


def drain_until_replaced(read: object) -> list[bytes]:
    """Messages until the error says that the ring was made anew."""
    found = []
    try:
        while True:
            message = read()  # type: ignore[operator]
            assert message is not None, "silence"
            found.append(message)
    except RingReplacedError:
        return found


def test_truncated_under_a_reader(make_ring: MakeRing) -> None:
    """An error, no SIGBUS: in the data, in the header and in the schema region."""
    script = """
        import os, sys
        import numpy as np
        from mulletdaq.errors import MulletError, RingTruncatedError
        from mulletdaq.ring import RingBuffer
        from mulletdaq.schema import Channel
        path, size = sys.argv[1], int(sys.argv[2])
        ring = RingBuffer.open(path)
        cursor = ring.cursor()
        cursor.read(max_rows=1)
        os.truncate(path, size)
        try:
            while cursor.read(max_rows=1000) is not None:
                pass
        except RingTruncatedError as error:
            assert path in str(error)
            print("truncated")
        for ask in (ring.statistics, ring.read_snapshot, ring.cursor, lambda: ring.latest(10),
                    lambda: ring.producer([Channel("voltage", "V")]), ring.view):
            try:
                ask()
            except (MulletError, OSError):
                pass
    """
    for size in (0, 128, 4096, 300_000, (1 << 20) + 4096):
        ring = ring_of(make_ring, 100_000, 1 << 20)
        ring._producer.close()
        printed = run_python(script, ring.path, size)
        assert printed == "truncated\n" or size > 1 << 20


def test_truncated_under_a_producer(make_ring: MakeRing) -> None:
    """The write says so, at the latest at its next frame."""
    script = """
        import os, sys
        import numpy as np
        from mulletdaq.errors import RingTruncatedError
        from mulletdaq.ring import RingBuffer
        from mulletdaq.schema import Channel
        ring = RingBuffer.open(sys.argv[1])
        with ring.producer([Channel("voltage", "V")]) as producer:
            producer.append(1.0)
            os.truncate(sys.argv[1], 4096)
            try:
                producer.append_block(np.zeros(1_000_000))
            except RingTruncatedError:
                print("truncated")
    """
    ring = make_ring(1 << 20)
    assert run_python(script, ring.path) == "truncated\n"


def test_truncated_file_is_not_opened(make_ring: MakeRing) -> None:
    """Shorter than the header says."""
    ring = make_ring(1 << 16)
    ring.close()
    with Path(ring.path).open("r+b") as file:
        file.truncate(128 + (1 << 16))
    with pytest.raises(RingTruncatedError):
        RingBuffer.open(ring.path)


def test_reader_in_another_process(make_ring: MakeRing) -> None:
    """Sees each row as soon as it is there, and knows its loss."""
    ring = ring_of(make_ring, 10)
    script = """
        import sys
        from mulletdaq.ring import RingBuffer
        ring = RingBuffer.open(sys.argv[1])
        cursor = ring.cursor()
        for line in sys.stdin:
            rows = 0
            while (batch := cursor.read()) is not None:
                rows += batch.num_rows
            print(rows, cursor.row, cursor.lost_rows)
    """
    with running_python(script, ring.path) as process:
        tell(process)
        assert line_from(process) == "10 10 0"
        ring._producer.append(1.0)
        tell(process)
        assert line_from(process) == "1 11 0"
        ring._producer.append_block(np.zeros(20_000))
        tell(process)
        rows, row, lost = map(int, line_from(process).split())
    assert row == 20_011
    assert rows + lost == 20_000
    assert lost > 0
