"""Two processes on one ring: nothing torn, every lost row counted, and rows unbroken after a kill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mulletdaq.errors import RingAccessError, RingNotFoundError
from mulletdaq.ring import RingBuffer, attach
from mulletdaq.schema import Channel
from tests.ring.conftest import MakeRing
from tests.ring.support import column, eventually, kill_hard, line_from, run_python, running_python, tell

CHANNELS = [Channel("row", dtype="int64"), Channel("mix", dtype="uint64"), Channel("odd", dtype="bool")]
MIX = 0x9E3779B97F4A7C15

FLAT_OUT = """
    import sys
    import numpy as np
    from mulletdaq.ring import RingBuffer
    from mulletdaq.schema import Channel
    channels = [Channel("row", dtype="int64"), Channel("mix", dtype="uint64"), Channel("odd", dtype="bool")]
    ring = RingBuffer.open(sys.argv[1])
    producer = ring.producer(channels)
    row = producer.row
    print(row)
    while True:
        for row in range(row, row + 500):
            producer.append(row, row * 0x9E3779B97F4A7C15 & 2**64 - 1, row & 1, timestamp_ns=row)
        row += 1
        rows = np.arange(row, row + 500)
        mixed = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        producer.append_block(rows, mixed, rows % 2 == 1, timestamps_ns=rows)
        row += 500
"""


def check(batch: object, row: int) -> None:
    """Each value tells its row, so nothing torn or misplaced goes unseen."""
    rows = np.arange(row - batch.num_rows, row)  # type: ignore[attr-defined]
    columns = {name: batch[name].to_numpy(zero_copy_only=False) for name in ("timestamp", "row", "mix", "odd")}  # type: ignore[index]
    np.testing.assert_array_equal(columns["timestamp"], rows)
    np.testing.assert_array_equal(columns["row"], rows)
    np.testing.assert_array_equal(columns["mix"], rows.astype(np.uint64) * np.uint64(MIX))
    np.testing.assert_array_equal(columns["odd"], rows % 2 == 1)


@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize("capacity", [1 << 14, 1 << 18])
def test_slow_reader_of_a_fast_producer(make_ring: MakeRing, capacity: int, checksum: bool) -> None:
    """Lapped over and over: every value right, and rows lost exactly the gaps."""
    ring = make_ring(capacity, checksum=checksum)
    cursor = ring.cursor(0, start_row=0, verify=checksum)
    reads = lost = delivered = 0
    with running_python(FLAT_OUT, ring.path) as process:
        assert line_from(process) == "0"
        while reads < 300 or cursor.lost_rows == 0:
            before = cursor.row
            batch = cursor.read(max_rows=1 + reads % 50, timeout_s=60)
            assert batch is not None
            check(batch, cursor.row)
            gap = cursor.row - batch.num_rows - before
            losses = cursor.take_losses()
            assert [(loss.first_row, loss.rows, loss.cause) for loss in losses] == (
                [(before, gap, "overwritten")] if gap else []
            )
            reads, lost, delivered = reads + 1, lost + gap, delivered + batch.num_rows
            if reads % 3 == 0:
                eventually(lambda row=cursor.row: ring.newest_row > row + 3000, "the producer goes on")
    assert lost == cursor.lost_rows > 0
    assert lost + delivered == cursor.row


def test_many_cursors_of_a_fast_producer(make_ring: MakeRing) -> None:
    """Each at its own pace, each with its own count."""
    ring = make_ring(1 << 16)
    paces = [1, 3, 20, 500, None]
    cursors = [ring.cursor(0, start_row=0) for _ in paces]
    delivered = [0] * len(paces)
    with running_python(FLAT_OUT, ring.path) as process:
        line_from(process)
        for _ in range(100):
            for index, (cursor, pace) in enumerate(zip(cursors, paces, strict=True)):
                batch = cursor.read(pace, timeout_s=60)
                assert batch is not None
                check(batch, cursor.row)
                delivered[index] += batch.num_rows
    for cursor, count in zip(cursors, delivered, strict=True):
        assert count + cursor.lost_rows == cursor.row
        assert sum(loss.rows for loss in cursor.take_losses()) == cursor.lost_rows


def test_snapshots_and_newest_rows_of_a_fast_producer(make_ring: MakeRing) -> None:
    """Whole pieces of the ring are consistent while it is written."""
    import pyarrow as pa

    ring = make_ring(1 << 22)
    seen = 0
    with running_python(FLAT_OUT, ring.path) as process:
        line_from(process)
        eventually(lambda: ring.newest_row > 1000, "the producer goes on")
        for _ in range(50):
            latest = ring.latest(100)
            assert len(latest["row"]) <= 100
            assert (np.diff(latest["row"]) >= 1).all()
            np.testing.assert_array_equal(latest["row"].astype(np.uint64) * np.uint64(MIX), latest["mix"])
            table = pa.ipc.open_stream(ring.read_snapshot()).read_all()
            table.validate(full=True)
            rows = table["row"].to_numpy()
            assert (np.diff(rows) >= 1).all()
            np.testing.assert_array_equal(rows.astype(np.uint64) * np.uint64(MIX), table["mix"].to_numpy())
            # A reader that sleeps for a whole lap finds nothing left of what there was at the call.
            seen += len(rows) + len(latest["row"])
    assert seen > 0


def test_kills_in_the_middle_of_writing(make_ring: MakeRing) -> None:
    """Whatever was being written, the next producer goes on with rows and sequence unbroken."""
    ring = make_ring(1 << 16, checksum=True)
    cursor = ring.cursor(verify=True)
    next_row = 0
    for _ in range(8):
        with running_python(FLAT_OUT, ring.path) as process:
            first = int(line_from(process))
            assert first >= next_row
            eventually(lambda first=first: ring.newest_row > first + 2000, "the producer goes on")
            kill_hard(process)
        assert not ring.producer_alive
        next_row = ring.newest_row
    with ring.producer(CHANNELS) as producer:
        assert producer.row == next_row
        producer.append(next_row, next_row * MIX & 2**64 - 1, next_row & 1, timestamp_ns=next_row)
    survivors = ring.cursor("oldest", verify=True)
    sequence = survivors.sequence
    while (batch := survivors.read()) is not None:
        check(batch, survivors.row)
        assert survivors.sequence - sequence in (0, 1)
        sequence = survivors.sequence
    assert (survivors.row, survivors.lost_rows) == (next_row + 1, 0)
    batch = cursor.read()
    assert batch is not None
    assert cursor.lost_rows == cursor.row - batch.num_rows > 0


def test_messages_of_a_killed_producer(make_ring: MakeRing) -> None:
    """Opaque messages of many sizes, told apart by their content."""
    script = """
        import sys
        from mulletdaq.ring import RingBuffer
        ring = RingBuffer.open(sys.argv[1])
        number = ring.newest_row
        print(number)
        while True:
            ring.write(b"%d " % number * (number % 97))
            number += 1
    """
    ring = make_ring(1 << 14)
    for _ in range(4):
        with running_python(script, ring.path) as process:
            first = int(line_from(process))
            eventually(lambda first=first: ring.newest_row > first + 500, "the producer goes on")
            kill_hard(process)
    ring.write(b"the end")
    cursor = ring.cursor()
    while cursor.row < ring.newest_row - 1:
        number = cursor.row
        assert cursor.read() == b"%d " % number * (number % 97)
    assert cursor.read() == b"the end"


# ---- attaching


def test_attach_by_name_path_and_stem(ring_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From another process, whichever way it is called."""
    path = ring_directory / "my.experiment-01234567.ring"
    with RingBuffer.create(path, capacity_bytes=4096) as ring:
        ring.write(b"found")
        script = """
            import sys
            import mulletdaq as mullet
            with mullet.attach(sys.argv[1]) as ring:
                print(ring.cursor().read().decode(), ring.name)
        """
        for name in ("my.experiment-01234567", str(path), "my.experiment"):
            assert run_python(script, name) == "found my.experiment-01234567\n"
    monkeypatch.chdir(ring_directory)
    for relative in (path.name, f"./{path.name}", Path(path.name)):
        with attach(relative) as ring:
            assert ring.cursor().read() == b"found"


