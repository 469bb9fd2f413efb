"""What a write does when the persisting sink has not caught up."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable
from contextlib import closing

import numpy as np
import pyarrow as pa
import pytest

from mulletdaq.errors import ProducerBusyError, RingFullError, RingTimeoutError, SinkDeadError
from mulletdaq.ring import OnFull, RingBuffer
from tests.ring.conftest import MakeRing
from tests.ring.support import VOLTAGE, batch_of, column, kill_hard, line_from, running_python, state_of

Write = Callable[[RingBuffer, int], object]
WAYS: dict[str, Write] = {
    "opaque": lambda ring, number: ring.write(b"%06d" % number),
    "strings": lambda ring, number: ring.write_arrow_batch(pa.record_batch({"s": [f"{number:06d}"]})),
    "numbers": lambda ring, number: ring.write_arrow_batch(batch_of(number, 1)),
}


def write_on(ring: RingBuffer, write: Write) -> None:
    """Write until an error ends it: at the latest when the ring would have been lapped many times."""
    for number in range(10_000):
        write(ring, number)


@pytest.mark.parametrize("way", WAYS)
def test_error_when_full(make_ring: MakeRing, way: str) -> None:
    """Raised before anything changes; room comes with the tail."""
    ring = make_ring(1 << 14, on_full="error")
    with pytest.raises(RingFullError):
        write_on(ring, WAYS[way])
    written = ring.newest_row
    assert written > 10
    before = state_of(ring)
    with pytest.raises(RingFullError, match=re.escape(ring.path)):
        WAYS[way](ring, written)
    assert state_of(ring) == before
    assert ring.statistics().rows_lost == 0
    cursor = ring.cursor()
    with closing(ring.sink()) as sink:
        while cursor.read() is not None:
            pass
        sink.advance(cursor.position)
    WAYS[way](ring, written)
    assert ring.newest_row == written + 1
    assert cursor.read() is not None
    assert cursor.lost_rows == 0


def test_error_in_the_middle_of_a_block(make_ring: MakeRing) -> None:
    """The rows before are written, the others not: the count tells."""
    ring = make_ring(1 << 14)
    with ring.producer(VOLTAGE, on_full="error") as producer:
        with pytest.raises(RingFullError):
            producer.append_block(np.arange(10_000.0))
        written = producer.row
        assert 0 < written < 10_000
        assert column(ring.cursor(), "voltage") == list(range(written))


@pytest.mark.parametrize("way", WAYS)
def test_time_limit(make_ring: MakeRing, way: str) -> None:
    """Nobody makes room: after the limit an error that names it, and nothing has changed."""
    ring = make_ring(1 << 14, on_full="block", timeout_s=0.02)
    with pytest.raises(RingTimeoutError, match=r"0\.02 s") as caught:
        write_on(ring, WAYS[way])
    assert isinstance(caught.value, TimeoutError)
    assert ring.statistics().rows_lost == 0


def test_producers_own_time_limit(make_ring: MakeRing) -> None:
    """What producer() is given holds, also after writes through the ring with another limit."""
    ring = make_ring(1 << 14, on_full="block", timeout_s=1.0)
    ring.write_arrow_batch(batch_of(0, 1))
    with ring.producer(ring.schema, timeout_s=0.02) as producer, pytest.raises(RingTimeoutError, match=r"0\.02 s"):
        producer.append_block(np.zeros(10_000))


def test_policy_of_each_producer(make_ring: MakeRing) -> None:
    """One after the other, each with its own."""
    ring = make_ring(1 << 14, on_full="error")
    with ring.producer(VOLTAGE, on_full="overwrite") as producer:
        producer.append_block(np.zeros(10_000))
        assert producer.row == 10_000
    with ring.producer(VOLTAGE) as producer, pytest.raises(RingFullError):
        producer.append_block(np.zeros(10_000))


def test_blocked_write_goes_on_when_the_sink_advances(make_ring: MakeRing) -> None:
    """A slow sink in a thread gets every row, in order."""
    ring = make_ring(1 << 14)
    done = threading.Event()
    found: list[float] = []
    ready = threading.Event()

    def persist() -> None:
        with RingBuffer.open(ring.path) as mine, closing(mine.sink()) as sink:
            cursor = mine.cursor()
            ready.set()
            while not (done.is_set() and cursor.lag_rows == 0):
                batch = cursor.read(timeout_s=0.001)
                if batch is not None:
                    found.extend(batch["voltage"].to_pylist())
                    sink.advance(cursor.position)
            assert cursor.lost_rows == 0

    thread = threading.Thread(target=persist)
    thread.start()
    try:
        ready.wait()
        with ring.producer(VOLTAGE, on_full="block", timeout_s=60) as producer:
            producer.append_block(np.arange(10_000.0))
            for number in range(10_000, 13_000):
                producer.append(number)
    finally:
        done.set()
        thread.join()
    assert found == list(range(13_000))
    assert ring.statistics().rows_lost == 0


def test_dead_sink_is_named(make_ring: MakeRing) -> None:
    """Waiting for a process that was killed would be for ever."""
    ring = make_ring(1 << 14, on_full="block")
    ring.write(b"x")
    script = """
        import sys
        from mulletdaq.ring import RingBuffer
        ring = RingBuffer.open(sys.argv[1])
        sink = ring.sink()
        print("ready")
        sys.stdin.read()
    """
    with running_python(script, ring.path) as process:
        assert line_from(process) == "ready"
        assert ring.statistics().sink_pid == process.pid
        kill_hard(process)
        with pytest.raises(SinkDeadError, match=rf"pid {process.pid}\b"):
            write_on(ring, WAYS["opaque"])
    assert ring.statistics().rows_lost == 0


def test_signal_while_waiting(make_ring: MakeRing) -> None:
    """Ctrl-C ends a wait that has no limit; a handler that writes is told why it cannot."""
    ring = make_ring(1 << 14)
    caught: list[Exception] = []

    class EnoughError(Exception):
        pass

    def handler(_signal: int, _frame: object) -> None:
        try:
            producer.append(-1.0)
        except ProducerBusyError as error:
            caught.append(error)
        raise EnoughError

    previous = signal.signal(signal.SIGUSR1, handler)
    try:
        with ring.producer(VOLTAGE, on_full="block") as producer:
            timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
            timer.start()
            with pytest.raises(EnoughError):
                producer.append_block(np.zeros(10_000))
            timer.join()
            rows = producer.row
            assert 0 < rows == ring.newest_row < 10_000
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert len(caught) == 1


SINK = """
    import sys, time
    from mulletdaq.ring import RingBuffer
    ring = RingBuffer.open(sys.argv[1])
    sink, cursor, pause_s = ring.sink(), ring.cursor(0, start_row=0, start_sequence=0), float(sys.argv[2])
    print("ready", flush=True)
    while True:
        if cursor.read(timeout_s=0.001) is not None:
            time.sleep(pause_s)
            sink.advance(cursor.position)
