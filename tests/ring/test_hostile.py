"""Files that are no rings, broken rings, and rings made to do harm: an error each, never a signal."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mulletdaq.errors import (
    MulletError,
    RingAccessError,
    RingFormatError,
    RingTruncatedError,
    RingVersionError,
)
from mulletdaq.ring import RingBuffer
from tests.ring.support import VOLTAGE, batch_of, patch, run_python
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
SOMEBODY = 54_321


@pytest.fixture
def broken(ring_file: Path) -> Path:
    """A good ring, about to be damaged."""
    with RingBuffer.create(ring_file, capacity_bytes=65536) as ring:
        ring.write(b"x" * 1000)
    return ring_file


def refused(path: Path, kind: type[MulletError], match: str = ".") -> None:
    """Opening raises this class, on one line that names the path."""
    with pytest.raises(kind, match=match) as caught:
        RingBuffer.open(path)
    assert type(caught.value) is kind
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("magic", [1, 0xDADADADA00000002, 0x01000000DADADADA, 2**64 - 1])
def test_wrong_magic(broken: Path, magic: int) -> None:
    """Not a ring."""
    patch(broken, 0, struct.pack("<Q", magic))
    refused(broken, RingFormatError, "magic")


def test_unfinished(broken: Path) -> None:
    """Whoever made it died before the end."""
    patch(broken, 0, bytes(8))
    refused(broken, RingFormatError, "finished")


@pytest.mark.parametrize("capacity", [0, 1, 64, 4032, 4097, 65537, 2**46 + 64, 2**63, 2**64 - 64, 2**64 - 1])
def test_impossible_capacity(broken: Path, capacity: int) -> None:
    """The header contradicts itself."""
    patch(broken, 8, struct.pack("<Q", capacity))
    refused(broken, RingFormatError)


@pytest.mark.parametrize("capacity", [65600, 2**30, 2**46])
def test_capacity_beyond_the_file(broken: Path, capacity: int) -> None:
    """The header claims more than there is."""
    patch(broken, 8, struct.pack("<Q", capacity))
    refused(broken, RingTruncatedError)


@pytest.mark.parametrize("version", [0, 2, 2**32 - 1])
def test_other_version(broken: Path, version: int) -> None:
    """Named, so that somebody can find the program that reads it."""
    patch(broken, 36, struct.pack("<I", version))
    refused(broken, RingVersionError, str(version))


@pytest.mark.parametrize("schema_capacity", [1, 63, 2**20 + 1, 2**32 - 1])
def test_impossible_schema_capacity(broken: Path, schema_capacity: int) -> None:
    """Neither mapped nor trusted."""
    patch(broken, 120, struct.pack("<I", schema_capacity))
    with pytest.raises(RingFormatError):
        RingBuffer.open(broken)


@pytest.mark.parametrize("size", [8, 64, 127])
def test_cut_in_the_header(broken: Path, size: int) -> None:
    """Too short to be read."""
    os.truncate(broken, size)
    refused(broken, RingTruncatedError)


@pytest.mark.parametrize("size", [128, 4096, 128 + 65536, 128 + 65536 + (1 << 20) - 1])
def test_cut_behind_the_header(broken: Path, size: int) -> None:
    """Would be a SIGBUS."""
    os.truncate(broken, size)
    refused(broken, RingTruncatedError, str(size))


@pytest.mark.parametrize("size", [0, 128, 5000])
def test_zeros(ring_file: Path, size: int) -> None:
    """Empty, or never finished."""
    ring_file.write_bytes(bytes(size))
    refused(ring_file, RingFormatError)


@pytest.mark.parametrize("content", [b"not a ring\n", b"\x89HDF\r\n\x1a\n" + bytes(5000), b"\xff" * 70_000])
def test_other_files(ring_file: Path, content: bytes) -> None:
    """Text, HDF5 and noise."""
    ring_file.write_bytes(content)
    with pytest.raises(RingFormatError):
        RingBuffer.open(ring_file)
    assert ring_file.read_bytes() == content


@pytest.mark.parametrize("kind", ["symlink", "dangling symlink", "folder", "fifo", "device"])
def test_what_is_no_regular_file(broken: Path, kind: str) -> None:
    """Refused without following, waiting or touching."""
    path = broken.with_name("other.ring")
    match kind:
        case "symlink":
            path.symlink_to(broken)
        case "dangling symlink":
            path.symlink_to(broken.with_name("nowhere"))
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case _:
            path = Path("/dev/null")
    refused(path, RingAccessError)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_others_may_write(broken: Path, mode: int) -> None:
    """Whoever may write could change it under our feet; the message tells the mode."""
    broken.chmod(mode)
    refused(broken, RingAccessError, f"{mode:04o}")


def test_others_may_read(broken: Path) -> None:
    """That is the owner's business."""
    broken.chmod(0o644)
    RingBuffer.open(broken).close()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@needs_root
