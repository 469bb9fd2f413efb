"""Makes ``ring_v1.ring.gz``, the ring of layout version 1 that every later version must read.

Run once, by ``python tests/golden/make_ring.py``; the result is kept and never made anew.
"""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from mulletdaq.ring import Producer, RingBuffer
from mulletdaq.schema import Channel

GOLDEN = Path(__file__).with_name("ring_v1.ring.gz")
CHANNELS = [
    Channel("voltage", "V", description="a ramp"),
    Channel("count", "", "int16"),
    Channel("flag", dtype="bool"),
    Channel("wave", "mV", "float32", (3,)),
]
ROWS = 3000
START_NS = 1_700_000_000_000_000_000


def columns(first: int, count: int) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    """What rows `first` and after hold."""
    rows = np.arange(first, first + count)
    return {
        "timestamp": START_NS + rows * 1_000_000,
        "voltage": rows * 0.25,
        "count": (rows % 30_000).astype(np.int16),
        "flag": rows % 3 == 0,
        "wave": np.stack([rows, rows * 2, rows * 3], axis=1).astype(np.float32),
    }


def batch(schema: pa.Schema, first: int, count: int) -> pa.RecordBatch:
    """The same as a record batch."""
    values = columns(first, count)
    wave = pa.FixedShapeTensorArray.from_numpy_ndarray(values["wave"])
    arrays = [pa.array(values[name]) for name in ("timestamp", "voltage", "count", "flag")]
    return pa.RecordBatch.from_arrays([*arrays, wave], schema=schema)


def main() -> None:
    """A lapped ring with sealed frames of all kinds, a tail, and an open frame at its end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "golden.ring"
        ring = RingBuffer.create(path, capacity_bytes=65_536, checksum=True)
        producer = ring.producer(CHANNELS)
        _write_blocks(producer, 0, 1500)
        ring.write_arrow_batch(batch(producer.schema, 1500, 50))
        producer.seal()
        message = bytes(batch(producer.schema, 1550, 50).serialize())
        ring._writer.write_messages(message, 50, START_NS)  # type: ignore[union-attr]
        _write_blocks(producer, 1600, ROWS - 100)
        producer.seal()
        sink = ring.sink()
        sink.advance(ring.write_head)
        sink.close()
        for row in range(ROWS - 100, ROWS):
            values = columns(row, 1)
            producer.append(
                *(values[channel.name][0] for channel in CHANNELS), timestamp_ns=int(values["timestamp"][0])
            )
        GOLDEN.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        ring.close()


def _write_blocks(producer: Producer, first: int, end: int) -> None:
    for row in range(first, end, 100):
        values = columns(row, 100)
        producer.append_block(*(values[channel.name] for channel in CHANNELS), timestamps_ns=values["timestamp"])


if __name__ == "__main__":
    main()
