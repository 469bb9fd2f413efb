"""Any sequence of writes and reads on a small ring equals a model of it."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mulletdaq.errors import FrameTooLargeError
from mulletdaq.ring import Cursor, Producer, RingBuffer, ring_directory
from tests.examples import examples
from tests.ring.support import frames_of

SCHEMA = pa.schema([("timestamp", pa.int64()), ("n", pa.int32()), ("flag", pa.bool_())])
STRINGS = pa.schema([("timestamp", pa.int64()), ("s", pa.string())])
COUNTS = st.one_of(st.integers(1, 5), st.sampled_from([63, 64, 65, 200]))
FEW = settings(
    max_examples=examples(150),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)


def row_of(row: int) -> tuple[int, int, bool]:
    """What row number `row` holds."""
    return row, -row, row % 3 == 0


class RingModel(RuleBasedStateMachine):
    """The ring holds rows that tell their number; the model is how many there are, and each cursor's place."""

    @initialize(capacity=st.sampled_from([8192, 16384, 20480]), checksum=st.booleans())
    def create(self, capacity: int, checksum: bool) -> None:
        """A small ring, lapped after some hundred rows."""
        folder = tempfile.mkdtemp(dir=ring_directory())
        self.ring = RingBuffer.create(Path(folder) / "model.ring", capacity_bytes=capacity, checksum=checksum)
        self.rows = 0
        self.committed = 0
        self.producer: Producer | None = None
        self.cursors: list[tuple[Cursor, list[int]]] = []
        self.open_producer()
        self.add_cursor("oldest")

    # ---- writing

    @rule()
    def open_producer(self) -> None:
        """Close and go on, from the same handle or from another."""
        if self.producer is not None:
            self.producer.close()
        self.producer = self.ring.producer(SCHEMA)
        assert self.producer.row == self.rows

    @rule(count=COUNTS)
    def append(self, count: int) -> None:
        """Row by row."""
        assert self.producer is not None
        for row in range(self.rows, self.rows + count):
            stamp, number, flag = row_of(row)
            self.producer.append(number, flag, timestamp_ns=stamp)
        self.rows += count

    @rule(count=COUNTS)
    def block(self, count: int) -> None:
        """Many rows at once."""
        assert self.producer is not None
        rows = np.arange(self.rows, self.rows + count)
        self.producer.append_block(-rows.astype(np.int32), rows % 3 == 0, timestamps_ns=rows)
        self.rows += count

    @rule(count=COUNTS, before=st.integers(0, 70), behind=st.integers(0, 9), nulls=st.booleans())
    def batch(self, count: int, before: int, behind: int, nulls: bool) -> None:
        """A slice of a batch; one whose bitmap says nothing is null, in a frame of its own."""
        rows = np.arange(self.rows - before, self.rows + count + behind)
        mask = np.arange(len(rows)) < before if nulls and before else None
        columns = [pa.array(rows), pa.array(-rows.astype(np.int32), mask=mask), pa.array(rows % 3 == 0)]
        self.ring.write_arrow_batch(pa.RecordBatch.from_arrays(columns, schema=SCHEMA).slice(before, count))
        self.rows += count

    @rule()
    def seal(self) -> None:
        """Changes nothing that a reader sees."""
        assert self.producer is not None
        self.producer.seal()

    @rule()
    def write_what_is_refused(self) -> None:
        """Changes nothing at all."""
        assert self.producer is not None
        before = (self.ring.write_head, self.ring.newest_row)
        for write in (
            lambda: self.producer.append("x", True),  # type: ignore[union-attr]
            lambda: self.producer.append(2**31, True),  # type: ignore[union-attr]
            lambda: self.producer.append_block([1], [True, False]),  # type: ignore[union-attr]
            lambda: self.ring.write(b"opaque"),
            lambda: self.ring.write_arrow_batch(pa.record_batch({"x": [1]})),
        ):
            try:
                write()
            except (TypeError, ValueError):
                continue
            raise AssertionError("it was not refused")
        assert (self.ring.write_head, self.ring.newest_row) == before

    # ---- reading

    @precondition(lambda self: len(self.cursors) < 4)
    @rule(start=st.sampled_from(["oldest", "latest", "first"]))
    def add_cursor(self, start: str) -> None:
        """Anywhere one may start."""
        cursor = self.ring.cursor(0, start_row=0) if start == "first" else self.ring.cursor(start)  # type: ignore[call-overload]
        expected = 0 if start == "first" else self.rows if start == "latest" else self.oldest()
        assert cursor.row == expected
        self.cursors.append((cursor, [expected, 0]))

    @rule(max_rows=st.one_of(st.none(), st.integers(1, 100)), which=st.integers(0, 3), times=st.integers(1, 8))
    def read(self, max_rows: int | None, which: int, times: int) -> None:
        """Delivers the next surviving rows and counts exactly what is gone."""
        cursor, place = self.cursors[which % len(self.cursors)]
        for _ in range(times):
            expected = max(place[0], self.oldest())
            batch = cursor.read(max_rows)
            if batch is None:
                assert place[0] == self.rows
                return
            assert 1 <= batch.num_rows <= (max_rows or 10**9)
            assert cursor.row == expected + batch.num_rows
            self.check(batch, expected)
            losses = cursor.take_losses()
            assert sum(loss.rows for loss in losses) == expected - place[0]
            place[1] += expected - place[0]
            place[0] = cursor.row
            assert (cursor.lost_rows, cursor.lag_rows) == (place[1], self.rows - cursor.row)

    @rule(which=st.integers(0, 3))
    def resume(self, which: int) -> None:
        """Position and row are all there is to a cursor."""
        cursor, place = self.cursors[which % len(self.cursors)]
        again = self.ring.cursor(cursor.position, start_row=cursor.row)
        assert again.row == place[0]
        self.cursors[which % len(self.cursors)] = (again, [place[0], 0])

    @rule(which=st.integers(0, 3))
    def commit(self, which: int) -> None:
        """The persisting sink moves the tail to a cursor's place."""
        cursor, _ = self.cursors[which % len(self.cursors)]
        with closing(self.ring.sink()) as sink:
            sink.advance(cursor.position)
        self.committed = max(self.committed, cursor.position)
        assert self.ring.read_tail == self.committed

    @rule(count=st.integers(0, 300))
    def latest(self, count: int) -> None:
        """The newest rows that survive."""
        found = self.ring.latest(count)
        first = max(self.rows - count, self.oldest())
        np.testing.assert_array_equal(found["timestamp"], np.arange(first, self.rows))
        np.testing.assert_array_equal(found["n"], -np.arange(first, self.rows))

    @rule()
    def snapshot(self) -> None:
        """From the tail, or the oldest row."""
        table = pa.ipc.open_stream(self.ring.read_snapshot()).read_all()
        table.validate(full=True)
        starts = [frame.first_row for frame in frames_of(self.ring.path) if frame.position >= self.committed]
        assert table["timestamp"].to_pylist() == list(range(starts[0] if starts else self.rows, self.rows))

    # ---- always

    def oldest(self) -> int:
        """The oldest row that the file says is there."""
        return next((frame.first_row for frame in frames_of(self.ring.path)), 0)

    def check(self, batch: Any, first: int) -> None:
        """Every value is its row's."""
        rows = [row_of(row) for row in range(first, first + batch.num_rows)]
        assert list(zip(*(column.to_pylist() for column in batch.columns), strict=True)) == rows

    @invariant()
    def counts_agree(self) -> None:
        """Ring, statistics and frames tell the same."""
        statistics = self.ring.statistics()
        assert self.ring.newest_row == statistics.rows_written == self.rows
        assert 0 <= statistics.fill <= 1
        if self.committed == 0:
            assert statistics.rows_lost == self.oldest()

    def teardown(self) -> None:
        """Reopened by another handle, everything is as it was."""
        if not hasattr(self, "ring"):
            return
        assert self.producer is not None
        self.producer.close()
        with RingBuffer.open(self.ring.path) as other:
            rows = [value for batch in _all(other.cursor(verify=True)) for value in batch["timestamp"].to_pylist()]
            assert rows == list(range(self.oldest(), self.rows))
        self.ring.close()
        self.ring.unlink()
        Path(self.ring.path).parent.rmdir()