def test_ring_of_somebody_else(broken: Path) -> None:
    """Refused, unless the caller names the owner; then it can be read, not written."""
    os.chown(broken, SOMEBODY, SOMEBODY)
    refused(broken, RingAccessError, str(SOMEBODY))
    with pytest.raises(RingAccessError):
        RingBuffer.open(broken, owner=SOMEBODY + 1)
    with pytest.raises(RingAccessError):
        RingBuffer.create(broken, capacity_bytes=4096, force=True)
    with RingBuffer.open(broken, owner=SOMEBODY) as ring:
        assert ring.cursor().read() == b"x" * 1000
        assert ring.statistics().rows_written == 1
        with pytest.raises(RingAccessError, match="read"):
            ring.write(b"mine now")
    assert broken.stat().st_uid == SOMEBODY


@needs_root
def test_sink_of_somebody_elses_ring(broken: Path) -> None:
    """Committing is writing too: refused, no signal."""
    os.chown(broken, SOMEBODY, SOMEBODY)
    script = """
        import sys
        from mulletdaq.errors import RingAccessError
        from mulletdaq.ring import RingBuffer
        ring = RingBuffer.open(sys.argv[1], owner=int(sys.argv[2]))
        try:
            ring.sink()
        except RingAccessError:
            print("refused")
    """
    assert run_python(script, broken, SOMEBODY) == "refused\n"


def test_own_ring_by_owner(broken: Path) -> None:
    """Naming oneself is no restriction."""
    with RingBuffer.open(broken, owner=os.getuid()) as ring:
        ring.write(b"mine")


def test_tail_near_the_end_without_a_schema_region(broken: Path) -> None:
    """The last words of the mapping are not the start of a frame header."""
    size = 128 + 65536
    patch(broken, 16, struct.pack("<QQ", 2**20, 2**17 - 8))
    patch(broken, 40, struct.pack("<QQ", 2**20, 2**20 - 65536))
    patch(broken, 120, struct.pack("<I", 0))
    os.truncate(broken, size)
    script = """
        import sys
        from mulletdaq.errors import MulletError
        from mulletdaq.ring import RingBuffer
        ring = RingBuffer.open(sys.argv[1])
        tail = ring.read_tail
        for use in (ring.statistics, ring.read_snapshot, lambda: ring.cursor(tail).read(), lambda: ring.view(tail),
                    lambda: ring.cursor(tail, start_row=0), ring.cursor, lambda: ring.write(b"x")):
            try:
                use()
            except MulletError:
                pass
        print("alive")
    """
    assert run_python(script, broken) == "alive\n"


# ---- mutations


