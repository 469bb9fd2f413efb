"""Who may write: one process, its threads and signal handlers, and nobody it forked."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest

from mulletdaq.errors import ProducerLockedError, RingClosedError, SchemaMismatchError
from mulletdaq.ring import RingBuffer
from mulletdaq.schema import Channel
from tests.ring.conftest import MakeRing
from tests.ring.support import VOLTAGE, batch_of, column, line_from, run_python, running_python, tell

# ---- closing and going on


def test_closed_producer(make_ring: MakeRing) -> None:
    """Every write says so; closing twice does not."""
    ring = make_ring()
    producer = ring.producer(VOLTAGE)
    append = producer.append
    append(1.0)
    producer.close()
    producer.close()
    assert producer.closed
    for write in (lambda: append(2.0), lambda: producer.append_block([2.0]), producer.seal, lambda: producer.row):
        with pytest.raises(RingClosedError):
            write()
    assert ring.latest(9)["voltage"].tolist() == [1.0]


def test_closing_the_ring_closes_its_producer(make_ring: MakeRing) -> None:
    """And seals what it wrote; another may go on."""
    ring = make_ring()
    producer = ring.producer(VOLTAGE)
    producer.append(1.0)
    ring.close()
    assert producer.closed
    with RingBuffer.open(ring.path) as other, other.producer(VOLTAGE) as next_one:
        next_one.append(2.0)
        assert column(other.cursor(), "voltage") == [1.0, 2.0]


def test_dropped_producer_lets_go(make_ring: MakeRing) -> None:
    """Without close, the last reference is the end."""
    ring = make_ring()
    producer = ring.producer(VOLTAGE)
    producer.append(1.0)
    del producer
    path = ring.path
    del ring._producer, ring._writer
    ring._producer = ring._writer = None
    with RingBuffer.open(path) as other:
        assert not other.producer_alive
        other.producer(VOLTAGE).close()


def test_rows_and_sequence_go_on(make_ring: MakeRing) -> None:
    """Over producers, and over handles."""
    ring = make_ring()
    for number in range(5):
        with RingBuffer.open(ring.path) as mine, mine.producer(VOLTAGE) as producer:
            assert producer.row == 2 * number
            producer.append(2.0 * number)
            producer.append(2.0 * number + 1)
    cursor = ring.cursor()
    assert column(cursor, "voltage") == list(range(10))
    assert (cursor.row, cursor.sequence) == (10, 5)


@pytest.mark.parametrize(
    "other", [[Channel("current", "A")], [Channel("voltage", "V", "float32")], [*VOLTAGE, Channel("more")]]
)
def test_other_channels_are_refused(make_ring: MakeRing, other: list[Channel]) -> None:
    """The ring keeps its schema, and the lock is not left behind."""
    ring = make_ring()
    ring.producer(VOLTAGE).close()
    with pytest.raises(SchemaMismatchError, match="voltage"):
        ring.producer(other)
    assert not ring.producer_alive
    ring.producer(VOLTAGE).close()


# ---- processes

OTHER_PRODUCER = """
    import sys
    from mulletdaq.ring import RingBuffer
    from mulletdaq.schema import Channel
    ring = RingBuffer.open(sys.argv[1])
    producer = ring.producer([Channel("voltage", "V")])
    producer.append(1.0)
    print("ready")
    sys.stdin.readline()
    producer.close()
    print("closed")
    sys.stdin.readline()
