"""Opens and uses whatever bytes it is given as a ring: the victim of test_hostile.

Run as ``python -m tests.ring.hostile ORIGINAL SEED COUNT PLACES``; prints how often what happened.
"""

from __future__ import annotations

import collections
import contextlib
import json
import random
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from mulletdaq import attach
from mulletdaq.errors import MulletError
from mulletdaq.ring import RingBuffer

INTERESTING = [
    0, 1, 7, 8, 63, 64, 65, 127, 128, 192, 4096, 65536, 65472, 65535, 131072, 2**16 + 64, 2**20, 2**31 - 1, 2**31,
    2**32 - 1, 2**32, 2**46, 2**46 + 64, 2**62, 2**63 - 64, 2**63 - 1, 2**63, 2**64 - 64, 2**64 - 1,
]  # fmt: skip


def mutate(content: bytearray, places: str, chosen: random.Random) -> None:
    """Change one to four places of a ring's bytes."""
    capacity = struct.unpack_from("<Q", content, 8)[0]
    head = struct.unpack_from("<Q", content, 16)[0]
    for _ in range(chosen.choice([1, 1, 2, 4])):
        match chosen.choice(places.split(",")):
            case "header":
                offset = chosen.randrange(1, 16) * 8
            case "frame":
                starts = frame_starts(content, capacity, head)
                offset = 128 + chosen.choice(starts) + chosen.randrange(8) * 8
            case "schema":
                offset = 128 + capacity + chosen.randrange(150) * 8
            case _:
                offset = chosen.randrange((128 + capacity + 1500) // 8) * 8
        word = struct.unpack_from("<Q", content, offset)[0]
        new = chosen.choice(
            [
                chosen.choice(INTERESTING),
                chosen.getrandbits(64),
                word ^ (1 << chosen.randrange(64)),
                (word + chosen.choice([-64, -8, -1, 1, 8, 64])) % 2**64,
                (word & ~0xFFFFFFFF) | chosen.choice(INTERESTING) & 0xFFFFFFFF,
                (word & 0xFFFFFFFF) | (chosen.choice(INTERESTING) & 0xFFFFFFFF) << 32,
            ]
        )
        struct.pack_into("<Q", content, offset, new)


def frame_starts(content: bytearray, capacity: int, head: int) -> list[int]:
    """Offsets in the data region at which the original has frames."""
    starts = []
    position = struct.unpack_from("<Q", content, 48)[0]
    while position < min(head, 2**40) and len(starts) < 100:
        starts.append(position % capacity)
        length = struct.unpack_from("<Q", content, 128 + position % capacity + 8)[0]
        if length > capacity or 128 + position % capacity + 64 + length > len(content):
            break
        position += 64 + -(-length // 64) * 64
    return starts or [0]


def read_some(ring: RingBuffer, start: int | str) -> None:
    """A few reads; a corrupt frame may be passed once."""
    with ring.cursor(start, verify=True) as cursor:
        for _ in range(50):
            try:
                content = cursor.read(max_rows=1000)
            except MulletError:
                continue
            if content is None:
                return
            if isinstance(content, pa.RecordBatch):
                inspect(content)


def inspect(data: pa.RecordBatch | bytes) -> None:
    """What pyarrow then makes of it is pyarrow's business, as long as the process lives."""
    with contextlib.suppress(pa.ArrowException, UnicodeDecodeError):
        if isinstance(data, bytes):
            data = pa.ipc.open_stream(data).read_all()
        data.validate(full=True)


def uses(path: Path) -> list[Callable[[], object]]:
    """Everything that can be done with a ring that opens."""
    ring = RingBuffer.open(path)
    return [
        ring.statistics,
        lambda: read_some(ring, "oldest"),
        lambda: read_some(ring, "latest"),
        lambda: read_some(ring, 0),
        lambda: read_some(ring, ring.read_tail),
        lambda: ring.cursor(ring.read_tail, start_row=3).read(),
        lambda: ring.cursor(start_row=100).read(),
        lambda: ring.cursor().lag_rows,
        lambda: ring.latest(10),
        lambda: inspect(ring.read_snapshot()),
        lambda: bytes(memoryview(ring.view() or b"")),
        lambda: bytes(memoryview(ring.view(0) or b"")),
        lambda: ring.schema,
        lambda: ring._native.columns(),
        lambda: ring.write(b"x" * 100),
        lambda: ring.producer(ring.schema or []).append(*[1] * (len(ring.schema or [0]) - 1)),
        lambda: ring.write_arrow_batch(pa.record_batch({"timestamp": [1], "voltage": [1.0]})),
        ring.sink,
        lambda: attach(path).close(),
        ring.close,
    ]


def main(original: str, seed: str, count: str, places: str) -> None:
    """Mutate, use, count; the process must live to print."""
    clean = Path(original).read_bytes()
    victim = Path(original).with_name("victim.ring")
    outcomes: collections.Counter[str] = collections.Counter()
    foreign: dict[str, str] = {}
    for number in range(int(seed), int(seed) + int(count)):
        content = bytearray(clean)
        mutate(content, places, random.Random(number))
        victim.unlink(missing_ok=True)
        victim.write_bytes(content)
        victim.chmod(0o600)
        Path(original).with_name("last_seed").write_text(str(number))
        attempts: list[Callable[[], object]] = []
        try:
            attempts = uses(victim)
        except (MulletError, OSError) as error:
            outcomes[type(error).__name__] += 1
        for index, attempt in enumerate(attempts):
            try:
                attempt()
            except (MulletError, OSError) as error:
                outcomes[type(error).__name__] += 1
            except BaseException as error:
                what = f"{type(error).__name__} in use {index}: {error}"[:300]
                foreign.setdefault(f"{type(error).__name__} in use {index}", f"seed {number}: {what}")
            else:
                outcomes["fine"] += 1
    print(json.dumps({"outcomes": outcomes, "foreign": foreign}))


if __name__ == "__main__":
    main(*sys.argv[1:])