def originals(directory: Path) -> dict[str, Path]:
    """Good rings of every content, small, lapped, with an open frame and a tail."""
    made = {}
    for name in ("opaque", "rows", "strings"):
        path = made[name] = directory / name / "original.ring"
        path.parent.mkdir()
        with RingBuffer.create(path, capacity_bytes=65536, checksum=name != "rows") as ring:
            if name == "opaque":
                for number in range(300):
                    ring.write(bytes(number))
            elif name == "rows":
                producer = ring.producer(VOLTAGE)
                producer.append_block(np.zeros(6000))
                ring.sink().advance(ring._native.midway)
            else:
                for number in range(100):
                    words = pa.array([None, f"{number}" * 100]).dictionary_encode()
                    ring.write_arrow_batch(pa.record_batch({"timestamp": [number, number], "words": words}))
            # As it is while the producer lives, with a frame still open.
            content = path.read_bytes()
        path.write_bytes(content)
    return made


def attack(original: Path, first_seed: int, count: int, places: str) -> None:
    """Damage and use it so often; the process that does must live, and meet no foreign error."""
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.ring.hostile"]
    victim = subprocess.run(
        [*command, str(original), str(first_seed), str(count), places],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    last = original.with_name("last_seed").read_text()
    assert victim.returncode == 0, f"seed {last}: exit code {victim.returncode}\n{victim.stderr[-3000:]}"
    found = json.loads(victim.stdout.splitlines()[-1])
    assert found["foreign"] == {}
    assert found["outcomes"]["fine"] > 0
    assert sum(found["outcomes"].values()) > found["outcomes"]["fine"]


@pytest.mark.parametrize("places", ["header", "frame", "schema", "header,frame,any"])
@pytest.mark.parametrize("content", ["opaque", "rows", "strings"])
def test_mutated_rings(ring_directory: Path, content: str, places: str) -> None:
    """Thousands of damaged rings, each used in every way, in one process that lives to the end."""
    attack(originals(ring_directory)[content], 1, 250, places)


@pytest.mark.parametrize(
    ("content", "places", "seed"), [("strings", "schema", 2775), ("opaque", "header", 3935), ("rows", "schema", 2091)]
)
def test_mutations_that_once_did_harm(ring_directory: Path, content: str, places: str, seed: int) -> None:
    """A crash, a panic and an endless loop, each found by a longer run of the test above."""
    attack(originals(ring_directory)[content], seed, 1, places)


def test_template_without_columns(ring_file: Path) -> None:
    """Rows that take no bits at all cannot be counted out."""
    schema = pa.schema([])
    with RingBuffer.create(ring_file, capacity_bytes=65536) as ring:
        ring.write_arrow_batch(pa.record_batch([], schema=schema))
    message_bytes = -(-len(schema.serialize()) // 8) * 8
    patch(ring_file, 128 + 65536 + message_bytes + 8, struct.pack("<8I", 64, 0, 0, 0, 0, 0, 0, 0))
    script = """
        import sys
        from mulletdaq.errors import MulletError
        from mulletdaq.ring import RingBuffer
        ring = RingBuffer.open(sys.argv[1])
        try:
            ring._native.producer()
        except MulletError:
            pass
        print("alive")
    """
    assert run_python(script, ring_file) == "alive\n"


def test_noise_as_a_ring(ring_directory: Path) -> None:
    """A good header in front of random bytes, with everything published."""
    random = np.random.default_rng(3)
    script = """
        import sys
        from mulletdaq.errors import MulletError
        from mulletdaq.ring import RingBuffer
        ring = RingBuffer.open(sys.argv[1])
        for use in (ring.statistics, ring.read_snapshot, ring.cursor, lambda: ring.cursor(0).read(),
                    lambda: ring.latest(5), ring.view, lambda: ring.write(b"x")):
            try:
                use()
            except MulletError:
                pass
        print("alive")
    """
    path = ring_directory / "noise.ring"
    with RingBuffer.create(path, capacity_bytes=65536) as ring:
        ring.write_arrow_batch(batch_of(0, 1))
    patch(path, 128, random.bytes(65536 + 4096))
    patch(path, 16, struct.pack("<Q", 65536))
    assert run_python(script, path) == "alive\n"
    assert gzip.compress(path.read_bytes())[:2] == b"\x1f\x8b"