"""


def test_producer_in_another_process(make_ring: MakeRing) -> None:
    """It is named with its pid, for every way of writing, until it closes."""
    ring = make_ring()
    with running_python(OTHER_PRODUCER, ring.path) as process:
        assert line_from(process) == "ready"
        for write in (
            lambda: ring.producer(VOLTAGE),
            lambda: ring.write_arrow_batch(batch_of(0, 1)),
            lambda: RingBuffer.create(ring.path, capacity_bytes=4096, force=True),
        ):
            with pytest.raises(ProducerLockedError, match=rf"pid {process.pid}\b"):
                write()
        assert ring.statistics().producer_pid == process.pid
        tell(process)
        assert line_from(process) == "closed"
        assert not ring.producer_alive
        with ring.producer(VOLTAGE) as producer:
            producer.append(2.0)
    assert column(ring.cursor(), "voltage") == [1.0, 2.0]


def test_forked_child_cannot_write(make_ring: MakeRing) -> None:
    """Its copy of the producer is poisoned; it may read, and its end harms nobody."""
    ring = make_ring()
    script = """
        import os, sys, warnings
        warnings.simplefilter("ignore")
        from mulletdaq.errors import ProducerForkedError
        from mulletdaq.ring import RingBuffer
        from mulletdaq.schema import Channel
        ring = RingBuffer.open(sys.argv[1])
        producer = ring.producer([Channel("voltage", "V")])
        sink = ring.sink()
        producer.append(1.0)
        child = os.fork()
        if not child:
            status = 1
            try:
                for write in (
                    lambda: producer.append(9.0),
                    lambda: producer.append_block([9.0]),
                    lambda: ring.write_arrow_batch(ring.cursor().read()),
                    producer.seal,
                ):
                    try:
                        write()
                    except ProducerForkedError as error:
                        assert "forked" in str(error)
                    else:
                        raise AssertionError("a forked child wrote")
                try:
                    sink.advance(64)
                except ValueError:
                    pass
                else:
                    raise AssertionError("a forked child moved the tail")
                assert ring.cursor().read()["voltage"].to_pylist() == [1.0]
                assert ring.statistics().producer_pid == os.getppid()
                producer.close()
                ring.close()
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        assert status == 0, status
        assert ring.producer_alive
        producer.append(2.0)
        assert ring.statistics().sink_pid == os.getpid()
        assert ring.read_tail == 0
    """
    run_python(script, ring.path)
    assert column(ring.cursor(), "voltage") == [1.0, 2.0]
    assert not ring.producer_alive


@pytest.mark.parametrize("end", ["closes", "exits", "is killed"])
def test_forked_child_does_not_keep_the_lock(make_ring: MakeRing, end: str) -> None:
    """However its parent ends, the ring is free at once while the child lives on."""
    ring = make_ring()
    script = """
        import os, signal, sys, warnings
        warnings.simplefilter("ignore")
        from mulletdaq.ring import RingBuffer
        from mulletdaq.schema import Channel
        ring = RingBuffer.open(sys.argv[1])
        producer = ring.producer([Channel("voltage", "V")])
        sink = ring.sink()
        producer.append(1.0)
        running, started = os.pipe()
        child = os.fork()
        if not child:
            os.write(started, b"x")
            signal.pause()
        os.read(running, 1)
        print(child)
        sys.stdin.readline()
        if sys.argv[2] == "closes":
            producer.close()
            sink.close()
            print("closed")
            sys.stdin.readline()
        elif sys.argv[2] == "exits":
            os._exit(0)
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    """
    with running_python(script, ring.path, end) as process:
        child = int(line_from(process))
        try:
            assert ring.statistics().producer_pid == process.pid
            tell(process)
            if end == "closes":
                assert line_from(process) == "closed"
            else:
                process.wait()
            os.kill(child, 0)
            assert (ring.statistics().producer_pid, ring.statistics().sink_pid) == (None, None)
            with ring.producer(VOLTAGE) as producer:
                producer.append(2.0)
            ring.sink().close()
        finally:
            os.kill(child, signal.SIGKILL)
    assert column(ring.cursor(), "voltage") == [1.0, 2.0]


# ---- re-entrance


def test_value_whose_conversion_appends(make_ring: MakeRing) -> None:
    """Values are converted before a slot is taken: the inner row comes first, both are whole."""
    ring = make_ring()

    class Nested:
        def __init__(self, depth: int) -> None:
            self.depth = depth

        def __float__(self) -> float:
            if self.depth:
                producer.append(Nested(self.depth - 1), -self.depth)
            return float(self.depth)

    with ring.producer([Channel("a"), Channel("b")]) as producer:
        producer.append(Nested(5), 99)
    latest = ring.latest(9)
    assert latest["a"].tolist() == [0, 1, 2, 3, 4, 5]
    assert latest["b"].tolist() == [-1, -2, -3, -4, -5, 99]


def test_value_whose_conversion_closes(make_ring: MakeRing) -> None:
    """The row is refused; nothing is torn."""
    ring = make_ring()

    class Closing:
        def __float__(self) -> float:
            producer.close()
            return 1.0

    producer = ring.producer(VOLTAGE)
    producer.append(0.5)
    with pytest.raises(RingClosedError):
        producer.append(Closing())
    assert ring.latest(9)["voltage"].tolist() == [0.5]


def test_value_whose_conversion_fails(make_ring: MakeRing) -> None:
    """An error of its own, and the producer goes on."""
    ring = make_ring()

    class Broken:
        def __float__(self) -> float:
            raise RuntimeError("no contact")

    with ring.producer(VOLTAGE) as producer:
        with pytest.raises((RuntimeError, TypeError)):
            producer.append(Broken())
        producer.append(1.0)
    assert ring.latest(9)["voltage"].tolist() == [1.0]


def test_array_whose_conversion_appends(make_ring: MakeRing) -> None:
    """The same for waveforms."""
    ring = make_ring()

    class Nested:
        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
            producer.append([0.0, 0.0, 0.0])
            return np.ones(3)

    with ring.producer([Channel("w", shape=(3,))]) as producer:
        producer.append(Nested())
    assert ring.latest(9)["w"].tolist() == [[0.0] * 3, [1.0] * 3]


def test_signal_handler_that_appends(make_ring: MakeRing) -> None:
    """Between two rows, wherever it comes: no row is lost, none torn."""
    ring = make_ring(1 << 22)
    handled = 0

    def handler(_signal: int, _frame: object) -> None:
        nonlocal handled
        producer.append(-1.0, 1.0)
        handled += 1

    previous = signal.signal(signal.SIGALRM, handler)
    try:
        with ring.producer([Channel("a"), Channel("b")]) as producer:
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
            number = 0
            while handled < 20 or number < 20_000:
                producer.append(number, -number)
                number += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert producer.row == number + handled
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    newest = ring.latest(20_000)
    assert (newest["a"] == -newest["b"]).all()
    ours = newest["a"][newest["a"] >= 0]
    assert ours.tolist() == list(range(number - len(ours), number))


# ---- threads


def test_threads_share_a_producer(make_ring: MakeRing) -> None:
    """Rows, large blocks that let other threads run, and batches: each thread's in its order, none lost."""
    ring = make_ring(1 << 25)
    errors: list[BaseException] = []
    each = 200

    def write(thread: int) -> None:
        try:
            for number in range(each):
                producer.append(thread, number)
                if number % 20 == 0:
                    count = 8_000
                    producer.append_block(np.full(count, thread), np.full(count, number))
                producer.append_block([thread], [number])
        except BaseException as error:
            errors.append(error)

    cursor = ring.cursor()
    with ring.producer([Channel("thread", dtype="int64"), Channel("number", dtype="int64")]) as producer:
        threads = [threading.Thread(target=write, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        total = producer.row
    assert not errors
    assert total == 4 * (each * 2 + each // 20 * 8_000)
    rows = []
    while (batch := cursor.read()) is not None:
        rows.append(np.stack([batch["thread"].to_numpy(), batch["number"].to_numpy()], axis=1))
    found = np.concatenate(rows)
    assert (len(found), cursor.lost_rows) == (total, 0)
    for thread in range(4):
        mine = found[found[:, 0] == thread][:, 1]
        assert len(mine) == total // 4
        assert (np.diff(mine) >= 0).all()


def test_threads_that_write_first_at_once(make_ring: MakeRing) -> None:
    """The first write takes the lock once, whoever makes it."""
    errors: list[BaseException] = []
    for _ in range(30):
        ring = make_ring(1 << 14)
        start = threading.Barrier(4)

        def write(ring: RingBuffer = ring, start: threading.Barrier = start) -> None:
            start.wait()
            try:
                ring.write(b"x")
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if not errors:
            assert ring.newest_row == 4
    assert not errors
