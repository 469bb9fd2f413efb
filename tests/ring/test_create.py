"""Creating and opening: capacities, modes, what is refused, and the header's bytes."""

from __future__ import annotations

import os
import re
import stat
import time
from contextlib import closing
from pathlib import Path

import pytest

from mulletdaq import _core
from mulletdaq.errors import (
    MulletError,
    ProducerLockedError,
    RingAccessError,
    RingCapacityError,
    RingClosedError,
    RingExistsError,
    RingNotFoundError,
    RingReplacedError,
    RingSpaceError,
)
from mulletdaq.ring import RingBuffer
from tests.ring.conftest import MakeRing
from tests.ring.support import MAGIC, SCHEMA_CAPACITY, header_of


@pytest.mark.parametrize(
    "capacity_mb", [0, -1, float("nan"), float("inf"), -float("inf"), 1e12, pytest.param(10**400, id="googols")]
)
def test_impossible_capacity_mb_is_refused(ring_file: Path, capacity_mb: float) -> None:
    """No ring can be that large, and nothing is left behind."""
    with pytest.raises(RingCapacityError):
        RingBuffer.create(ring_file, capacity_mb)
    assert not ring_file.exists()


@pytest.mark.parametrize("capacity_bytes", [0, -64, 2**46 + 1, 2**64, pytest.param(10**400, id="googols")])
def test_impossible_capacity_bytes_is_refused(ring_file: Path, capacity_bytes: int) -> None:
    """The same, given in bytes."""
    with pytest.raises(RingCapacityError):
        RingBuffer.create(ring_file, capacity_bytes=capacity_bytes)
    assert not ring_file.exists()


def test_refusal_names_what_was_asked_for(ring_file: Path) -> None:
    """Who asks for bytes is not told about megabytes that were never given."""
    with pytest.raises(RingCapacityError) as caught:
        RingBuffer.create(ring_file, capacity_bytes=-4096)
    assert "-4096" in str(caught.value)
    assert "100 MB" not in str(caught.value)


@pytest.mark.parametrize("capacity", [0, 64, 4095, 4097, 2**46 + 64])
def test_native_ring_checks_its_capacity_itself(ring_file: Path, capacity: int) -> None:
    """Below the Python layer too, no impossible ring is made."""
    with pytest.raises(RingCapacityError):
        _core.Ring.create(ring_file, capacity)
    assert not ring_file.exists()


def test_more_than_the_file_system_has(ring_file: Path) -> None:
    """The largest capacity fits nowhere: an error, and no file left."""
    with pytest.raises(RingSpaceError, match=re.escape(str(ring_file))):
        RingBuffer.create(ring_file, capacity_bytes=2**46)
    assert not ring_file.exists()


@pytest.mark.parametrize(
    ("asked", "made"), [(1, 4096), (4096, 4096), (4097, 4160), (4160, 4160), (65537, 65600), (1_000_000, 1_000_000)]
)
def test_capacity_rounds_up_to_whole_lines(ring_file: Path, asked: int, made: int) -> None:
    """64 bytes at a time, and never below the minimum."""
    with RingBuffer.create(ring_file, capacity_bytes=asked) as ring:
        assert ring.capacity_bytes == made
    assert ring_file.stat().st_size == 128 + made + SCHEMA_CAPACITY


def test_tiny_megabytes_round_up(ring_file: Path) -> None:
    """A capacity in MB counts 1,048,576 bytes, and rounds up as well."""
    with RingBuffer.create(ring_file, 0.0001) as ring:
        assert ring.capacity_bytes == 4096
    with RingBuffer.create(ring_file, 2, force=True) as ring:
        assert ring.capacity_bytes == 2 * 1_048_576


def test_file_is_for_this_user_only(ring_file: Path) -> None:
    """Mode 0600, whatever the umask allows."""
    before = os.umask(0)
    try:
        RingBuffer.create(ring_file, capacity_bytes=4096).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(ring_file.stat().st_mode) == 0o600


