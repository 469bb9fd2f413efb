"""One producer flat out, several cursors in processes of their own, deliberately lapped: every value is checked.

python -m tests.ring.storm ROWS [CURSORS]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from mulletdaq.ring import RingBuffer
from mulletdaq.schema import Channel

CHANNELS = [Channel("row", dtype="int64"), Channel("low", dtype="uint8"), Channel("odd", dtype="bool")]
LARGEST_BLOCK = 20_000


def produce(path: str, total: int) -> None:
    """Rows one by one and in blocks of any size, each row telling which it is."""
    chosen = np.random.default_rng(7)
    with RingBuffer.open(path) as ring, ring.producer(CHANNELS) as producer:
        while (row := producer.row) < total:
            count = min(int(chosen.integers(1, LARGEST_BLOCK)), total - row)
            if count < 200:
                for one in range(row, row + count):
                    producer.append(one, one & 255, one & 1 == 1, timestamp_ns=one)
            else:
                rows = np.arange(row, row + count)
                producer.append_block(rows, rows.astype(np.uint8), (rows & 1).astype(bool), timestamps_ns=rows)


def consume(path: str, total: int, number: int) -> dict[str, int]:
    """Read to the end, pausing now and then for the producer to come round."""
    chosen = np.random.default_rng(number)
    wrong = read = 0
    with RingBuffer.open(path) as ring, ring.cursor(0, start_row=0, start_sequence=0) as cursor:
        while cursor.row < total:
            before = cursor.row
            batch: Any = cursor.read(int(chosen.integers(1, 40_000)), timeout_s=30)
            if batch is None:
                raise TimeoutError(f"no row after {before} of {total} for 30 s")
            count = batch.num_rows
            first = cursor.row - count
            gap = sum(loss.rows for loss in cursor.take_losses())
            rows = np.arange(first, cursor.row)
            wrong += first != before + gap
            wrong += not np.array_equal(batch["timestamp"].to_numpy(), rows)
            wrong += not np.array_equal(batch["row"].to_numpy(), rows)
            wrong += not np.array_equal(batch["low"].to_numpy(), rows.astype(np.uint8))
            wrong += not np.array_equal(batch["odd"].to_numpy(zero_copy_only=False), (rows & 1).astype(bool))
            read += count
            if number and chosen.random() < 0.002 * number:
                time.sleep(0.005)
        return {"read": read, "lost": cursor.lost_rows, "wrong": int(wrong)}


def storm(total: int, cursors: int = 4, capacity_bytes: int = 4 << 20) -> list[dict[str, int]]:
    """Run it; what each cursor read, lost, and found wrong."""
    shared_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None) as folder:
        path = str(Path(folder) / "storm.ring")
        with RingBuffer.create(path, capacity_bytes=capacity_bytes):
            readers = [
                subprocess.Popen([*_me(), "consume", path, str(total), str(number)], stdout=subprocess.PIPE)
                for number in range(cursors)
            ]
            producer = subprocess.Popen([*_me(), "produce", path, str(total)])
            results = [json.loads(reader.communicate()[0] or "null") for reader in readers]
            if producer.wait() or None in results:
                raise RuntimeError("a process of the storm ended early")
    return results


def _me() -> list[str]:
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
            "from tests.ring import storm; storm.main(sys.argv[1:])"]  # fmt: skip


def main(words: list[str]) -> None:
    match words:
        case ["produce", path, total]:
            produce(path, int(total))
        case ["consume", path, total, number]:
            print(json.dumps(consume(path, int(total), int(number))))
        case [total, *cursors]:
            begin = time.monotonic()
            results = storm(int(total), *map(int, cursors))
            for number, result in enumerate(results):
                print(f"cursor {number}: {result}")
                assert result["read"] + result["lost"] == int(total)
                assert not result["wrong"]
            print(f"{total} rows in {time.monotonic() - begin:.0f} s: 0 wrong values, every lost row counted")


if __name__ == "__main__":
    main(sys.argv[1:])