"""


@pytest.mark.parametrize("state", ["slow", "stopped", "dead"])
@pytest.mark.parametrize("policy", ["overwrite", "block", "error"])
def test_each_policy_with_each_kind_of_reader(make_ring: MakeRing, policy: OnFull, state: str) -> None:
    """A slow sink is waited for, a stopped one for as long as was said, a dead one not at all."""
    ring = make_ring(1 << 14)
    with (
        running_python(SINK, ring.path, 0.002 if state == "slow" else 0) as process,
        ring.producer(VOLTAGE, on_full=policy, timeout_s=0.05 if state == "stopped" else 60) as producer,
    ):
        assert line_from(process) == "ready"
        if state == "stopped":
            os.kill(process.pid, signal.SIGSTOP)
        elif state == "dead":
            kill_hard(process)
        expected: dict[tuple[str, str], type[Exception] | None] = {
            ("block", "stopped"): RingTimeoutError,
            ("block", "dead"): SinkDeadError,
            ("error", "slow"): RingFullError,
            ("error", "stopped"): RingFullError,
            ("error", "dead"): RingFullError,
        }
        error = expected.get((policy, state))
        rows = np.arange(20_000.0)
        if error is None:
            producer.append_block(rows)
            assert producer.row == 20_000
        else:
            with pytest.raises(error):
                producer.append_block(rows)
            assert 0 < producer.row < 20_000
            assert ring.statistics().rows_lost == 0, "nothing that the sink has not taken was overwritten"
        if (policy, state) == ("block", "slow"):
            assert ring.statistics().rows_lost == 0