def test_attach_to_one_stream_of_several(ring_directory: Path) -> None:
    """The stem alone would be ambiguous; the message names what there is."""
    for name in ("run-0123abcd.scope", "run-0123abcd.temp", "other-89abcdef", "other-01234567", "plain"):
        RingBuffer.create(ring_directory / f"{name}.ring", capacity_bytes=4096).close()
    with attach("run.scope") as ring:
        assert ring.name == "run-0123abcd.scope"
    with attach("plain") as ring:
        assert ring.name == "plain"
    for stem, names in {"run": ["run-0123abcd.scope", "run-0123abcd.temp"],
                        "other": ["other-89abcdef", "other-01234567"]}.items():  # fmt: skip
        with pytest.raises(RingNotFoundError) as caught:
            attach(stem)
        assert all(name in str(caught.value) for name in names)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", ".", "..", "missing", "miss*", "plai", "plain-", "/missing.ring"])
def test_attach_to_nothing(ring_directory: Path, name: str) -> None:
    """One line that names it; nothing is created."""
    RingBuffer.create(ring_directory / "plain.ring", capacity_bytes=4096).close()
    with pytest.raises(RingNotFoundError) as caught:
        attach(name)
    assert isinstance(caught.value, FileNotFoundError)
    assert "\n" not in str(caught.value)
    assert [path.name for path in ring_directory.iterdir()] == ["plain.ring"]


def test_attach_to_a_folder(ring_directory: Path) -> None:
    """A path is taken at its word."""
    with pytest.raises(RingAccessError, match="folder"):
        attach(f"{ring_directory}/")


def test_attached_ring_writes_when_nobody_else_does(make_ring: MakeRing) -> None:
    """One producer after the other, from different processes."""
    ring = make_ring(1 << 16)
    ring.producer(CHANNELS).append(0, 0, 0)
    ring._producer.close()
    script = """
        import sys
        import mulletdaq as mullet
        with mullet.attach(sys.argv[1]) as ring, ring.producer(ring.schema) as producer:
            producer.append(1, 1, 1)
            print("ready")
            sys.stdin.readline()
    """
    with running_python(script, ring.name) as process:
        line_from(process)
        assert ring.latest(5)["row"].tolist() == [0, 1]
        tell(process)
        process.wait()
    with ring.producer(CHANNELS) as producer:
        producer.append(2, 2, 0)
    assert column(ring.cursor(), "row") == [0, 1, 2]