@pytest.mark.parametrize("checksum", [False, True])
def test_header_of_a_new_ring(ring_file: Path, checksum: bool) -> None:
    """Every field of the first 128 bytes."""
    before = time.time_ns()
    with RingBuffer.create(ring_file, capacity_bytes=65536, checksum=checksum) as ring:
        header = header_of(ring_file)
        assert (header.magic, header.capacity, header.version) == (MAGIC, 65536, 1)
        assert (header.write_head, header.read_tail, header.write_intent) == (0, 0, 0)
        assert (header.oldest, header.midway, header.schema_len) == (0, 0, 0)
        assert (header.next_sequence, header.next_row) == (0, 0)
        assert (header.producer_pid, header.sink_pid) == (0, 0)
        assert (header.schema_capacity, header.flags) == (SCHEMA_CAPACITY, 4 if checksum else 0)
        assert header.stream_id == ring.stream_id
        assert before <= header.created_ns == ring.created_ns <= time.time_ns()
        assert ring.checksum is checksum
    assert ring_file.read_bytes()[:8] == bytes.fromhex("01000000dadadada")


def test_header_after_writes(ring_file: Path) -> None:
    """Positions, counts, pids and flags follow what was written."""
    with RingBuffer.create(ring_file, capacity_bytes=65536) as ring, closing(ring.sink()) as sink:
        first = ring.write(b"x" * 100)
        second = ring.write(b"y")
        sink.advance(second)
        header = header_of(ring_file)
        assert (first, second) == (0, 64 + 128)
        assert header.write_head == header.write_intent == ring.write_head == 192 + 128
        assert (header.read_tail, header.oldest) == (192, 0)
        assert (header.next_sequence, header.next_row) == (2, 2)
        assert (header.producer_pid, header.sink_pid) == (os.getpid(), os.getpid())
        assert header.flags == 1
        assert header.producer_heartbeat > 0 < header.sink_heartbeat


def test_stream_ids_differ(make_ring: MakeRing) -> None:
    """Each creation draws its own."""
    assert len({make_ring(4096).stream_id for _ in range(8)}) == 8


def test_existing_ring_is_kept(ring_file: Path) -> None:
    """Refused by default, opened as it is with exist_ok, made anew with force."""
    with RingBuffer.create(ring_file, capacity_bytes=8192) as old:
        old.write(b"kept")
        identity = old.stream_id
    with pytest.raises(RingExistsError, match=re.escape(str(ring_file))):
        RingBuffer.create(ring_file, capacity_bytes=4096)
    with RingBuffer.create(ring_file, capacity_bytes=4096, exist_ok=True) as same:
        assert (same.stream_id, same.capacity_bytes) == (identity, 8192)
        assert same.read_snapshot() == b"kept"
    with RingBuffer.create(ring_file, capacity_bytes=4096, force=True) as new:
        assert new.stream_id != identity
        assert (new.capacity_bytes, new.read_snapshot()) == (4096, b"")


def test_force_spares_a_ring_in_use(ring_file: Path) -> None:
    """A living producer, named with its pid, keeps its ring."""
    with RingBuffer.create(ring_file, capacity_bytes=4096) as ring:
        ring.write(b"mine")
        with pytest.raises(ProducerLockedError, match=rf"pid {os.getpid()}\b"):
            RingBuffer.create(ring_file, capacity_bytes=4096, force=True)
        assert not ring.replaced
        assert ring.read_snapshot() == b"mine"


def test_old_handle_of_a_replaced_ring_cannot_write(ring_file: Path) -> None:
    """Writing into a file that nobody can open any more would lose data silently."""
    old = RingBuffer.create(ring_file, capacity_bytes=4096)
    with old, RingBuffer.create(ring_file, capacity_bytes=4096, force=True):
        assert old.replaced
        with pytest.raises(RingReplacedError):
            old.write(b"lost")
        with pytest.raises(RingReplacedError):
            old.sink()


@pytest.mark.parametrize("content", [b"hello, I am somebody's notes\n", b"x", b"N" * 127])
@pytest.mark.parametrize("force", [False, True])
def test_creating_never_removes_what_is_no_ring(ring_file: Path, content: bytes, force: bool) -> None:
    """A short file of somebody's is not an unfinished ring."""
    ring_file.write_bytes(content)
    with pytest.raises(MulletError):
        RingBuffer.create(ring_file, capacity_bytes=4096, force=force)
    assert ring_file.read_bytes() == content