def _all(cursor: Cursor) -> list[Any]:
    taken = []
    while (batch := cursor.read()) is not None:
        taken.append(batch)
    return taken


class MessageModel(RuleBasedStateMachine):
    """The same for what has no fixed width: opaque messages, or strings."""

    @initialize(capacity=st.sampled_from([4096, 8192]), opaque=st.booleans(), checksum=st.booleans())
    def create(self, capacity: int, opaque: bool, checksum: bool) -> None:
        """A ring of some dozen messages."""
        folder = tempfile.mkdtemp(dir=ring_directory())
        self.ring = RingBuffer.create(Path(folder) / "model.ring", capacity_bytes=capacity, checksum=checksum)
        self.opaque = opaque
        self.messages: list[bytes] = []
        self.reader = RingBuffer.open(self.ring.path)
        self.cursor = self.reader.cursor(verify=True)
        self.next = 0
        self.lost = 0

    @rule(size=st.one_of(st.integers(0, 300), st.sampled_from([63, 64, 65, 2000, 5000])))
    def write(self, size: int) -> None:
        """Of any size; what is too large changes nothing."""
        message = (b"%d " % len(self.messages) * size)[:size]
        try:
            if self.opaque:
                self.ring.write(message)
            else:
                stamp, text = pa.array([len(self.messages)]), pa.array([message.decode()])
                self.ring.write_arrow_batch(pa.RecordBatch.from_arrays([stamp, text], schema=STRINGS))
        except FrameTooLargeError:
            assert size > self.ring.capacity_bytes // 4 - 600
        else:
            self.messages.append(message)

    @rule()
    def reopen(self) -> None:
        """Another handle goes on."""
        path = self.ring.path
        self.ring.close()
        self.ring = RingBuffer.open(path)

    @rule(times=st.integers(1, 20))
    def read(self, times: int) -> None:
        """Each message once, in order, gaps counted."""
        for _ in range(times):
            content = self.cursor.read()
            if content is None:
                assert self.next == len(self.messages)
                return
            found = content if self.opaque else content["s"][0].as_py().encode()
            row = self.cursor.row - 1
            assert row >= self.next
            assert found == self.messages[row]
            self.lost += row - self.next
            self.next = row + 1
            assert self.cursor.lost_rows == self.cursor.lost_frames == self.lost

    @invariant()
    def frames_agree(self) -> None:
        """What the file holds is the newest messages."""
        if hasattr(self, "ring"):
            kept = [frame for frame in frames_of(self.ring.path) if frame.kind]
            assert [frame.first_row for frame in kept] == list(
                range(len(self.messages) - len(kept), len(self.messages))
            )
            assert self.ring.newest_row == len(self.messages)
            if self.opaque:
                assert self.ring.read_snapshot() == b"".join(self.messages[len(self.messages) - len(kept) :])

    def teardown(self) -> None:
        """Nothing is left behind."""
        if hasattr(self, "ring"):
            self.reader.close()
            self.ring.close()
            self.ring.unlink()
            Path(self.ring.path).parent.rmdir()


RingModel.TestCase.settings = FEW
MessageModel.TestCase.settings = FEW
TestRingModel = RingModel.TestCase
TestMessageModel = MessageModel.TestCase
