"""Ring and HDF5 writer used directly, for programs that want both in their own hands.

python custom_writer.py experiment_data.h5
"""

import math
import sys
import tempfile
import time
from pathlib import Path

import mulletdaq as mullet

CHANNELS = [mullet.Channel("voltage", "V"), mullet.Channel("shutter", dtype="bool", description="1 = open")]


def main(path: str, samples: int) -> None:
    folder = Path(tempfile.mkdtemp())
    # Any other process may open this path too, and read along or follow with a cursor.
    with mullet.RingBuffer.create(folder / "experiment.ring", capacity_mb=8) as ring:
        writer = mullet.HDF5Writer(path, ring, flush_interval_s=0.5)
        with ring.producer(CHANNELS) as producer:
            writer.start()  # a process of its own, so that a busy disk never holds up this loop
            for n in range(samples):
                producer.append(math.sin(n / 50), n % 100 < 50, timestamp_ns=time.time_ns())
        statistics = writer.stop()  # everything appended so far is in the file when this returns
        ring.unlink()  # the file has it all; nobody else deletes a ring made like this
    folder.rmdir()
    print(f"{path}: {statistics.rows_persisted} samples in {statistics.batches} batches, {statistics.rows_lost} lost")


if __name__ == "__main__":
    main(
        sys.argv[1] if len(sys.argv) > 1 else "custom_writer.h5",
        int(sys.argv[2]) if len(sys.argv) > 2 else 1000,
    )