@pytest.mark.parametrize("size", [0, 64, 5000])
def test_unfinished_ring_is_made_anew(ring_file: Path, size: int) -> None:
    """Zeros with the lock free: whoever began died before the magic was stored."""
    ring_file.write_bytes(bytes(size))
    with RingBuffer.create(ring_file, capacity_bytes=4096) as ring:
        assert ring.write(b"x") == 0


def test_missing_ring(ring_file: Path) -> None:
    """Opening creates nothing."""
    with pytest.raises(RingNotFoundError, match=re.escape(str(ring_file))):
        RingBuffer.open(ring_file)
    assert not ring_file.exists()


def test_missing_folder(ring_file: Path) -> None:
    """Creating makes no folders."""
    with pytest.raises(FileNotFoundError):
        RingBuffer.create(ring_file / "below" / "x.ring", capacity_bytes=4096)


@pytest.mark.parametrize("policy", ["drop", "", "Overwrite"])
def test_unknown_policy(ring_file: Path, policy: str) -> None:
    """Checked before anything is created."""
    with pytest.raises(ValueError, match="on_full"):
        RingBuffer.create(ring_file, capacity_bytes=4096, on_full=policy)  # type: ignore[arg-type]
    assert not ring_file.exists()


@pytest.mark.parametrize("timeout_s", [-1.0, float("nan")])
def test_impossible_timeout(ring_file: Path, timeout_s: float) -> None:
    """Checked before anything is created."""
    with pytest.raises(ValueError, match="timeout_s"):
        RingBuffer.create(ring_file, capacity_bytes=4096, on_full="block", timeout_s=timeout_s)
    assert not ring_file.exists()


def test_closed_ring(ring_file: Path) -> None:
    """Every use says so; closing twice does not."""
    ring = RingBuffer.create(ring_file, capacity_bytes=4096)
    with ring as same:
        assert same is ring
    ring.close()
    for use in (ring.statistics, ring.read_snapshot, ring.cursor, ring.sink, ring.data_address, ring.view):
        with pytest.raises(RingClosedError):
            use()
    with pytest.raises(RingClosedError):
        ring.write(b"x")
    assert repr(ring) == f"<RingBuffer {ring_file}>"
    assert ring_file.exists()


def test_unlink_leaves_handles_usable(ring_file: Path) -> None:
    """The name goes, the memory stays until it is closed; unlinking twice is fine."""
    with RingBuffer.create(ring_file, capacity_bytes=4096) as ring:
        ring.write(b"still here")
        ring.unlink()
        assert not ring_file.exists()
        ring.unlink()
        assert ring.read_snapshot() == b"still here"
    with pytest.raises(RingNotFoundError):
        RingBuffer.open(ring_file)


@pytest.mark.parametrize("closed", [False, True])
def test_unlink_spares_another_ring(ring_file: Path, closed: bool) -> None:
    """A ring that took the path since is not ours to remove."""
    old = RingBuffer.create(ring_file, capacity_bytes=4096)
    if closed:
        old.close()
    with RingBuffer.create(ring_file, capacity_bytes=4096, force=True):
        old.unlink()
        assert ring_file.exists()
    old.close()


def test_relative_path_outlives_a_change_of_folder(ring_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook's %cd must not part a ring from its locks."""
    monkeypatch.chdir(ring_directory)
    with RingBuffer.create("relative.ring", capacity_bytes=4096) as ring:
        monkeypatch.chdir("/")
        ring.write(b"x")
        assert ring.producer_alive
        assert not ring.replaced
        ring.unlink()
    assert not (ring_directory / "relative.ring").exists()


@pytest.mark.parametrize("kind", ["symlink", "folder", "fifo"])
def test_creating_over_something_else(ring_file: Path, ring_directory: Path, kind: str) -> None:
    """No link is followed, no FIFO waited for, nothing replaced."""
    target = ring_directory / "target"
    if kind == "symlink":
        target.write_bytes(b"untouched")
        ring_file.symlink_to(target)
    elif kind == "folder":
        ring_file.mkdir()
    else:
        os.mkfifo(ring_file)
    for force in (False, True):
        with pytest.raises(RingAccessError):
            RingBuffer.create(ring_file, capacity_bytes=4096, force=force)
    if kind == "symlink":
        assert target.read_bytes() == b"untouched"
