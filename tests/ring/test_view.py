"""Looking into the ring's memory without a copy."""

from __future__ import annotations

import ctypes

import pyarrow as pa
import pytest

from mulletdaq.errors import RingPositionError
from mulletdaq.ring import RingBuffer
from tests.ring.conftest import MakeRing
from tests.ring.support import FRAME, VOLTAGE, run_python


def test_view_of_nothing(make_ring: MakeRing) -> None:
    """An empty ring has no newest frame."""
    assert make_ring(4096).view() is None


def test_view_shows_a_frame(make_ring: MakeRing) -> None:
    """The newest by default, or the one at a position, with its header."""
    ring = make_ring(4096)
    first = ring.write(b"first", timestamp_ns=11)
    ring.write(b"second", timestamp_ns=22)
    with ring.view() as newest, ring.view(first) as older:
        assert bytes(newest) == b"second"
        assert bytes(older) == b"first"
        assert (older.position, older.sequence, older.first_row, older.rows) == (0, 0, 0, 1)
        assert (newest.position, newest.sequence, newest.first_row, newest.timestamp_ns) == (128, 1, 1, 22)
        assert len(older) == 5
        assert older.intact and newest.intact
        assert memoryview(older).readonly


def test_view_of_a_sealed_frame_is_an_arrow_message(make_ring: MakeRing) -> None:
    """What lies in the ring is what Arrow reads."""
    ring = make_ring(65536)
    with ring.producer(VOLTAGE) as producer:
        for row in range(10):
            producer.append(float(row))
        producer.seal()
        with ring.view() as view:
            batch = pa.ipc.read_record_batch(pa.py_buffer(bytes(view)), ring.schema)
    assert batch["voltage"].to_pylist() == list(range(10))


@pytest.mark.parametrize("position", [64, 7, 128, 1 << 40])
def test_view_of_no_frame(make_ring: MakeRing, position: int) -> None:
    """A position at which none starts, or that is still to come."""
    ring = make_ring(4096)
    ring.write(b"x" * 64)
    with pytest.raises(RingPositionError, match=str(position)):
        ring.view(position)


def test_view_is_no_longer_intact_after_lapping(make_ring: MakeRing) -> None:
    """Exactly from the claim on that overwrites its first byte."""
    ring = make_ring(4096)
    ring.write(b"old")
    with ring.view() as view:
        for _ in range(4096 // 128 - 1):
            ring.write(b"more")
            assert view.intact
        assert bytes(view) == b"old"
        ring.write(b"over")
        assert not view.intact
    with pytest.raises(RingPositionError, match="overwritten"):
        ring.view(0)


def test_live_views_keep_the_ring_open(make_ring: MakeRing) -> None:
    """Closing would pull the memory away; afterwards the ring still works."""
    ring = make_ring(4096)
    ring.write(b"x")
    view = ring.view()
    assert view is not None
    with pytest.raises(BufferError, match="view"):
        ring.close()
    assert bytes(view) == b"x"
    assert ring.read_snapshot() == b"x"
    view.release()
    ring.close()


def test_dropped_view_releases(make_ring: MakeRing) -> None:
    """Not only release() counts."""
    ring = make_ring(4096)
    ring.write(b"x")
    view = ring.view()
    del view
    ring.close()


def test_exports_keep_the_view(make_ring: MakeRing) -> None:
    """A memoryview into it must go first."""
    ring = make_ring(4096)
    ring.write(b"x")
    view = ring.view()
    assert view is not None
    exported = memoryview(view)
    with pytest.raises(BufferError):
        view.release()
    with pytest.raises(BufferError):
        ring.close()
    exported.release()
    view.release()
    view.release()
    with pytest.raises(BufferError, match="released"):
        memoryview(view)
    ring.close()


def test_address_shows_what_another_process_writes(make_ring: MakeRing) -> None:
    """The data region in this process is the one every process writes to."""
    ring = make_ring(4096)
    region = (ctypes.c_char * ring.capacity_bytes).from_address(ring.data_address())
    assert bytes(region[:64]) == bytes(64)
    script = """
        import sys
        from mulletdaq.ring import RingBuffer
        with RingBuffer.open(sys.argv[1]) as ring:
            ring.write(b"from over there", timestamp_ns=42)
    """
    run_python(script, ring.path)
    assert bytes(region[64:79]) == b"from over there"
    assert FRAME.unpack(region[:64])[5] == 42


def test_address_is_each_handles_own(make_ring: MakeRing) -> None:
    """Two handles map the same bytes at two addresses."""
    ring = make_ring(4096)
    with RingBuffer.open(ring.path) as other:
        assert ring.data_address() != other.data_address()
        ring.write(b"both")
        for address in (ring.data_address(), other.data_address()):
            assert ctypes.string_at(address + 64, 4) == b"both"
