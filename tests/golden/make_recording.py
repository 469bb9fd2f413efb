"""How ``recording_v1.h5`` was made. It is kept and read from now on; a change of format makes a new file beside it.

python tests/golden/make_recording.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import mulletdaq as mullet
from mulletdaq.hdf5 import HDF5Writer

PATH = Path(__file__).with_name("recording_v1.h5")
FIRST_STAMP_NS = 1_700_000_000_000_000_000

CHANNELS = [
    mullet.Channel("voltage", "V", description="photodiode"),
    mullet.Channel("count", dtype="uint16"),
    mullet.Channel("shutter", dtype="bool"),
    mullet.Channel("trace", "V", "float32", shape=(4,)),
]


def main() -> None:
    PATH.unlink(missing_ok=True)
    folder = Path(tempfile.mkdtemp())
    with mullet.RingBuffer.create(folder / "golden.ring", capacity_bytes=65_536) as ring:
        producer = ring.producer(CHANNELS)
        writer = HDF5Writer(PATH, ring, compression="gzip", metadata={"operator": "Ada", "sample": {"mass_mg": 12.5}})
        for row in range(10):
            trace = np.full(4, row, dtype=np.float32)
            producer.append(row / 4, row, row % 3 == 0, trace, timestamp_ns=FIRST_STAMP_NS + row * 10_000_000)
        writer.annotate("shutter opened", FIRST_STAMP_NS, {"": 3})
        writer.flush()
        # Three times the ring, unread: the first rows of it are lost, and the file says which.
        rows = np.arange(10, 6010)
        producer.append_block(
            rows / 4,
            rows.astype(np.uint16),
            rows % 3 == 0,
            np.repeat(rows, 4).reshape(-1, 4).astype(np.float32),
            timestamps_ns=FIRST_STAMP_NS + rows * 10_000_000,
        )
        writer.stop()


if __name__ == "__main__":
    main()
